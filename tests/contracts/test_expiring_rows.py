"""What every store of expiring rows promises: the twin in memory passes what the real PostgreSQL passes."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures_rows import NOW, RowsStage, expired, tickets_policy

from blocks.memory_cleaning import MemoryRows
from domain.cleanup_policy import HoldPart
from domain.errors import ConfigError
from domain.ports_cleanup import CopiedTable, Expired, ExpiringRows, Key


class Desk:
    """Tickets with comments in either of them; `old` ones are of two years ago."""

    def __init__(self, rows: ExpiringRows, change: Callable[[int], None], ids: Callable[[str], list[int]]) -> None:
        self.rows, self.change, self.ids = rows, change, ids


def memory(request: pytest.FixtureRequest, old: int, new: int, comments: int) -> Desk:
    rows = MemoryRows()
    ages = [NOW - timedelta(days=730, seconds=n) for n in range(1, old + 1)]
    ages += [NOW - timedelta(days=1, seconds=n) for n in range(1, new + 1)]
    rows.tables = {
        "public.tickets": [
            {"id": n, "created_at": at, "customer": n % 7, "version": 1} for n, at in enumerate(ages, start=1)
        ],
        "public.comments": [
            {"id": n * comments + m, "ticket_id": n + 1} for n in range(len(ages)) for m in range(1, comments + 1)
        ],
    }
    rows.references = {"public.comments": ("ticket_id", "public.tickets")}

    def change(ticket: int) -> None:
        rows.tables["public.tickets"] = [
            {**row, "version": 2} if row["id"] == ticket else row for row in rows.tables["public.tickets"]
        ]

    return Desk(rows, change, lambda name: sorted(row["id"] for row in rows.tables[f"public.{name}"]))


def postgres(request: pytest.FixtureRequest, old: int, new: int, comments: int) -> Desk:
    stage: RowsStage = request.getfixturevalue("rows_stage")
    stage.run("DROP TABLE files")
    stage.fill_tickets(old, new, comments=comments)

    def change(ticket: int) -> None:
        stage.run("UPDATE tickets SET subject = 'changed' WHERE id = %s", ticket)

    return Desk(stage.rows, change, stage.ids)


@pytest.fixture(params=[memory, postgres], ids=lambda make: make.__name__)
def desk(request: pytest.FixtureRequest) -> Callable[..., Desk]:
    def make(*, old: int, new: int, comments: int = 0) -> Desk:
        return request.param(request, old, new, comments)

    return make


def policy(**more: Any) -> Expired:
    holds = tuple(more.pop("ledger_holds", ()))
    return expired(tickets_policy(**{"children": ["comments"], **more}), holds=holds)


def walk(desk: Desk, what: Expired, rows: int) -> list[tuple[int, int]]:
    sizes: list[tuple[int, int]] = []
    after: Key | None = None
    while True:
        batch = desk.rows.delete_batch(what, after=after, rows=rows)
        sizes.append((batch.rows, batch.related))
        after = batch.last
        if after is None:
            return sizes


def test_a_preview_counts_what_would_go_with_range_and_what_is_held(desk: Callable[..., Desk]):
    made = desk(old=20, new=10, comments=2)
    hold = HoldPart(column="customer", values=("3",), reason="court")
    seen = made.rows.preview(policy(ledger_holds=[hold]))
    assert (seen.method, seen.rows, seen.total_rows, seen.held_rows) == ("batches", 17, 30, 3)
    assert dict(seen.related) == {"public.comments": 34}
    assert seen.oldest[:10] == seen.newest[:10] == "2024-06-30" and len(seen.sample) == 5
    assert made.rows.preview(policy(archive=True)).method == "archive"
    assert len(made.ids("tickets")) == 30


def test_batches_take_children_first_and_end_where_nothing_is_left(desk: Callable[..., Desk]):
    made = desk(old=20, new=10, comments=2)
    assert walk(made, policy(), 8) == [(8, 16), (8, 16), (4, 8)]
    assert len(made.ids("tickets")) == 10 and len(made.ids("comments")) == 20
    proof = made.rows.prove(policy())
    assert (proof.left_rows, proof.held_rows, proof.orphans) == (0, 0, 0)
    made.rows.vacuum(policy())
    assert walk(made, policy(), 8) == [(0, 0)]
    assert made.rows.pending_partitions(policy()) == []


def test_holds_of_policy_and_ledger_keep_rows_through_every_way(desk: Callable[..., Desk], tmp_path: Path):
    made = desk(old=14, new=1)
    hold = HoldPart(column="customer", values=("3",), reason="court")
    what = policy(holds=[{"column": "id", "values": [1], "reason": "dispute"}], ledger_holds=[hold])
    assert sum(rows for rows, _ in walk(made, what, 4)) == 11
    assert made.rows.prove(what).held_rows == 3 and made.ids("tickets") == [1, 3, 10, 15]
    copied = made.rows.copy_batch(policy(), after=None, rows=10, folder=tmp_path)
    assert made.rows.delete_archived(what, copied.tables, rows=5).left == 3
    assert made.ids("tickets") == [1, 3, 10, 15]


def test_exactly_the_copied_rows_go_once_and_come_back(desk: Callable[..., Desk], tmp_path: Path):
    made = desk(old=9, new=2, comments=1)
    before = made.ids("tickets"), made.ids("comments")
    copied = made.rows.copy_batch(policy(), after=None, rows=5, folder=tmp_path)
    assert [(one.table, one.rows) for one in copied.tables] == [("public.comments", 5), ("public.tickets", 5)]
    made.change(int(_first(copied.tables, made)))
    deleted = made.rows.delete_archived(policy(), copied.tables, rows=2)
    assert (deleted.rows, deleted.related, deleted.left) == (4, 4, 1)
    again = made.rows.delete_archived(policy(), copied.tables, rows=2)
    assert (again.rows, again.related, again.left) == (0, 0, 1)
    assert len(made.ids("tickets")) == 7
    assert made.rows.restore(copied.tables) == {"public.tickets": 4, "public.comments": 4}
    assert made.rows.restore(copied.tables) == {"public.tickets": 0, "public.comments": 0}
    assert (made.ids("tickets"), made.ids("comments")) == before
    assert copied.last is not None
    rest = made.rows.copy_batch(policy(), after=copied.last, rows=5, folder=tmp_path)
    assert rest.tables[-1].rows == 4 and rest.last is None
    assert made.rows.copy_batch(policy(older_than_days=3000), after=None, rows=5, folder=tmp_path).tables == ()


def _first(tables: tuple[CopiedTable, ...], made: Desk) -> int:
    """A ticket of the copy: they are copied in the order of the walk."""
    text = tables[-1].file.read_text()
    return next(ticket for ticket in made.ids("tickets") if f'"id": {ticket},' in text or f"\n{ticket}," in text)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"table": "ticket", "children": []}, "No table 'ticket'.*public.tickets"),
    ({"age_column": "made_at"}, "column 'made_at'.*does not exist"),
    ({"only": [{"column": "stat", "values": ["x"]}]}, "no column 'stat'"),
    ({"ledger_holds": [HoldPart(column="custommer", values=("3",), reason="typo")]}, "no column 'custommer'"),
    ({"children": []}, "public.comments refer to public.tickets"),
    ({"children": ["comment"]}, "No table 'comment'"),
]


@pytest.mark.parametrize("given, message", REFUSED)
def test_a_policy_that_does_not_fit_is_refused(desk: Callable[..., Desk], given: dict[str, Any], message: str):
    made = desk(old=3, new=1, comments=1)
    with pytest.raises(ConfigError, match=message):
        made.rows.preview(policy(**given))
    with pytest.raises(ConfigError, match=message):
        made.rows.delete_batch(policy(**given), after=None, rows=5)
    assert len(made.ids("tickets")) == 4
