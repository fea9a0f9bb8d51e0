"""A whole restore on a real Prefect server, in a world of twins, where nobody has to be asked.

Gates suspend, which takes a worker: `tests/faults/test_restore_killed.py` has them on a plain engine.
"""

from typing import Any

import pytest
from prefect.states import State
from stage import APPLICATION, Stage

from domain.backup import BackupKind
from domain.restore import database_name, key_of
from flows.restore import restore

NAME = database_name(APPLICATION, "test")


@pytest.fixture
def good(stage: Stage) -> str:
    """Two rows are backed up, one is lost since; returns the place where they were all there."""
    world = stage.world
    world.restorations.write(APPLICATION, "test", "first")
    place = world.restorations.write(APPLICATION, "test", "second")
    world.backups.backup(BackupKind.FULL, label="one", limit_s=1, extra=lambda: world.fingerprints.take("one"))
    place = world.restorations.write(APPLICATION, "test", "third")
    world.restorations.databases[NAME].rows.remove("first")
    return place


def run(**parameters: Any) -> State[Any]:
    facts = {"application": APPLICATION, "environment": "test", "reason": "a row is gone"}
    return restore(return_state=True, **{**facts, **parameters})


def test_a_restore_and_its_undoing(stage: Stage, good: str):
    databases = stage.world.restorations.databases
    assert run(to=good).is_completed() and list(databases) == [NAME]
    assert "restore.begun" not in stage.kinds()
    done = run(to=good, dry_run=False)
    assert done.is_completed(), done.message
    assert databases[NAME].rows == ["first", "second", "third"]
    (completed,) = stage.world.ledger.entries(kinds=["restore.completed"])
    key = key_of(completed.event.run)
    assert databases[f"{NAME}_before_{key}"].rows == ["second", "third"]
    assert run(act="undo", kept=key, dry_run=False).is_completed()
    assert databases[NAME].rows == ["second", "third"]
    assert stage.world.scratch.leftovers() == [] and list(stage.world.restorations.left_over()) == []


def test_a_moment_without_a_zone_fails_the_run_and_says_what_to_write(stage: Stage, good: str):
    ended = run(to="2026-01-31T12:00:00")
    assert ended.is_failed() and "2026-01-31T12:00:00+00:00" in (ended.message or "")
