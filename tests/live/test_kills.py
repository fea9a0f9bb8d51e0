"""Each part killed at boundaries of `cd` and `rollback`, on the real stack: production ends wholly on one release.

Every boundary × every part takes an hour, so each day takes another turn: every part is killed once in a rollback and
the parts that hold a rollout once in a rollout, each at another boundary than the day before, until all were taken.
`SLIPWAY_KILLS_TURN` chooses the turn, `SLIPWAY_KILLS=all` takes all of them. `SLIPWAY_KILL_MATRIX=write` keeps the
results for the page docs/reference/kill-matrix.md, which `tests/faults/test_kill_matrix.py` holds to the plan.
"""

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "faults"))

from boundaries import planned_names
from journey import NAME, Journey, Visitors, until
from kill_matrix import keep_result
from kills import (
    FLOW,
    SUPERVISOR,
    Boundary,
    Clients,
    Pair,
    await_boundary,
    await_rest,
    await_settled,
    boundaries_of,
    complaints,
    kill,
    parts_of,
)
from running_stack import RunningStack

from blocks.world import use_world

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(2400)]

TURN = int(os.environ.get("SLIPWAY_KILLS_TURN", time.time() // 86_400))
ALL = os.environ.get("SLIPWAY_KILLS") == "all"
HOLD_A_ROLLOUT = (FLOW, SUPERVISOR, "worker-production", "postgres")
ZOMBIE_LIMIT_S = 120


@pytest.fixture(scope="module")
def pair(stack: RunningStack) -> Generator[Pair]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-kills-"))
    journey = Journey(stack, folder)
    with Visitors(stack.installation.ports["entry-production-alpha"]).visiting():
        first = journey.deliver("kills a")
        assert journey.wait_end(journey.approve(first), limit_s=360)["type"] == "COMPLETED"
        # beside, so that neither is older than the other: an older commit goes live by a rollback only
        second = journey.deliver("kills b", beside=True)
        assert journey.wait_end(journey.approve(second), limit_s=360)["type"] == "COMPLETED"
    yield Pair(journey, (first, second))
    journey.world.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def boundaries() -> dict[str, list[Boundary]]:
    """What the plans have, found by running the flows in memory."""
    scenarios = {"cd": "cd, a good release", "rollback": "rollback"}
    found = {flow: boundaries_of(planned_names(scenario)) for flow, scenario in scenarios.items()}
    use_world(None)
    # A rollback between two warm releases ends no instances but those that it leaves, as in memory.
    return found


def test_a_rollback_in_which_any_part_is_killed_ends_whole(pair: Pair, boundaries: dict[str, list[Boundary]]) -> None:
    for part, boundary in turn(parts_of(pair.journey), boundaries["rollback"]):
        run_and_kill(pair, "rollback", part, boundary)


def test_a_rollout_in_which_a_part_that_holds_it_is_killed_ends_whole(
    pair: Pair, boundaries: dict[str, list[Boundary]]
) -> None:
    real = those_of_a_real_run(pair.journey, boundaries["cd"])
    for part, boundary in turn(parts_of(pair.journey) if ALL else HOLD_A_ROLLOUT, real):
        run_and_kill(pair, "cd", part, boundary)


def those_of_a_real_run(journey: Journey, planned: list[Boundary]) -> list[Boundary]:
    """Leave out what the newest whole rollout here did not come to: in memory an application proves more."""
    done = journey.entries("rollout.completed", environment="production")[0]
    entries = journey.world.ledger.entries(application=NAME, environment="production", run=done.event.run)
    seen = Counter((one.event.kind, one.event.site) for one in entries)
    return [one for one in planned if one.occurrence < seen[(one.kind, one.site)]]


def turn(
    parts: Iterator[str] | list[str] | tuple[str, ...], boundaries: list[Boundary]
) -> Iterator[tuple[str, Boundary]]:
    """Pair each part with this turn's boundary, or with each one. No two parts have the same in one turn."""
    for place, part in enumerate(parts):
        if ALL:
            yield from ((part, boundary) for boundary in boundaries)
        else:
            yield part, boundaries[(TURN + place * 5) % len(boundaries)]


def run_and_kill(pair: Pair, flow: str, part: str, boundary: Boundary) -> None:
    journey = pair.journey
    with Clients(journey).visiting() as clients:
        run = start(pair, flow)
        await_boundary(journey, run, boundary)
        killed_at = time.monotonic()
        kill(journey, part, run)
        await_settled(pair, run)
        seconds = time.monotonic() - killed_at
        await_rest(pair, run)
    found = complaints(pair, run, clients)
    keep_result(flow=flow, part=part, boundary=str(boundary), seconds=seconds, complaints=found)
    assert not found, f"{flow}: {part} killed at '{boundary}': {found}"
    assert sum(clients.seen.values()) > 50


def start(pair: Pair, flow: str) -> str:
    """Start a rollback, or a rollout up to the answer at its gate; returns the run."""
    if flow == "rollback":
        return pair.start_rollback()
    journey, release = pair.journey, pair.other
    run = journey.start_cd(release)
    until(lambda: journey.entries("approval.requested", run=run), limit_s=180, what="the gate")
    journey.wait_gate(release)
    assert journey.answer(run, code=journey.code("ann"))["status"] == "ACCEPT"
    return run


def test_a_run_whose_worker_died_with_it_is_settled_within_two_minutes_and_a_waiting_gate_is_left_alone(
    pair: Pair,
) -> None:
    journey = pair.journey
    waiting = journey.start_cd(pair.other)
    until(lambda: journey.entries("approval.requested", run=waiting), limit_s=180, what="the gate")
    released = pair.other
    _, key = journey.wait_gate(released)
    with Clients(journey).visiting() as clients:
        run = pair.start_rollback()
        await_boundary(journey, run, Boundary("traffic.begun", "alpha"))
        kill(journey, "worker-production", run)
        kill(journey, FLOW, run)
        begun = time.monotonic()
        await_settled(pair, run, limit_s=ZOMBIE_LIMIT_S)
        seconds = time.monotonic() - begun
        await_rest(pair, run)
    assert journey.stack.prefect("GET", f"/flow_runs/{run}")["state"]["type"] == "CRASHED"
    keep_result(
        flow="rollback",
        part="flow's process and worker together",
        boundary="traffic.begun alpha",
        seconds=seconds,
        complaints=complaints(pair, run, clients),
    )
    assert seconds <= ZOMBIE_LIMIT_S and complaints(pair, run, clients) == []
    assert journey.stack.prefect("GET", f"/flow_runs/{waiting}")["state"]["type"] == "PAUSED"
    assert not journey.entries("approval.expired", run=waiting)
    # what is live has changed since it was asked: an answer to that is not one to this
    assert journey.answer(waiting, decision="reject", code=journey.code("ann"))["status"] == "ACCEPT"
    journey.wait_gate(released, after=key)
    assert journey.entries("approval.refused", run=waiting)[0].data["refusal"] == "drift"
    assert journey.answer(waiting, decision="reject", code=journey.code("ann"))["status"] == "ACCEPT"
    assert journey.wait_end(waiting)["type"] == "COMPLETED"


def test_each_end_has_a_stated_reason(pair: Pair) -> None:
    for entry in pair.journey.entries("rollout.rolled_back", "cd.stopped"):
        assert entry.data["cause"], entry
    assert NAME
