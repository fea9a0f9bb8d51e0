"""Drills of the whole on a real Prefect server, in a world of twins: verdicts, what is told, what is left."""

from datetime import timedelta
from typing import Any

import pytest
from prefect.states import State
from stage import Stage

from domain.ledger import Event
from flows.recovery_drill import recovery_drill
from tasks.recovery_drill import open_overdue_recovery_drill


def drill(**parameters: Any) -> State[Any]:
    return recovery_drill(return_state=True, **parameters)


def completed(stage: Stage) -> dict[str, Any]:
    (entry,) = stage.world.ledger.entries(kinds=["recovery_drill.completed"])
    return entry.data


def recent(stage: Stage, *, seconds: float = 60) -> None:
    stage.world.recovery_room.last_commit_at = (stage.world.clock.now() - timedelta(seconds=seconds)).isoformat()


def test_all_that_came_back_is_proven_signed_and_destroyed(stage: Stage):
    recent(stage)
    assert drill().is_completed()
    facts = completed(stage)
    assert facts["verdict"] == "PASS" and facts["figures"]["rto_s"] == 42 and facts["signature"]
    assert 60 <= facts["figures"]["rpo_s"] < 120
    (proven,) = stage.world.ledger.entries(kinds=["recovery_drill.completed"])
    assert stage.world.drill_results.verify(proven.event.run)["kind"] == "recovery"
    assert stage.world.recovery_room.leftovers() == []
    (report,) = stage.world.screen.reports["recovery-drill"]
    assert report.startswith("# Recovery drill: PASS") and "| 10 |" in report
    assert stage.world.screen.bars["recovery-drill-progress"] > 0


def test_what_was_bad_fails_the_drill_opens_an_incident_and_is_destroyed(stage: Stage):
    recent(stage)
    stage.world.recovery_room.bad = ("application",)
    assert drill().is_failed()
    assert "application.looked" in completed(stage)["checks"]
    (incident,) = stage.world.ledger.entries(kinds=["incident.opened"])
    assert incident.data["severity"] == "P1" and "application.looked" in incident.data["title"]
    assert stage.world.notifier.messages and stage.world.recovery_room.leftovers() == []


def test_a_recovery_that_ended_without_a_result_fails_with_its_last_words(stage: Stage):
    stage.world.recovery_room.words = "The recovery ended with -9 and left no result: PostgreSQL"
    assert drill().is_failed()
    assert completed(stage)["checks"] == ["server.recovered"]
    assert "left no result" in stage.world.screen.reports["recovery-drill"][0]
    assert stage.world.recovery_room.leftovers() == []


def test_one_that_did_not_end_in_time_proves_nothing(stage: Stage):
    stage.world.recovery_room.is_away = True
    assert drill().is_failed()
    assert completed(stage)["verdict"] == "UNCLEAR" and "incident.opened" not in stage.kinds()
    assert any("unclear" in message.subject.lower() for message in stage.world.notifier.messages)


def test_objectives_that_are_missed_fail_the_drill(stage: Stage):
    recent(stage, seconds=7200)
    assert drill(rto_s=10).is_failed()
    assert completed(stage)["checks"] == ["objectives.rto", "objectives.rpo"]


def test_what_can_not_be_destroyed_fails_the_drill(stage: Stage):
    recent(stage)
    stage.world.recovery_room.is_stuck = True
    assert drill().is_failed()
    assert completed(stage)["checks"] == ["destruction.folder"]


def test_what_a_killed_drill_left_is_destroyed_by_the_next(stage: Stage):
    recent(stage)
    stage.world.recovery_room.places.add("recovery-dead")
    assert drill().is_completed()
    assert stage.world.recovery_room.leftovers() == []


@pytest.mark.parametrize(("days", "count"), [(34, 0), (36, 1)])
def test_a_drill_that_did_not_run_is_an_alert(stage: Stage, days: int, count: int):
    stage.world.ledger.append(Event("backup.taken", data={"id": "b"}))
    stage.world.clock.sleep(days * 86_400)
    open_overdue_recovery_drill.fn()
    open_overdue_recovery_drill.fn()
    found = stage.world.ledger.entries(kinds=["incident.opened"])
    assert len(found) == count and all("no recovery drill since" in one.data["title"] for one in found)
