"""A backup engine in memory: the twin of `blocks/backup_barman.py` and `blocks/backup_pgbackrest.py`.

Its server is a list of rows, each with its place in the log; a restored folder holds `rows.json`, the rows as recovery
to the target would have left them.
"""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from domain.backup import (
    Availability,
    Backup,
    BackupKind,
    BackupManifest,
    BackupProgress,
    BackupState,
    Evidence,
    Expiry,
    StoredObject,
    Target,
    WalState,
    read_log,
)
from domain.backup_retention import choose_log, left_after
from domain.canonical import sha256_hex
from domain.errors import ConfigError, InvariantError, TransientError
from domain.ports_backup import Recovery
from domain.wal import SEGMENT_BYTES, find_gaps, read_lsn, segment_at, write_lsn

TIMELINE = 1


class MemoryBackupServer:
    """A server whose rows and log are in memory; each row takes a segment of the log, archived at once."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.now = clock
        self.lsn = SEGMENT_BYTES
        self.rows: list[tuple[int, str, str]] = []
        self.segments: dict[str, bytes] = {}
        self.archived: dict[str, str] = {}

    def write(self, text: str) -> str:
        """Commit a row; returns the place in the log right after it."""
        self.segments[self.segment] = text.encode()
        self.archived[self.segment] = sha256_hex(text.encode())
        self.lsn += SEGMENT_BYTES
        self.rows.append((self.lsn, self.now().isoformat(), text))
        return write_lsn(self.lsn)

    @property
    def segment(self) -> str:
        return segment_at(TIMELINE, self.lsn)


class MemoryBackupEngine:
    """Fulfils `domain.ports_backup.BackupEngine` for tests.

    `objects` shows all that is stored; change or remove one to damage a backup. `reason` makes it unavailable,
    `is_away` the store, `has_bucket` the lack of a bucket; `dies_after` kills the next backup after so many objects.
    """

    name = "memory"
    kinds: Sequence[BackupKind] = (BackupKind.FULL, BackupKind.DIFFERENTIAL, BackupKind.INCREMENTAL)

    def __init__(self, server: MemoryBackupServer | None = None) -> None:
        self.server = server or MemoryBackupServer()
        self.objects: dict[str, bytes] = {}
        self.kept: dict[str, Backup] = {}
        self.labels: dict[str, str] = {}
        self.manifests: dict[str, BackupManifest] = {}
        self.reason = ""
        self.is_away = False
        self.has_bucket = True
        self.dies_after: int | None = None

    def availability(self) -> Availability:
        return Availability(not self.reason, "1.0", self.reason)

    def backup(
        self,
        kind: BackupKind,
        *,
        label: str,
        limit_s: float,
        on_progress: Callable[[BackupProgress], None] = lambda progress: None,
        extra: Callable[[], Mapping[str, Any]] | None = None,
    ) -> Backup:
        self._look()
        if label in self.labels and self.kept[self.labels[label]].is_done:
            return self.kept[self.labels[label]]
        server, done = self.server, [one for one in self.backups() if one.is_done]
        parents = [one for one in done if kind is BackupKind.INCREMENTAL or one.kind is BackupKind.FULL]
        parent = parents[-1].id if kind is not BackupKind.FULL and parents else ""
        begun = Backup(
            id=f"{server.now():%Y%m%dT%H%M%S}-{len(self.kept):03}",
            kind=kind if parent else BackupKind.FULL,
            state=BackupState.STARTED,
            engine=self.name,
            engine_version="1.0",
            begun_at=server.now(),
            server_version=180000,
            system_id="7000000000000000001",
            timeline=TIMELINE,
            begin_wal=server.segment,
            begin_lsn=write_lsn(server.lsn),
            parent=parent,
            encryption="client",
            page_checksums=True,
        )
        self.kept[begun.id], self.labels[label] = begun, begun.id
        self._store(f"base/{begun.id}/rows", json.dumps(server.rows).encode())
        self._store(f"base/{begun.id}/label", label.encode())
        on_progress(BackupProgress(1, 2, 0.0))
        return self._finish(begun, dict(extra()) if extra else {})

    def backups(self) -> Sequence[Backup]:
        if self.is_away:
            raise TransientError("The store is away.")
        return sorted(self.kept.values(), key=lambda one: (one.begun_at, one.id))

    def manifest(self, backup: str) -> BackupManifest | None:
        return self.manifests.get(backup)

    def verify(self, backup: str, *, expected_sha256: str = "") -> Evidence:
        self._get(backup)
        manifest = self.manifests.get(backup)
        if manifest is None:
            return Evidence(backup, unavailable=f"no manifest was recorded with {backup}")
        if expected_sha256 and manifest.sha256 != expected_sha256:
            return Evidence(backup, damage=("the manifest is not the one that the ledger has",))
        damage: list[str] = []
        for one in manifest.objects:
            if one.key not in self.objects:
                damage.append(f"{one.key} is missing")
            elif sha256_hex(self.objects[one.key]) != one.sha256:
                damage.append(f"{one.key} differs")
        size, parent = sum(one.size_bytes for one in manifest.objects), self._get(backup).parent
        if parent:
            damage += self.verify(parent).damage
        return Evidence(backup, len(manifest.objects), size, tuple(damage))

    def verify_log(self, *, since: str, seed: str, bytes_max: int) -> Evidence:
        names = [name for name in self.server.segments if name >= since]
        kept, archived = self.server.segments, self.server.archived
        damage = tuple(f"{name} is damaged" for name in names if sha256_hex(kept[name]) != archived[name])
        return Evidence("log", len(names), len(names), damage)

    @contextmanager
    def restore(
        self, backup: str, target: Target, directory: Path, *, user: str | None, limit_s: float
    ) -> Generator[Recovery]:
        found = self._get(backup)
        if directory.exists() and any(directory.iterdir()):
            raise ConfigError(f"{directory} is not empty. Restore into an empty folder.")
        evidence = self.verify(backup)
        if evidence.damage:
            raise InvariantError(f"{backup} is damaged: {evidence.damage[0]}. Restore another one.")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "recovery.signal").touch()
        (directory / "rows.json").write_text(json.dumps(self._recovered(found, target)))
        settings = {f"recovery_target_{target.kind}": target.value, "restore_command": "memory %f %p"}
        yield Recovery(directory, settings, evidence=replace(evidence, manifest_sha256=found.manifest_sha256))

    def wal_state(self, *, since: str = "", until: str = "") -> WalState:
        return read_log(dict.fromkeys(self.server.segments, self.server.now()), since=since, until=until)

    def expire(self, backups: Sequence[str], *, dry_run: bool, window_begin: datetime | None = None) -> Expiry:
        gone = {name: self._get(name) for name in backups}
        left = left_after(self.backups(), gone)
        log = choose_log(left, window_begin=window_begin)
        if not dry_run:
            for name in gone:
                self._remove(name)
            for name in [name for name in self.server.segments if not log.keeps(name)]:
                del self.server.segments[name]
        return Expiry(tuple(backups), dry_run, log.since)

    def hold(self, backup: str, *, reason: str) -> None:
        self.kept[backup] = replace(self._get(backup), hold=reason)

    def sweep(self, *, older_than: timedelta, dry_run: bool) -> Sequence[str]:
        oldest = self.server.now() - older_than
        left = [one.id for one in self.backups() if not one.is_done and one.begun_at < oldest]
        for name in [] if dry_run else left:
            self._remove(name)
        return left

    def _finish(self, begun: Backup, extra: dict[str, Any]) -> Backup:
        server = self.server
        end_wal, end = server.segment, server.write("backup label")
        objects = tuple(
            StoredObject(key, len(body), sha256_hex(body))
            for key, body in self.objects.items()
            if key.startswith(f"base/{begun.id}/")
        )
        done = replace(
            begun,
            state=BackupState.DONE,
            ended_at=server.now(),
            end_wal=end_wal,
            end_lsn=end,
            target_lsn=write_lsn(server.lsn),
            size_bytes=sum(one.size_bytes for one in objects),
            stored_bytes=sum(one.size_bytes for one in objects),
        )
        manifest = BackupManifest(done.as_dict(), objects, extra)
        self.manifests[begun.id] = manifest
        self.kept[begun.id] = replace(done, manifest_sha256=manifest.sha256)
        return self.kept[begun.id]

    def _recovered(self, backup: Backup, target: Target) -> list[str]:
        """The rows at the target. Raises: InvariantError where the log does not reach it, as a server says."""
        last = backup.target_lsn if target.kind == "name" else target.value
        if target.kind == "time":
            return [text for _, at, text in self.server.rows if datetime.fromisoformat(at) <= target.time]
        if gaps := find_gaps([n for n in self.server.segments if n <= segment_at(TIMELINE, read_lsn(last))]):
            raise InvariantError(f"recovery ended before the target {last} was reached: {gaps[0].first} is missing")
        if read_lsn(last) > self.server.lsn:
            raise InvariantError(f"recovery ended before the target {last} was reached")
        return [text for lsn, _, text in self.server.rows if lsn <= read_lsn(last)]

    def _store(self, key: str, body: bytes) -> None:
        if self.dies_after is not None and len(self.objects) >= self.dies_after:
            self.dies_after = None
            raise KeyboardInterrupt
        self.objects[key] = body

    def _remove(self, name: str) -> None:
        del self.kept[name]
        self.manifests.pop(name, None)
        for key in [key for key in self.objects if key.startswith(f"base/{name}/")]:
            del self.objects[key]

    def _look(self) -> None:
        if self.reason:
            raise ConfigError(f"unavailable: {self.reason}")
        if not self.has_bucket:
            raise ConfigError("There is no bucket 'backups'. Run `slipway up`, which makes it.")
        if self.is_away:
            raise TransientError("The store is away.")

    def _get(self, name: str) -> Backup:
        if name not in self.kept:
            raise ConfigError(f"No backup '{name}'. Use one of: {', '.join(self.kept) or 'none yet'}.")
        return self.kept[name]
