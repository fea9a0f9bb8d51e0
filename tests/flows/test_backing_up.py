"""A night's backup on twins: what it does in which order, what it says, and what a watch makes of a missing one."""

from datetime import timedelta

import pytest
from stage import Stage

from domain.backup import BackupKind, BackupState
from domain.backup_retention import read_retention
from domain.errors import ConfigError, TransientError
from flows.backup import backup
from flows.backup_watch import backup_watch
from tasks.backup import (
    copy_elsewhere,
    dump_database,
    expire_backups,
    expire_elsewhere,
    read_weaknesses,
    sweep_backups,
    take_backup,
)
from tasks.recording import Subject, record


@pytest.fixture
def clocked(stage: Stage) -> Stage:
    """A stage whose server and ledger live by the world's clock."""
    stage.world.backups.server.now = stage.world.clock.now
    return stage


def test_a_night_with_dumps_takes_copies_and_says_what_is_not_protected(stage: Stage):
    stage.world.backups.server.write("row")
    ended = backup(kind="full", with_dumps=True)
    (taken,) = stage.world.backups.backups()
    assert ended["backup"] == taken.id and taken.is_done
    (entry,) = stage.world.ledger.entries(kinds=["backup.taken"])
    assert entry.data["manifest_sha256"] == taken.manifest_sha256 and entry.data["target_lsn"] == taken.target_lsn
    assert entry.data["engine"] == "memory" and entry.data["stored_bytes"] > 0 and "bytes_per_s" in entry.data
    assert {entry.data["database"] for entry in stage.world.ledger.entries(kinds=["dump.taken"])} == {
        "prefect",
        "slipway_ledger",
    }
    assert stage.world.backup_copies.kept == stage.world.backup_copies.buckets
    (page,) = stage.world.screen.reports["backup"]
    assert "7 of 7 not protected" in page and len(ended["unprotected"]) == 7
    assert stage.world.screen.bars["backup-progress"] > 0


def test_with_a_copy_apart_everything_is_protected(stage: Stage):
    stage.world.backup_copies.where, stage.world.backup_copies.is_apart = "/far", True
    ended = backup(kind="full", with_dumps=True)
    assert ended["unprotected"] == [] and "Everything is protected" in stage.world.screen.reports["backup"][0]
    assert set(stage.world.backup_copies.copies)


def test_a_copy_on_the_same_disk_is_made_and_does_not_count(stage: Stage):
    stage.world.backup_copies.where = "/here"
    ended = backup(kind="full", with_dumps=False)
    assert stage.world.ledger.entries(kinds=["copies.stored_elsewhere"]) and ended["unprotected"]


def test_an_incremental_one_stands_on_the_one_before(stage: Stage):
    first = take_backup.fn("run-1", "full")
    second = take_backup.fn("run-2", "incremental")
    assert second["parent"] == first["id"] and second["kind"] == BackupKind.INCREMENTAL
    third = take_backup.fn("run-3", "full")
    (*_, entry) = stage.world.ledger.entries(kinds=["backup.taken"])
    assert entry.data["stored_grown_bytes"] == third["stored_bytes"] - first["stored_bytes"]


def test_the_same_run_takes_it_once(stage: Stage):
    assert take_backup.fn("run-1", "full")["id"] == take_backup.fn("run-1", "full")["id"]
    assert len(stage.world.backups.backups()) == 1


def test_while_the_store_is_away_it_fails_and_says_so(stage: Stage):
    stage.world.backups.is_away = True
    with pytest.raises(TransientError):
        take_backup.fn("run-1", "full")
    assert stage.kinds(run="run-1") == ["backup.begun", "backup.failed"]
    stage.world.backup_copies.is_away = True
    with pytest.raises(TransientError):
        dump_database.fn("run-1", "prefect")


def test_a_bucket_that_is_missing_and_an_engine_that_can_not_are_settings(stage: Stage):
    stage.world.backups.has_bucket = False
    with pytest.raises(ConfigError, match="slipway up"):
        take_backup.fn("run-1", "full")
    stage.world.backups.has_bucket, stage.world.backups.reason = True, "pgBackRest 2.45 knows up to 15"
    with pytest.raises(ConfigError, match=r"unavailable: pgBackRest 2\.45 knows up to 15"):
        take_backup.fn("run-2", "full")


def test_what_a_kill_left_goes_after_a_day_and_not_before(clocked: Stage):
    engine = clocked.world.backups
    engine.dies_after = 1
    with pytest.raises(KeyboardInterrupt):
        take_backup.fn("run-1", "full")
    clocked.world.clock.sleep(3600)
    assert sweep_backups.fn("run-2") == []
    clocked.world.clock.sleep(timedelta(days=1).total_seconds())
    (left,) = [one.id for one in engine.backups() if one.state is BackupState.STARTED]
    assert sweep_backups.fn("run-3") == [left] and not engine.objects


