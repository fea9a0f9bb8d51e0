"""Plans, and what the ledger says an environment is on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.memory_ledger import MemoryLedger
from domain.application import RolloutPart, StepPart
from domain.errors import RefusedError
from domain.ledger import Event
from domain.rollout import (
    blocked_releases,
    live_release,
    open_gates,
    open_rollouts,
    plan_steps,
    previous_release,
    refuse_blocked,
)


def ledger_of(*events: tuple[str, str, dict[str, str]], run: str = "r") -> MemoryLedger:
    ledger = MemoryLedger()
    for kind, release, data in events:
        ledger.append(
            Event(kind=kind, application="desk", environment="production", release=release, run=run, data=dict(data))
        )
    return ledger


def test_the_default_plan_watches_a_quarter_of_an_hour_before_full_share():
    steps = list(plan_steps(RolloutPart(), has_live=True))
    assert sum(step.watch_s for step in steps[:-1]) == 900
    assert [step.weight_percent for step in steps] == [5, 20, 50, 100]
    assert [step.number for step in steps] == [1, 2, 3, 4]


def test_with_nothing_live_there_is_nothing_to_compare_and_full_share_is_the_only_step():
    assert [(s.number, s.weight_percent) for s in plan_steps(RolloutPart(), has_live=False)] == [(1, 100)]


@given(st.lists(st.integers(1, 99), min_size=1, max_size=6, unique=True).map(sorted))
def test_shares_only_rise_to_the_whole(weights: list[int]):
    rollout = RolloutPart(steps=tuple(StepPart(weight_percent=w, watch_s=10) for w in weights))
    planned = [step.weight_percent for step in plan_steps(rollout, has_live=True)]
    assert planned == [*weights, 100]


def test_live_is_what_was_completed_last_or_gone_back_to():
    assert live_release([]) == ""
    story = [("rollout.completed", "a", {}), ("rollout.completed", "b", {}), ("rollout.rolled_back", "c", {"to": "b"})]
    assert live_release(ledger_of(*story).entries()) == "b"
    assert live_release(ledger_of(*story, ("rollback.completed", "a", {})).entries()) == "a"


def test_previous_is_the_newest_other_release_that_was_wholly_live_and_is_not_blocked():
    entries = ledger_of(
        ("rollout.completed", "a", {}),
        ("rollout.completed", "b", {}),
        ("rollout.completed", "c", {}),
        ("rollout.rolled_back", "d", {"to": "c"}),
    ).entries()
    assert previous_release(entries, live="c", blocked=frozenset()) == "b"
    assert previous_release(entries, live="c", blocked=frozenset({"b"})) == "a"
    with pytest.raises(RefusedError, match="no earlier release"):
        previous_release(entries, live="c", blocked=frozenset({"a", "b"}))


def test_what_a_rollback_left_is_never_gone_back_to():
    story = [("rollout.completed", release, {}) for release in "abc"] + [("rollback.completed", "b", {})]
    entries = ledger_of(*story).entries()
    assert previous_release(entries, live="b", blocked=frozenset()) == "a"
    later = ledger_of(*story, ("rollout.completed", "d", {})).entries()
    assert previous_release(later, live="d", blocked=frozenset()) == "b"


def test_a_blocked_digest_is_refused_until_it_is_unblocked():
    story = [("digest.blocked", "a", {"reason": "too slow"}), ("digest.blocked", "b", {"reason": "bad"})]
    blocked = blocked_releases(ledger_of(*story, ("digest.unblocked", "b", {})).entries())
    assert blocked == {"a": "too slow"}
    with pytest.raises(RefusedError, match=r"too slow.*unblock"):
        refuse_blocked("a", blocked)
    refuse_blocked("b", blocked)


def test_what_was_begun_and_not_closed_is_open():
    begun = ("rollout.begun", "b", {"previous": "a"})
    (found,) = open_rollouts(ledger_of(begun, run="run-1").entries())
    assert (found.run, found.release, found.previous, found.kind) == ("run-1", "b", "a", "rollout")
    for kind in ("rollout.completed", "rollout.rolled_back", "rollout.failed"):
        assert open_rollouts(ledger_of(begun, (kind, "b", {})).entries()) == []


def test_another_run_does_not_close_what_this_one_begun():
    ledger = ledger_of(("rollout.begun", "b", {"previous": "a"}), run="run-1")
    ledger.append(Event(kind="rollout.completed", application="desk", environment="production", run="run-2"))
    assert [rollout.run for rollout in open_rollouts(ledger.entries())] == ["run-1"]


def test_a_gate_is_open_until_it_has_an_outcome_and_a_refusal_is_none():
    asked = ("approval.requested", "b", {"gate": "production-1", "deadline": "2026-01-01T00:00:00+00:00"})
    refused = ("approval.refused", "b", {"gate": "production-1"})
    assert [gate.gate for gate in open_gates(ledger_of(asked).entries())] == ["production-1"]
    for kind in ("approval.granted", "approval.rejected", "approval.expired"):
        assert open_gates(ledger_of(asked, (kind, "b", {"gate": "production-1"})).entries()) == []
    assert len(open_gates(ledger_of(asked, refused).entries(kinds=["approval.requested"]))) == 1
