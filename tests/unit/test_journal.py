"""A ledger in one file: what it holds after power cuts, and what it refuses."""

from pathlib import Path

import pytest

from blocks.journal import Journal
from domain.errors import InvariantError
from domain.ledger import Event, verify_chain


def test_a_line_that_was_cut_off_never_counted_and_the_next_one_takes_its_place(tmp_path: Path):
    journal = Journal(tmp_path / "a.jsonl")
    for number in range(3):
        journal.append(Event("traffic.begun", key=f"k{number}"))
    whole = journal.path.read_bytes()
    for cut in range(1, len(whole.splitlines(keepends=True)[-1])):
        journal.path.write_bytes(whole[:-cut])
        assert [entry.event.key for entry in journal.entries()] == ["k0", "k1"]
    journal.append(Event("traffic.shifted", key="k3"))
    assert [entry.event.key for entry in journal.entries()] == ["k0", "k1", "k3"]
    assert verify_chain(journal.entries()).broken_at is None


def test_a_changed_line_breaks_the_chain(tmp_path: Path):
    journal = Journal(tmp_path / "a.jsonl")
    for number in range(3):
        journal.append(Event("traffic.begun", actor="ann", key=f"k{number}"))
    journal.path.write_text(journal.path.read_text().replace('"actor":"ann"', '"actor":"eve"', 1))
    assert verify_chain(journal.entries()).broken_at == 1


def test_rubbish_in_the_middle_is_named_by_its_line(tmp_path: Path):
    journal = Journal(tmp_path / "a.jsonl")
    journal.append(Event("traffic.begun"))
    journal.path.write_bytes(b"{}\n" + journal.path.read_bytes())
    with pytest.raises(InvariantError, match="line 1, is no entry"):
        journal.entries()
