"""What every engine's adapter does alike around its own tool, so that no exit code has to be believed.

The bucket must exist; page checksums are required; each object is read again and its SHA-256 recorded; only what has a
manifest counts; nothing is laid out that differs from it; what is held, the last whole one and parents never expire;
what kills leave is swept by id and age. An engine adds how its tool takes and lays out, and where it keeps the log.
"""

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from blocks.backup_bucket import BackupBucket, Listed
from blocks.backup_hashing import Hashing
from blocks.backup_records import REPLAY, BackupRecords
from blocks.backup_server import BackupServer, ServerFacts
from domain.backup import (
    Availability,
    Backup,
    BackupKind,
    BackupManifest,
    BackupProgress,
    BackupState,
    Evidence,
    Expiry,
    WalState,
    read_log,
)
from domain.backup_retention import NeededLog, choose_log, left_after
from domain.errors import ConfigError, InvariantError, TransientError
from domain.wal import WalGap, is_segment

ARCHIVED_LIMIT_S = 120
_POLL_S = 0.1


class RecordedEngine(ABC):
    """The common half of `domain.ports_backup.BackupEngine`.

    Args:
        server: the PostgreSQL server; None where there is none (a restore on an empty machine).
        prefix: where in the bucket this server's backups lie, with its slash.
    """

    name: str
    kinds: Sequence[BackupKind]

    def __init__(self, bucket: BackupBucket, *, server: BackupServer | None, prefix: str) -> None:
        self._bucket, self._server, self._prefix = bucket, server, prefix
        self._records = BackupRecords(bucket, prefix)

    @abstractmethod
    def availability(self) -> Availability: ...

    def backup(
        self,
        kind: BackupKind,
        *,
        label: str,
        limit_s: float,
        on_progress: Callable[[BackupProgress], None] = lambda progress: None,
        extra: Callable[[], Mapping[str, Any]] | None = None,
    ) -> Backup:
        if kind not in self.kinds:
            able = ", ".join(one.value for one in self.kinds)
            raise ConfigError(f"{self.name} can't take {kind.value} backups. Use one of: {able}.")
        version = self._require()
        self._bucket.require()
        if known := self._records.labelled(label):
            return known
        server = self._needed_server()
        with server.alone():
            facts = server.facts()
            if not facts.page_checksums:
                raise ConfigError(
                    "The server has no page checksums: damage in its files would be backed up unseen. Stop it and run "
                    "`pg_checksums --enable`, or make it anew with `initdb --data-checksums`."
                )
            hashing = Hashing(self._bucket, self._stored)
            with hashing.ahead():
                found = self._take(kind, facts, version, limit_s=limit_s, on_progress=on_progress)
                more = {**(dict(extra()) if extra else {}), REPLAY: facts.settings}
                target, segment = server.mark(f"slipway-{found.id}")
                self._wait_archived(segment)
            objects = hashing.of(self._stored().get(found.id, []))
            if not any(self._is_data(one.key) for one in objects):
                raise InvariantError(f"Backup {found.id} has no data in {self._bucket.bucket}. Run again.")
            stored = sum(one.size_bytes for one in objects)
            done = replace(found, target_lsn=target, stored_bytes=stored)
            return self._records.finish(done, objects, label=label, extra=more)

    def backups(self) -> Sequence[Backup]:
        finished = self._records.finished()
        found = dict(finished)
        for id, objects in self._stored().items():
            if id not in finished:
                begun, size = min(one.at for one in objects), sum(one.size_bytes for one in objects)
                kind = self._kind_of(id)
                found[id] = Backup(id, kind, BackupState.STARTED, self.name, "", begun, stored_bytes=size)
        return sorted(found.values(), key=lambda one: (one.begun_at, one.id))

    def manifest(self, backup: str) -> BackupManifest | None:
        return self._records.manifest(backup)

    def verify(self, backup: str, *, expected_sha256: str = "") -> Evidence:
        """An incremental backup is as whole as its parents are."""
        found = self._find(backup)
        evidence = self._records.verify(backup, expected_sha256, folder=self._folder_of(backup))
        if not found.parent or not evidence.is_intact:
            return evidence
        parent = self.verify(found.parent)
        checked, size = evidence.checked + parent.checked, evidence.checked_bytes + parent.checked_bytes
        return Evidence(backup, checked, size, parent.damage, parent.unavailable)

    def wal_state(self, *, since: str = "", until: str = "") -> WalState:
        # asked before the archive is read: what is archived meanwhile is no gap
        told = self._server.archiver() if self._server else None
        names = self._log_names()
        state = read_log(names, since=since, until=until)
        if told is None:
            return state
        state = replace(state, gaps=(*state.gaps, *_find_lost_end(names, told.last_archived, since, until)))
        waiting_s = (told.now - told.waiting_since).total_seconds() if told.waiting_since else 0.0
        return replace(
            state,
            archived_at=told.archived_at or state.archived_at,
            failed_at=told.failed_at,
            failing=told.last_failed if told.is_failing else "",
            waiting=told.waiting,
            lag_s=max(0.0, waiting_s),
        )

    def expire(self, backups: Sequence[str], *, dry_run: bool, window_begin: datetime | None = None) -> Expiry:
        known = {one.id: one for one in self.backups()}
        for name in [name for name in backups if name not in known]:
            self._find(name)
        left = left_after(list(known.values()), backups)
        log = choose_log(left, window_begin=window_begin)
        if not dry_run:
            for name in backups:
                self._remove(name)
            self._remove_log(log)
            self._bucket.purge(self._prefix)
        return Expiry(tuple(backups), dry_run, log.since)

    def hold(self, backup: str, *, reason: str) -> None:
        self._find(backup)
        self._records.hold(backup, reason)

    def sweep(self, *, older_than: timedelta, dry_run: bool) -> Sequence[str]:
        now = datetime.now(UTC)
        with self._needed_server().alone():
            left = [one.id for one in self.backups() if not one.is_done and one.begun_at <= now - older_than]
            if not dry_run:
                for name in left:
                    self._remove(name)
                self._bucket.abort_uploads(self._prefix, older_than=older_than, now=now)
                self._bucket.purge(self._prefix)
        return left

    @abstractmethod
    def _take(
        self,
        kind: BackupKind,
        facts: ServerFacts,
        version: str,
        *,
        limit_s: float,
        on_progress: Callable[[BackupProgress], None],
    ) -> Backup:
        """Run the tool, and read what it says that it made; without target and stored size."""

    @abstractmethod
    def _stored(self) -> Mapping[str, Sequence[Listed]]:
        """The objects of every backup, by its id."""

    def _folder_of(self, backup: str) -> str:
        """Where all lies that the tool may take for a part of the backup; "" where there is no such place."""
        return ""

    @abstractmethod
    def _is_data(self, key: str) -> bool:
        """Whether an object of a backup holds files of the server."""

    @abstractmethod
    def _kind_of(self, backup: str) -> BackupKind:
        """What an unfinished backup was to become, by its id."""

    @abstractmethod
    def _log_names(self) -> Mapping[str, datetime]:
        """Every file of the log that is kept by its own name, and since when."""

    @abstractmethod
    def _is_archived(self, segment: str) -> bool: ...

    @abstractmethod
    def _remove_log(self, log: NeededLog) -> None:
        """Remove segments that nobody needs; histories stay."""

    @abstractmethod
    def _before_removing(self, backup: str) -> None:
        """Tell the tool itself before a backup's objects go, where it keeps a list of its own."""

    def _remove(self, backup: str) -> None:
        """The objects first, what is written about them last: killed in between, it is found and removed again."""
        self._before_removing(backup)
        self._bucket.remove([one.key for one in self._stored().get(backup, [])])
        self._records.forget(backup)

    def _require_intact(self, backup: str, directory: Path) -> Evidence:
        """What was compared before anything is laid out.

        Raises: ConfigError where the folder holds something, InvariantError where the backup is damaged."""
        found = self._find(backup)
        if directory.exists() and any(directory.iterdir()):
            raise ConfigError(f"{directory} is not empty. Restore into an empty folder.")
        evidence = self.verify(backup, expected_sha256=found.manifest_sha256)
        if not evidence.is_intact:
            words = evidence.unavailable or evidence.damage[0]
            raise InvariantError(f"Backup {backup} is damaged: {words}. Restore another one.")
        return replace(evidence, manifest_sha256=found.manifest_sha256)

    def _wait_archived(self, segment: str) -> None:
        """Wait until the log up to the target is kept: without it the backup can't be recovered."""
        deadline = time.monotonic() + ARCHIVED_LIMIT_S
        while not self._is_archived(segment):
            if time.monotonic() > deadline:
                raise TransientError(
                    f"Segment {segment} is not archived after {ARCHIVED_LIMIT_S} s: without it the backup can't be "
                    "recovered. Look at `slipway backup status` and at the archiver's log."
                )
            time.sleep(_POLL_S)

    def _find(self, backup: str) -> Backup:
        found = self._records.backup(backup)
        if found is None:
            known = ", ".join(sorted(self._records.finished())) or "none yet"
            raise ConfigError(f"No finished backup '{backup}'. Use one of: {known}.")
        return found

    def _require(self) -> str:
        found = self.availability()
        if not found.is_available:
            raise ConfigError(f"unavailable: {found.reason}")
        return found.version

    def _needed_server(self) -> BackupServer:
        if self._server is None:
            raise ConfigError("This engine was opened without a server. Open it to write.")
        return self._server


def _find_lost_end(names: Mapping[str, datetime], last_archived: str, since: str, until: str) -> Sequence[WalGap]:
    """The last segment that the server knows to be archived, where the archive does not have it: no gap shows that."""
    if not any(map(is_segment, names)) or until or not is_segment(last_archived) or last_archived in names:
        return ()
    return (WalGap(last_archived, last_archived, 1),) if last_archived[8:] >= since[8:] else ()


def clear(directory: Path) -> None:
    """Empty a folder: half a restore must not look like a whole one."""
    for entry in directory.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
