"""Reading what became of flow runs."""

from datetime import UTC, datetime, timedelta

from blocks.world import open_world
from domain.ports import RunRecord
from tasks.recording import reading_task

CRASHED_WITHIN_S = 24 * 3600
LATE_AFTER_S = 300
EVERY_MINUTE = ("follow_load",)
"""Flows whose next run does all that a missed one would have done."""


@reading_task
def read_run(run: str) -> RunRecord | None:
    """Read one run; None where the orchestrator does not know it any more."""
    return open_world().run_records.find(run)


@reading_task
def list_crashed_runs() -> list[RunRecord]:
    """List the runs that crashed within the last day."""
    return open_world().run_records.crashed(since=datetime.now(UTC) - timedelta(seconds=CRASHED_WITHIN_S))


@reading_task
def list_late_runs() -> list[RunRecord]:
    """List the runs that should have started five minutes ago and have not, and that nothing makes up for."""
    return [record for record in _late() if record.flow not in EVERY_MINUTE]


@reading_task
def crash_stuck_runs() -> int:
    """Call runs crashed whose process died before its first line: nobody else does, since they never had a heartbeat.

    Effect: their states; may be repeated. Returns how many there were.
    """
    stuck = [record for record in _late() if record.state == "pending"]
    for record in stuck:
        open_world().run_records.crash(record.id, message=f"Its process never came to work in {LATE_AFTER_S} s")
    return len(stuck)


def _late() -> list[RunRecord]:
    return open_world().run_records.late(before=datetime.now(UTC) - timedelta(seconds=LATE_AFTER_S))
