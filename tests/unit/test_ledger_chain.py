"""The chain finds every kind of tampering that it can see."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.memory_ledger import MemoryLedger
from domain.canonical import canonical_json
from domain.ledger import GENESIS, Entry, Event, as_stored, encode_entry, encode_time, hash_entry, verify_chain

T = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def chain(count: int) -> list[Entry]:
    ledger = MemoryLedger(clock=lambda: T)
    for n in range(count):
        ledger.append(Event(kind="ci.started", data={"n": n}))
    return ledger.entries()


def test_an_empty_chain_holds():
    assert verify_chain([]).head == GENESIS


def test_the_encoding_is_fixed_for_ever():
    event = Event(kind="release.pinned", application="desk", release="ab", run="r", data={"b": [1, "漢"], "a": None})
    assert encode_entry(7, T, event) == (
        '{"actor":"slipway","application":"desk","at":"2026-01-31T12:00:00.123456Z","data":{"a":null,"b":[1,"漢"]},'
        '"environment":"","key":null,"kind":"release.pinned","release":"ab","run":"r","seq":7,"site":""}'
    )


def test_the_time_is_hashed_in_utc_wherever_it_was_read():
    from zoneinfo import ZoneInfo

    event = Event(kind="ci.started")
    assert hash_entry(GENESIS, 1, T, event) == hash_entry(GENESIS, 1, T.astimezone(ZoneInfo("Asia/Shanghai")), event)


@given(st.lists(st.dictionaries(st.text(max_size=5), values, max_size=4), min_size=1, max_size=6))
def test_whatever_is_said_the_chain_holds(data: list[dict[str, object]]):
    ledger = MemoryLedger(clock=lambda: T)
    for item in data:
        ledger.append(Event(kind="x.happened", data=item))
    assert verify_chain(ledger.entries()).broken_at is None


@pytest.mark.parametrize(
    "tamper",
    [
        lambda e: replace(e, event=replace(e.event, data={"n": 99})),
        lambda e: replace(e, event=replace(e.event, actor="eve")),
        lambda e: replace(e, at=e.at + timedelta(microseconds=1)),
        lambda e: replace(e, hash="0" * 64),
        lambda e: replace(e, prev_hash="1" * 64),
        lambda e: replace(e, seq=99),
    ],
)
def test_a_changed_entry_is_the_first_broken_link(tamper):
    entries = chain(5)
    entries[2] = tamper(entries[2])
    assert verify_chain(entries).broken_at == 3


def test_a_removed_entry_is_named():
    entries = chain(5)
    del entries[1]
    report = verify_chain(entries)
    assert (report.broken_at, report.entries) == (2, 1)
    assert "missing" in report.reason


def test_an_entry_rewritten_with_a_right_hash_breaks_the_next_one():
    entries = chain(5)
    event = replace(entries[1].event, actor="eve")
    entries[1] = replace(
        entries[1], event=event, hash=hash_entry(entries[1].prev_hash, entries[1].seq, entries[1].at, event)
    )
    report = verify_chain(entries)
    assert (report.broken_at, report.finding) == (2, "replaced")
    assert "entry 3 continues another one" in report.reason


def test_an_inserted_entry_is_named_even_when_its_own_hash_is_right():
    entries = chain(4)
    event = Event(kind="approval.granted", actor="eve")
    inserted = Entry(3, T, event, entries[1].hash, hash_entry(entries[1].hash, 3, T, event))
    moved = Entry(4, T, entries[2].event, entries[1].hash, hash_entry(entries[1].hash, 4, T, entries[2].event))
    report = verify_chain([*entries[:2], inserted, moved])
    assert (report.broken_at, report.finding) == (3, "inserted")


@pytest.mark.parametrize(("seqs", "at"), [((0, 1, 2), 0), ((1, 2, 2), 2)])
def test_a_row_without_a_place_in_the_chain_is_named(seqs: tuple[int, ...], at: int):
    entries = chain(3)
    report = verify_chain([replace(entries[max(seq - 1, 0)], seq=seq) for seq in seqs])
    assert (report.broken_at, report.finding) == (at, "inserted")


@given(st.lists(st.dictionaries(st.text(max_size=5), values | st.floats(allow_nan=False, allow_infinity=False))))
def test_written_field_by_field_an_entry_is_the_canonical_json_of_all(data: list[dict[str, object]]):
    event = as_stored(Event(kind="a.b", actor='"\n\\', key="ключ", data={"list": data}))
    fields = {"seq": 3, "at": encode_time(T), "kind": "a.b", "application": "", "environment": "", "site": ""}
    fields |= {"release": "", "actor": '"\n\\', "run": "", "key": "ключ", "data": event.data}
    assert encode_entry(3, T, event) == canonical_json(fields)


def test_what_no_database_keeps_is_replaced_and_not_lost():
    event = as_stored(
        Event(kind="a.b", actor="a\x00b", key="\ud800", data={"a\x00": ["\udfff", {"漢": "\x00"}], "10": 1, "9": 2})
    )
    assert (event.actor, event.key) == ("a\ufffdb", "\ufffd")
    assert event.data == {"a\ufffd": ["\ufffd", {"漢": "\ufffd"}], "10": 1, "9": 2}