def test_a_year_of_nights_stays_bounded_and_what_is_held_stays(clocked: Stage):
    first = take_backup.fn("night-0", "full")
    clocked.world.backups.hold(first["id"], reason="audit 7")
    for night in range(1, 120):
        clocked.world.clock.sleep(86_400)
        take_backup.fn(f"night-{night}", "full")
        expire_backups.fn(f"night-{night}")
    kept = {one.id for one in clocked.world.backups.backups()}
    assert first["id"] in kept and len(kept) < 25


def test_a_week_of_nights_is_one_full_backup_and_what_changed_since(clocked: Stage):
    kinds: list[str] = []
    for night in range(9):
        kinds.append(take_backup.fn(f"night-{night}", "auto")["kind"])
        assert take_backup.fn(f"night-{night}", "auto")["id"] == clocked.world.backups.backups()[-1].id
        clocked.world.clock.sleep(86_400)
    assert kinds == ["full", *["incremental"] * 6, "full", "incremental"]
    clocked.world.backups.kinds = (BackupKind.FULL,)
    assert take_backup.fn("night-10", "auto")["kind"] == "full"


def test_an_operators_rules_count_here_and_at_the_second_place_and_what_is_held_stays(clocked: Stage):
    world = clocked.world
    world.retention = read_retention("count=1 window_days=0 daily=0 weekly=0 monthly=0 dumps=1")
    world.backup_copies.where, world.backup_copies.is_apart = "/far", True
    held = newest = take_backup.fn("night-0", "full")["id"]
    world.backups.hold(held, reason="audit 7")
    for night in range(1, 4):
        world.clock.sleep(86_400)
        newest = take_backup.fn(f"night-{night}", "full")["id"]
        dump_database.fn(f"night-{night}", "prefect")
        copy_elsewhere.fn(f"night-{night}")
        expire_backups.fn(f"night-{night}")
        expire_elsewhere.fn(f"night-{night}")
    assert {one.id for one in world.backups.backups()} == {held, newest}
    assert {one.id for one in world.backup_copies.kept_elsewhere()} == {held, newest}
    assert set(world.backup_copies.copies) == {"dumps/prefect/night-3"}
    (*_, entry) = world.ledger.entries(kinds=["retention.applied"])
    assert entry.data["kept"] == {held: ["hold: audit 7"], newest: ["count"]} and "count=1" in entry.data["rules"]
    (*_, entry) = world.ledger.entries(kinds=["second_place.expired"])
    assert set(entry.data["backups_left"]) == {held, newest}


def test_the_last_backup_that_a_drill_proved_outlives_every_rule(clocked: Stage):
    world = clocked.world
    world.retention = read_retention("count=1 window_days=0 daily=0 weekly=0 monthly=0")
    proven = newest = take_backup.fn("night-0", "full")["id"]
    record(Subject("drill-1", ""), "backup.proven", detail=proven, backup=proven, drill="drill-1")
    for night in range(1, 4):
        world.clock.sleep(86_400)
        newest = take_backup.fn(f"night-{night}", "full")["id"]
        expire_backups.fn(f"night-{night}")
    assert {one.id for one in world.backups.backups()} == {proven, newest}


def test_without_a_second_place_nothing_is_copied_there(stage: Stage):
    assert copy_elsewhere.fn("run-1") == {} and not stage.kinds(run="run-1")


def test_a_young_installation_lacks_nothing_yet_and_an_old_one_lacks_a_backup(clocked: Stage):
    clocked.pin("a")
    assert read_weaknesses.fn() == []
    clocked.world.clock.sleep(3 * 86_400)
    assert read_weaknesses.fn() == ["none"]


def test_a_log_with_a_gap_opens_one_incident(stage: Stage):
    server = stage.world.backups.server
    for text in ("a", "b", "c"):
        server.write(text)
    take_backup.fn("run-1", "full")
    for text in ("d", "e", "f"):
        server.write(text)
    del server.segments[sorted(server.segments)[-2]]
    first, again = backup_watch(), backup_watch()
    assert first["lacks"] == ["log_gap"] and first["incident"] > 0 and again["incident"] == 0
    (incident,) = stage.world.ledger.entries(kinds=["incident.opened"])
    assert "log without gaps" in incident.data["title"] and incident.data["severity"] == "P2"


def test_while_all_is_well_the_watch_says_nothing(stage: Stage):
    backup(kind="full")
    assert backup_watch() == {"lacks": []} and not stage.world.ledger.entries(kinds=["incident.opened"])
