"""What a backup engine promises: in memory, and on real servers and stores."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from blocks.memory_backup_engine import MemoryBackupEngine
from domain.backup import Backup, BackupKind, BackupState, at_lsn
from domain.errors import ConfigError, InvariantError, RefusedError
from domain.ports_backup import BackupEngine, Recovery


class Bench(Protocol):
    """An engine with its server, and the hands that damage what it keeps."""

    engine: BackupEngine
    expirer: BackupEngine
    reader: BackupEngine
    user: str | None

    def write(self, text: str) -> str:
        """Commit a row whose segment is archived; returns the place in the log after it."""
        ...

    def rows(self, recovery: Recovery) -> list[str]:
        """Start a restored server, wait for the end of its recovery, and read what was written."""
        ...

    def damage(self, backup: str) -> None:
        """Change one byte of a stored object."""
        ...

    def kill_midway(self, label: str) -> None:
        """Kill a backup, children and all, after it has begun to store."""
        ...


class MemoryBench:
    user: str | None = None

    def __init__(self) -> None:
        self.memory = MemoryBackupEngine()
        self.engine: BackupEngine = self.memory
        self.expirer: BackupEngine = self.memory
        self.reader: BackupEngine = self.memory

    def write(self, text: str) -> str:
        return self.memory.server.write(text)

    def rows(self, recovery: Recovery) -> list[str]:
        rows = json.loads((recovery.directory / "rows.json").read_text())
        return [row for row in rows if row != "backup label"]

    def damage(self, backup: str) -> None:
        key = self.memory.manifests[backup].objects[0].key
        self.memory.objects[key] = self.memory.objects[key][:-1] + b"X"

    def kill_midway(self, label: str) -> None:
        self.memory.dies_after = len(self.memory.objects) + 1
        with pytest.raises(KeyboardInterrupt):
            self.engine.backup(BackupKind.FULL, label=label, limit_s=60)


@pytest.fixture(params=["memory", "barman", "pgbackrest"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return MemoryBench() if request.param == "memory" else request.getfixturevalue(f"{request.param}_bench")


def take(bench: Bench, label: str, kind: BackupKind = BackupKind.FULL) -> Backup:
    return bench.engine.backup(kind, label=label, limit_s=120)


def restored(bench: Bench, backup: Backup, lsn: str, folder: Path) -> list[str]:
    with bench.reader.restore(backup.id, at_lsn(lsn), folder, user=bench.user, limit_s=120) as recovery:
        return bench.rows(recovery)


def test_a_backup_is_listed_with_what_a_recovery_needs_and_is_intact(bench: Bench):
    bench.write("a")
    taken = take(bench, "one")
    (found,) = [one for one in bench.engine.backups() if one.id == taken.id]
    assert found == taken
    assert taken.is_done and taken.engine == bench.engine.name and taken.system_id and taken.target_lsn
    assert taken.begin_wal <= taken.end_wal and taken.stored_bytes > 0
    evidence = bench.reader.verify(taken.id, expected_sha256=taken.manifest_sha256)
    assert evidence.is_intact and evidence.checked >= 1


def test_recovery_reaches_the_named_place_and_no_further(bench: Bench, open_tmp: Path):
    bench.write("before")
    taken = take(bench, "named")
    reached = bench.write("wanted")
    bench.write("unwanted")
    assert restored(bench, taken, reached, open_tmp / "data") == ["before", "wanted"]


def test_one_changed_byte_is_damage_that_is_named_and_is_never_laid_out(bench: Bench, open_tmp: Path):
    bench.write("a")
    taken = take(bench, "damaged")
    bench.damage(taken.id)
    evidence = bench.reader.verify(taken.id)
    assert not evidence.is_intact and evidence.damage
    with pytest.raises(InvariantError):
        restored(bench, taken, taken.target_lsn, open_tmp / "data")
    assert not (open_tmp / "data" / "global" / "pg_control").exists()


def test_a_label_that_is_done_is_not_taken_again(bench: Bench):
    assert take(bench, "same").id == take(bench, "same").id


def test_what_a_kill_leaves_is_swept_and_older_ones_stay_restorable(bench: Bench, open_tmp: Path):
    bench.write("kept")
    taken = take(bench, "older")
    bench.kill_midway("killed")
    following = take(bench, "following")
    assert following.is_done, "with keys that can't remove what the killed one left"
    bench.kill_midway("killed again")
    unfinished = [one.id for one in bench.engine.backups() if one.state is not BackupState.DONE]
    assert list(bench.expirer.sweep(older_than=timedelta(hours=1), dry_run=False)) == []
    assert list(bench.expirer.sweep(older_than=timedelta(0), dry_run=True)) == unfinished
    assert list(bench.expirer.sweep(older_than=timedelta(0), dry_run=False)) == unfinished
    assert [one.id for one in bench.engine.backups()] == [taken.id, following.id]
    assert restored(bench, taken, taken.target_lsn, open_tmp / "data") == ["kept"]


def test_what_is_held_is_never_expired_and_the_last_one_neither(bench: Bench):
    first, second = take(bench, "first"), take(bench, "second")
    bench.engine.hold(first.id, reason="audit 7")
    with pytest.raises(RefusedError, match="audit 7"):
        bench.expirer.expire([first.id], dry_run=False)
    bench.expirer.hold(first.id, reason="")
    with pytest.raises(RefusedError):
        bench.expirer.expire([first.id, second.id], dry_run=False)
    assert bench.expirer.expire([first.id], dry_run=True).backups == (first.id,)
    assert {one.id for one in bench.engine.backups()} == {first.id, second.id}
    bench.expirer.expire([first.id], dry_run=False)
    assert [one.id for one in bench.engine.backups()] == [second.id]


def test_the_archive_has_no_gap(bench: Bench):
    taken = take(bench, "log")
    bench.write("more")
    state = bench.engine.wal_state(since=taken.begin_wal)
    assert state.is_whole and state.newest >= taken.end_wal and not state.failing


def test_a_backup_that_nobody_took_is_refused_by_name(bench: Bench, open_tmp: Path):
    with pytest.raises(ConfigError, match="20200101T000000"):
        bench.reader.verify("20200101T000000")
    with (
        pytest.raises(ConfigError, match="20200101T000000"),
        bench.reader.restore("20200101T000000", at_lsn("0/1"), open_tmp / "x", user=None, limit_s=5),
    ):
        pass


@pytest.mark.parametrize("kind", ["memory", "pgbackrest"])
def test_an_incremental_one_restores_with_its_parent_and_is_damaged_with_it(
    kind: str, request: pytest.FixtureRequest, open_tmp: Path
):
    bench: Bench = MemoryBench() if kind == "memory" else request.getfixturevalue("pgbackrest_bench")
    bench.write("full")
    full = take(bench, "full")
    bench.write("since")
    child = take(bench, "child", BackupKind.INCREMENTAL)
    assert child.kind is BackupKind.INCREMENTAL and child.parent == full.id
    assert restored(bench, child, child.target_lsn, open_tmp / "data") == ["full", "since"]
    with pytest.raises(RefusedError):
        bench.expirer.expire([full.id], dry_run=False)
    bench.damage(full.id)
    assert not bench.reader.verify(child.id).is_intact
