"""Which releases may run beside each other, and which may come back, by what they declared."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from domain.ledger import Entry, Event, chain_entry
from domain.schema import (
    Applied,
    Declaration,
    LockWait,
    applied_migrations,
    describe_migration,
    explain_incompatible,
    explain_lock_wait,
    explain_unreadable,
    new_migrations,
)

M1, M2, M3, M4 = "0001_first.sql", "0002_second.sql", "0003_third.sql", "0004_fourth.sql"
NOTHING, COMPATIBLE = Declaration(), Declaration(compatible_with_live=True)


def from_on(name: str, *, compatible: bool = False) -> Declaration:
    return Declaration(compatible, readable_from=name)


def history(*told: tuple[Sequence[str], Declaration], result: str = "applied") -> dict[str, Applied]:
    """What an environment has after these releases went there one after the other."""
    last: Entry | None = None
    entries: list[Entry] = []
    live: Sequence[str] = ()
    for number, (own, declaration) in enumerate(told):
        data = {"result": result, "migrations": list(own), **describe_migration(declaration, own=own, live=live)}
        event = Event("migration.ended", release=str(number) * 64, data=data)
        last = chain_entry(last, datetime(2026, 1, 31, tzinfo=UTC), event)
        entries.append(last)
        live = own
    return applied_migrations(entries)


@pytest.mark.parametrize(
    ("declaration", "own", "live", "said"),
    [
        (NOTHING, [M1], [M1], ""),
        (NOTHING, [M1], [M1, M2], ""),
        (NOTHING, [], [], ""),
        (NOTHING, [M1, M2], [M1], "does not declare"),
        (COMPATIBLE, [M1, M2], [M1], ""),
        (COMPATIBLE, [M1, M2, M3], [M1], ""),
        (from_on(M1), [M1, M2], [M1], ""),
        (from_on(M2), [M1, M2, M3], [M1, M2], ""),
        (from_on(M2), [M1, M2, M3], [M1], f"no {M2}"),
        (from_on(M2, compatible=True), [M1, M2, M3], [M1], f"no {M2}"),
        (from_on(M3), [M1, M2, M3], [M1, M2], f"no {M3}"),
        (from_on("0009_typo.sql"), [M1, M2], [M1], "none of its migrations"),
        (from_on("0009_typo.sql"), [M1], [M1], ""),
    ],
)
def test_a_release_with_new_migrations_must_declare_that_the_live_one_can_run_on_them(
    declaration: Declaration, own: list[str], live: list[str], said: str
):
    found = explain_incompatible(declaration, own=own, live=live)
    assert (said in found) if said else found == ""


def test_the_refusal_names_the_migrations_and_both_ways_out():
    said = explain_incompatible(NOTHING, own=[M1, M2, M3], live=[M1])
    for needed in (M2, M3, "compatible_with_live = true", "two releases", "expands", "contracts"):
        assert needed in said
    assert M1 not in said


@pytest.mark.parametrize(
    ("told", "back_to", "readable"),
    [
        # the same schema can always be gone back to
        ([([M1], NOTHING), ([M1], NOTHING)], [M1], True),
        # an expansion that is declared compatible, and one that is not
        ([([M1], NOTHING), ([M1, M2], COMPATIBLE)], [M1], True),
        ([([M1], NOTHING), ([M1, M2], NOTHING)], [M1], False),
        # expand, then contract: the release before can run on it, the one before that can't
        ([([M1], NOTHING), ([M1, M2], COMPATIBLE), ([M1, M2, M3], COMPATIBLE)], [M1, M2], True),
        ([([M1], NOTHING), ([M1, M2], COMPATIBLE), ([M1, M2, M3], COMPATIBLE)], [M1], False),
        # two expansions, the second one readable from the first release on
        ([([M1], NOTHING), ([M1, M2], COMPATIBLE), ([M1, M2, M3], from_on(M1))], [M1], True),
        ([([M1], NOTHING), ([M1, M2], COMPATIBLE), ([M1, M2, M3], from_on(M2))], [M1], False),
        ([([M1], NOTHING), ([M1, M2], COMPATIBLE), ([M1, M2, M3], from_on(M2))], [M1, M2], True),
        # a later release declares for earlier migrations, too
        ([([M1], NOTHING), ([M1, M2], NOTHING), ([M1, M2], from_on(M1))], [M1], True),
        # one undeclared link breaks the chain, whatever comes after
        ([([M1], NOTHING), ([M1, M2], NOTHING), ([M1, M2, M3], COMPATIBLE)], [M1], False),
        ([([M1], NOTHING), ([M1, M2], NOTHING), ([M1, M2, M3], COMPATIBLE)], [M1, M2], True),
        # a release without the file of a migration that is there (a branch from before it)
        ([([M1], NOTHING), ([M1, M2], COMPATIBLE), ([M1, M3], COMPATIBLE)], [M1, M2], True),
        ([([M1], NOTHING), ([M1, M2], COMPATIBLE), ([M1, M3], COMPATIBLE)], [M1, M3], True),
        ([([M1], NOTHING), ([M1, M2], COMPATIBLE), ([M1, M3], COMPATIBLE)], [M1], False),
        ([([M1], NOTHING), ([M1, M2], COMPATIBLE), ([M1, M3], from_on(M1))], [M1, M2], True),
        # nobody is older than the first schema
        ([([M1], NOTHING)], [], False),
        ([([M1], NOTHING)], [M1, M2], True),
        ([], [], True),
    ],
)
def test_an_older_release_comes_back_only_where_it_can_run_on_what_was_applied_since(
    told: list[tuple[list[str], Declaration]], back_to: list[str], readable: bool
):
    assert (explain_unreadable(back_to, history(*told)) == "") is readable


def test_a_failed_migration_may_be_there_in_part_and_counts():
    applied = history(([M1], NOTHING), ([M1, M2], NOTHING), result="failed")
    assert M2 in explain_unreadable([M1], applied)


def test_the_reason_names_the_migration_its_release_and_what_is_needed():
    told = [([M1], NOTHING), ([M1, M2], COMPATIBLE), ([M1, M2, M3], COMPATIBLE)]
    said = explain_unreadable([M1], history(*told))
    assert M3 in said and "222222222222" in said and M2 in said


def test_what_was_applied_before_declarations_were_written_down_is_under_the_old_promise():
    entries: list[Entry] = []
    data: Mapping[str, object] = {"result": "applied", "migrations": [M1, M2]}
    entries.append(chain_entry(None, datetime(2026, 1, 31, tzinfo=UTC), Event("migration.ended", data=dict(data))))
    assert explain_unreadable([M1], applied_migrations(entries)) == ""


def test_new_migrations_are_those_that_live_does_not_have_in_order():
    assert new_migrations([M1, M2, M3, M4], [M1, M3]) == (M2, M4)


def test_a_long_wait_for_a_lock_is_told_with_its_holder_and_a_short_one_is_not():
    short, long = LockWait("a lock on tickets", 0.4, ("pid 7",)), LockWait("a lock on users", 4.8, ("pid 8 (report)",))
    assert explain_lock_wait([short], lock_timeout_s=5) == ""
    said = explain_lock_wait([short, long], lock_timeout_s=5)
    assert "users" in said and "pid 8 (report)" in said and "tickets" not in said
