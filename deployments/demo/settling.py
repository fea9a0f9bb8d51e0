"""What an earlier demo left when it was interrupted: runs that wait or run, rollouts midway, gates without an answer.

Cancels this application's runs and lets `reconcile` bring back what they left, which is what happens at night too.
"""

import time
from collections.abc import Callable
from uuid import uuid4

from blocks.world import World
from domain.errors import TransientError
from domain.ports import RunRecord
from domain.rollout import (
    CLOSING_KINDS,
    GATE_CLOSING,
    GATE_OPENING,
    OPENING_KINDS,
    open_gates,
    open_rollouts,
)

FLOWS = ("ci", "cd", "rollback")
LIMIT_S = 240
PAUSE_S = 1.0


def settle(world: World, application: str, *, tell: Callable[[int], None]) -> None:
    """Leave nothing of earlier runs of this application: none that runs or waits, nothing midway.

    Effect: cancels runs; may be repeated. `tell` hears how many runs are in the way, each time that changes.

    Raises:
        TransientError: where something is still midway at the limit.
    """
    deadline = time.monotonic() + LIMIT_S
    told, reconciling = 0, ""
    while True:
        _wait_inbox(world, deadline)
        runs = list_unfinished(world, application)
        if runs and len(runs) != told:
            tell(told := len(runs))
        for run in runs:
            if run.state != "cancelling":
                world.run_records.cancel(run.id)
        if not runs:
            if not is_midway(world, application):
                return
            reconciling = _reconcile(world, reconciling)
        if time.monotonic() > deadline:
            raise TransientError(
                f"An earlier run of {application} did not end in {LIMIT_S} s. Look at `slipway history`."
            )
        time.sleep(PAUSE_S)


def list_unfinished(world: World, application: str) -> list[RunRecord]:
    """List the runs of this application's delivery that have not ended."""
    found = [run for flow in FLOWS for run in world.run_records.unfinished(flow=flow)]
    return [run for run in found if application in (run.parameters.get("application"), run.parameters.get("name"))]


def is_midway(world: World, application: str) -> bool:
    """Whether a rollout or a gate of this application was begun and never closed."""
    kinds = (*OPENING_KINDS, *CLOSING_KINDS, GATE_OPENING, *GATE_CLOSING)
    entries = world.ledger.entries(kinds=kinds, application=application, limit=100_000)
    rollouts = open_rollouts([entry for entry in entries if entry.kind in (*OPENING_KINDS, *CLOSING_KINDS)])
    gates = open_gates([entry for entry in entries if entry.kind in (GATE_OPENING, *GATE_CLOSING)])
    return bool(rollouts or gates)


def _wait_inbox(world: World, deadline: float) -> None:
    """Let deliveries that were stored but not started become runs, so that they can be cancelled."""
    while world.inbox.waiting(limit=1) and time.monotonic() < deadline:
        time.sleep(PAUSE_S)


def _reconcile(world: World, run: str) -> str:
    """Start `reconcile` unless the one that we started still runs."""
    record = world.run_records.find(run) if run else None
    if record is not None and not record.has_ended:
        return run
    return world.flow_runs.start("reconcile/reconcile", parameters={}, idempotency_key=f"demo:{uuid4()}")
