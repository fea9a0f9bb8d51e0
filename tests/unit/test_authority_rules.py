"""Which entries of the ledger let a run change an environment that asks for an approval."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.authority import find_authority, find_leave, may_general_write, refuse_unauthorised
from domain.errors import RefusedError
from domain.ledger import Entry, Event, chain_entry

OLD, NEW, EVIL = "a" * 64, "b" * 64, "e" * 64


def entries(*events: tuple[str, str, str] | tuple[str, str, str, dict[str, Any]]) -> list[Entry]:
    """A ledger of (kind, run, release[, data])."""
    found: list[Entry] = []
    for kind, run, release, *data in events:
        event = Event(kind, "desk", "production", release=release, run=run, actor="ann", data=data[0] if data else {})
        found.append(chain_entry(found[-1] if found else None, datetime.now(UTC), event))
    return found


LIVE = (("rollout.completed", "run-0", OLD),)
YES = {"decision": "approve"}


def test_an_approval_lets_its_run_bring_its_release_and_nothing_else() -> None:
    ledger = entries(*LIVE, ("approval.granted", "run-1", NEW, YES))
    assert "approved by ann" in find_authority(ledger, run="run-1", release=NEW)
    assert find_authority(ledger, run="run-2", release=NEW) == "", "another run's approval"
    assert find_authority(ledger, run="run-1", release=EVIL) == "", "another release"


def test_without_a_record_nothing_is_brought_and_nothing_taken_away() -> None:
    ledger = entries(*LIVE)
    assert find_authority(ledger, run="run-1", release=NEW) == find_authority(ledger, run="run-1", release="") == ""
    assert find_leave(ledger, run="run-1", release=OLD) == ""
    with pytest.raises(RefusedError, match="Nothing in the ledger lets run run-1 change desk in production"):
        refuse_unauthorised("", run="run-1", application="desk", environment="production", release=NEW)


@pytest.mark.parametrize("kind", ["approval.rejected", "approval.refused", "approval.requested", "rollback.refused"])
def test_other_entries_are_no_approval(kind: str) -> None:
    assert find_authority(entries(*LIVE, (kind, "run-1", NEW, YES)), run="run-1", release=NEW) == ""


def test_going_back_to_what_is_live_needs_nobodys_leave() -> None:
    """A canary that failed, or whose run died, goes back at night as well."""
    ledger = entries(*LIVE, ("approval.granted", "run-1", NEW, YES))
    assert find_authority(ledger, run="reconcile", release=OLD)
    assert find_leave(ledger, run="reconcile", release=NEW), "the canary is ended"


def test_a_rollback_is_its_own_runs_alone() -> None:
    two = (*LIVE, ("rollout.completed", "run-1", NEW), ("rollback.authorised", "run-r", ""))
    ledger = entries(*two)
    assert "rollback by ann" in find_authority(ledger, run="run-r", release=OLD)
    assert find_authority(ledger, run="run-x", release=OLD) == find_authority(ledger, run="run-r", release="") == ""
    assert find_leave(ledger, run="run-r", release=NEW), "what is left is ended"


def test_a_rollback_for_one_release_is_none_for_another() -> None:
    two = (*LIVE, ("rollout.completed", "run-1", NEW), ("rollout.completed", "run-2", EVIL))
    ledger = entries(*two, ("rollback.authorised", "run-r", NEW))
    assert find_authority(ledger, run="run-r", release=NEW) and not find_authority(ledger, run="run-r", release=OLD)


def test_a_rollback_that_died_may_be_finished_by_another_run_and_a_forged_one_may_not() -> None:
    two = (*LIVE, ("rollout.completed", "run-1", NEW))
    begun = ("rollback.begun", "run-r", OLD)
    assert find_authority(entries(*two, begun), run="reconcile", release=OLD) == "", "nobody authorised it"
    ledger = entries(*two, ("rollback.authorised", "run-r", ""), begun)
    assert find_authority(ledger, run="reconcile", release=OLD) and find_leave(ledger, run="reconcile", release=NEW)
    done = entries(*two, ("rollback.authorised", "run-r", ""), begun, ("rollback.completed", "run-r", OLD))
    assert find_authority(done, run="reconcile", release=NEW) == "", "a rollback that is over lets nobody go on"


@pytest.mark.parametrize(
    "kind",
    [
        *("approval.granted", "rollback.authorised", "rollback.begun", "rollout.completed", "site.switched"),
        *(
            "proof.given",
            "digest.unblocked",
            "digest.blocked",
            "verdict.given",
            "traffic.shifted",
            "unblock.authorised",
        ),
        *("run.interrupted", "cd.completed", "approver.enrolled", "release.unpinned"),
    ],
)
def test_the_general_worker_writes_nothing_that_decides(kind: str) -> None:
    assert not may_general_write(kind)
