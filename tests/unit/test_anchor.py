"""An anchor shows what a chain alone can't: a cut tail, and a chain that was computed anew."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.memory_ledger import MemoryLedger
from domain.anchor import Anchor, is_anchor, read_anchor, verify_anchored
from domain.errors import ConfigError
from domain.ledger import Entry, Event, link_of

T = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


def chain(count: int, *, eve_at: int = 0) -> list[Entry]:
    ledger = MemoryLedger(clock=lambda: T)
    for n in range(1, count + 1):
        ledger.append(Event(kind="ci.started", actor="eve" if n == eve_at else "slipway", data={"n": n}))
    return ledger.entries()


def anchors(entries: Sequence[Entry], *seqs: int) -> list[Anchor]:
    return [Anchor(seq, entries[seq - 1].hash, T + timedelta(hours=seq)) for seq in seqs]


MOMENTS = st.datetimes(T.replace(tzinfo=None), T.replace(tzinfo=None, year=2199), timezones=st.just(UTC))


@given(st.integers(1, 10**12 - 1), st.binary(min_size=32, max_size=32), MOMENTS)
def test_the_name_of_an_anchor_holds_all_of_it(seq: int, digest: bytes, at: datetime):
    anchor = Anchor(seq, digest.hex(), at)
    assert is_anchor(anchor.name) and read_anchor(anchor.name) == anchor


def test_what_is_no_anchor_is_not_read_as_one():
    assert not is_anchor("heads/1-2-3")
    with pytest.raises(ConfigError, match="not the name of an anchor"):
        read_anchor("heads/1-2-3")


def test_a_true_chain_agrees_with_all_its_anchors():
    entries = chain(9)
    proof = verify_anchored(map(link_of, entries), anchors(entries, 8, 2, 5))
    assert proof.chain.broken_at is None and proof.agreeing == 3
    assert proof.newest == anchors(entries, 8)[0]


def test_two_anchors_of_one_entry_are_two():
    entries = chain(3)
    first = anchors(entries, 3)[0]
    proof = verify_anchored(map(link_of, entries), [first, replace(first, at=T)])
    assert proof.agreeing == 2 and proof.newest == first


def test_a_cut_tail_is_named_by_the_first_entry_that_is_gone():
    entries = chain(9)
    proof = verify_anchored(map(link_of, entries[:6]), anchors(entries, 3, 7, 9))
    assert (proof.chain.broken_at, proof.chain.finding, proof.chain.entries) == (7, "cut", 6)
    assert "was entry 9 on 2026-01-31 21:00:00 UTC" in proof.chain.reason


def test_an_emptied_ledger_is_a_cut_tail():
    proof = verify_anchored([], anchors(chain(2), 2))
    assert (proof.chain.broken_at, proof.chain.finding) == (1, "cut")


def test_a_chain_computed_anew_is_named_by_the_first_anchor_that_disagrees():
    rewritten = chain(9, eve_at=5)
    proof = verify_anchored(map(link_of, rewritten), anchors(chain(9), 3, 4, 6, 9))
    assert (proof.chain.broken_at, proof.chain.finding) == (6, "rewritten")
    assert "after entry 4, the last that an anchor confirms" in proof.chain.reason


def test_an_anchor_that_somebody_added_beside_a_true_one_is_shown():
    entries = chain(4)
    forged = Anchor(3, "f" * 64, T)
    assert verify_anchored(map(link_of, entries), [*anchors(entries, 3), forged]).chain.broken_at == 3


def test_a_broken_link_is_found_before_any_anchor():
    entries = chain(5)
    entries[1] = replace(entries[1], event=replace(entries[1].event, actor="eve"))
    proof = verify_anchored(map(link_of, entries), anchors(chain(5), 4))
    assert (proof.chain.broken_at, proof.chain.finding) == (2, "changed")
