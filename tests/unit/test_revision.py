"""A release with its settings, as one text, from the ledger and back."""

from datetime import UTC, datetime

import pytest

from domain.ledger import Entry, Event, chain_entry
from domain.release import short
from domain.revision import blame, name_revision, release_of, revision_of, settings_of
from domain.rollout import (
    blocked_releases,
    blocked_settings,
    explain_blocked_settings,
    live_release,
    open_rollouts,
    previous_release,
)
from domain.service import service_name
from tasks.recording import Subject

A, B = "a" * 64, "b" * 64


def entries(*told: tuple[str, str, dict[str, str]], environment: str = "production") -> list[Entry]:
    """Entries as tasks write them: kind, revision, data."""
    last: Entry | None = None
    made: list[Entry] = []
    for number, (kind, revision, data) in enumerate(told):
        event: Event = Subject("run", "desk", environment, "", revision).event(kind, key=str(number), data=data)
        last = chain_entry(last, datetime(2026, 1, 31, tzinfo=UTC), event)
        made.append(last)
    return made


@pytest.mark.parametrize("settings", [0, 1, 42])
def test_what_was_put_together_is_taken_apart(settings: int):
    revision = name_revision(A, settings)
    assert (release_of(revision), settings_of(revision)) == (A, settings)
    assert name_revision(revision, 7) == f"{A}@7"
    (entry,) = entries(("start.completed", revision, {}))
    assert (entry.event.release, revision_of(entry)) == (A, revision)


def test_without_settings_a_revision_is_the_digest():
    assert name_revision(A, 0) == A
    (entry,) = entries(("start.completed", A, {"x": "y"}))
    assert entry.data == {"x": "y"}


def test_names_tell_settings_apart_and_stay_plain():
    assert short(f"{A}@3") == "aaaaaaaaaaaa@3"
    assert service_name("desk", f"{A}@3") == "desk-aaaaaaaaaaaa_3"
    assert len({service_name("desk", name_revision(A, n)) for n in range(30)}) == 30


def test_only_settings_are_to_blame_where_nothing_else_changed():
    assert blame(f"{A}@2", f"{A}@1") == f"{A}@2"
    assert blame(f"{A}@1", A) == f"{A}@1"
    assert blame(f"{B}@2", f"{A}@1") == B
    assert blame(f"{A}@2", "") == A
    assert blame(A, A) == A


def test_live_and_previous_are_revisions():
    told = entries(("rollout.completed", f"{A}@1", {}), ("rollout.completed", f"{A}@2", {}))
    assert live_release(told) == f"{A}@2"
    assert previous_release(told, live=f"{A}@2", blocked=frozenset()) == f"{A}@1"
    back = entries(("rollout.completed", f"{A}@1", {}), ("rollout.rolled_back", f"{A}@2", {"to": f"{A}@1"}))
    assert live_release(back) == f"{A}@1"


def test_a_blocked_digest_is_not_gone_back_to_with_any_settings():
    told = entries(
        ("rollout.completed", A, {}), ("rollout.completed", f"{B}@1", {}), ("rollout.completed", f"{A}@2", {})
    )
    assert previous_release(told, live=f"{A}@2", blocked=frozenset({B})) == A


def test_a_rollout_that_is_open_is_one_of_a_revision():
    (found,) = open_rollouts(entries(("rollout.begun", f"{A}@2", {"previous": f"{A}@1"})))
    assert (found.release, found.previous) == (f"{A}@2", f"{A}@1")


def test_blocked_settings_block_no_digest_and_only_their_environment():
    told = entries(("digest.blocked", f"{A}@2", {"reason": "slow"}))
    assert A not in blocked_releases(told)
    assert list(blocked_settings(told, environment="production")) == [2]
    assert blocked_settings(told, environment="test") == {}
    unblocked = [*told, *entries(("digest.unblocked", f"{A}@2", {"reason": "no"}), environment="")]
    assert blocked_settings(unblocked, environment="production") == {}


def test_a_blocked_digest_blocks_no_settings():
    assert blocked_settings(entries(("digest.blocked", A, {"reason": "slow"})), environment="production") == {}


def test_blocked_settings_are_explained_with_the_command():
    said = explain_blocked_settings(2, {2: "release aaa: slow"}, application="desk", environment="production")
    assert "slow" in said and "slipway config set desk production" in said
    assert explain_blocked_settings(3, {2: "x"}, application="desk", environment="production") == ""
