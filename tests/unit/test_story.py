"""A release's story leaves out what is settled and keeps what is not."""

from blocks.memory_ledger import MemoryLedger
from domain.ledger import Event
from domain.story import tell_story


def test_an_intent_with_its_outcome_is_one_line_and_one_without_stays():
    ledger = MemoryLedger()
    for kind in ("migration.begun", "migration.ended", "traffic.begun"):
        ledger.append(Event(kind=kind, environment="test", run="r", data={"shares": {"ab": 10}}))
    lines = tell_story(ledger.entries())
    assert [line.kind for line in lines] == ["migration.ended", "traffic.begun"]
    assert lines[1].said == "shares=ab:10 (no outcome yet)"


def test_an_outcome_elsewhere_does_not_settle_an_intent():
    ledger = MemoryLedger()
    ledger.append(Event(kind="start.begun", environment="production", site="alpha", run="r"))
    ledger.append(Event(kind="start.completed", environment="production", site="beta", run="r"))
    assert [line.kind for line in tell_story(ledger.entries())] == ["start.begun", "start.completed"]


def test_digests_are_shortened_and_long_texts_are_cut():
    ledger = MemoryLedger()
    ledger.append(Event(kind="rollout.failed", data={"cause": "x" * 500, "previous": "a" * 64}))
    (line,) = tell_story(ledger.entries())
    assert "previous=aaaaaaaaaaaa" in line.said and "a" * 13 not in line.said
    assert len(line.said) < 250
