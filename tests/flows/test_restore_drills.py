"""Whole drills on a real Prefect server, in a world of twins: verdicts, what is told, what is left."""

from typing import Any

import pytest
from prefect.states import State
from stage import Stage

from domain.backup import Backup, BackupKind
from domain.ledger import Event
from flows.reconcile import reconcile
from flows.restore_drill import restore_drill


@pytest.fixture
def backup(stage: Stage) -> Backup:
    world = stage.world
    world.backups.server.write("a row")
    return world.backups.backup(
        BackupKind.FULL, label="one", limit_s=1, extra=lambda: world.fingerprints.take("slipway-one")
    )


def drill(**parameters: Any) -> State[Any]:
    return restore_drill(return_state=True, **parameters)


def completed(stage: Stage) -> dict[str, Any]:
    (entry,) = stage.world.ledger.entries(kinds=["drill.completed"])
    return entry.data


def test_a_whole_backup_is_proven_and_its_result_is_signed(stage: Stage, backup: Backup):
    assert drill().is_completed()
    facts = completed(stage)
    assert facts["verdict"] == "PASS" and facts["backups"] == [backup.id] and facts["signature"]
    (proven,) = stage.world.ledger.entries(kinds=["backup.proven"])
    assert proven.data["backup"] == backup.id
    assert stage.world.drill_results.verify(proven.event.run)["verdict"] == "PASS"
    assert stage.world.scratch.leftovers() == []
    assert "drill.tampered" in stage.kinds()
    (report,) = stage.world.screen.reports["restore-drill"]
    assert len(report) < 200_000 and "| 13 |" in report


def test_copies_of_objects_damaged_on_purpose_are_all_gone_at_the_end(stage: Stage, backup: Backup):
    world, objects = stage.world, {"bundles/a.tar": b"contents", "bundles/b.tar": b"others"}
    sha256 = world.object_copies.keep("releases", objects, at=world.clock.now())
    world.ledger.append(Event("objects.copied", data={"bucket": "releases", "sha256": sha256}))
    assert drill(tamper=True).is_completed()
    assert len(world.ledger.entries(kinds=["drill.tampered"])) == 8, "three of the server, five of objects"
    assert list(world.object_copies.folder.iterdir()) == []


def test_rows_that_are_not_those_backed_up_fail_the_drill_and_open_an_incident(stage: Stage, backup: Backup):
    stage.world.backups.server.rows[0] = (*stage.world.backups.server.rows[0][:2], "another row")
    assert drill().is_failed()
    assert completed(stage)["checks"] == ["fingerprint.content"]
    (incident,) = stage.world.ledger.entries(kinds=["incident.opened"])
    assert incident.data["severity"] == "P1" and "fingerprint.content" in incident.data["title"]
    assert any("fingerprint.content" in message.subject for message in stage.world.notifier.messages)
    assert "backup.proven" not in stage.kinds() and stage.world.scratch.leftovers() == []


def test_a_drill_that_does_not_notice_damage_is_broken(stage: Stage, backup: Backup):
    stage.world.scratch.is_blind = True
    assert drill(tamper=True).is_failed()
    assert completed(stage)["checks"] == ["tamper.page", "tamper.truncated"]


def test_what_could_not_be_looked_at_proves_nothing(stage: Stage, backup: Backup):
    stage.world.scratch.reasons["pages.checksums"] = "pg_checksums crashes"
    assert drill().is_failed()
    assert completed(stage)["verdict"] == "UNCLEAR"
    assert "incident.opened" not in stage.kinds() and "backup.proven" not in stage.kinds()


def test_without_a_backup_the_drill_fails(stage: Stage):
    assert drill().is_failed()
    assert completed(stage)["checks"][0] == "choice.newest"


def test_a_drill_that_did_not_run_opens_one_incident_a_day(stage: Stage, backup: Backup):
    ledger = stage.world.ledger
    ledger.append(Event("backup.taken", data={"id": backup.id}))
    reconcile()
    assert "incident.opened" not in stage.kinds()
    stage.world.clock.sleep(40 * 3600)
    reconcile()
    reconcile()
    (incident,) = ledger.entries(kinds=["incident.opened"])
    assert incident.data["severity"] == "P2" and "no restore drill since" in incident.data["title"]
