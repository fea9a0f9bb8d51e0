"""Backups by pgBackRest where its binary is present and knows the server's version: full and incremental, encrypted.

It encrypts and compresses itself, takes its archive by its own `archive-push`, and verifies what it restores. What its
exit codes hide is closed here as for every engine: each object is hashed after the backup and compared before a
restore; `info` is read as JSON, since it ends with 0 whatever it found. Called through `domain.ports_backup`.
"""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

from blocks.backup_bucket import BackupBucket, Listed
from blocks.backup_records import REPLAY, BackupRecords
from blocks.backup_server import BackupServer, ServerFacts
from blocks.backup_tools import follow, probe
from blocks.guarded import Guarded, Order
from blocks.identity import clean_environment, give
from blocks.installation import write_private
from blocks.wal_settings import recovery_settings
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
)
from domain.backup_retention import NeededLog, choose_log
from domain.errors import ConfigError, InvariantError, RefusedError, TransientError
from domain.ports_backup import Recovery
from domain.service import Outcome
from domain.wal import find_gaps, is_segment, missing_histories

# Source: release notes of pgBackRest 2.41, 2.47, 2.52 and 2.55; the newest major version of PostgreSQL that each knows.
_KNOWS = (((2, 55), 18), ((2, 52), 17), ((2, 47), 16), ((2, 41), 15))
_ARCHIVED_LIMIT_S = 120
_TOOL_LIMIT_S = 120
_LABEL = re.compile(r"\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?")
_KINDS = {BackupKind.FULL: "full", BackupKind.INCREMENTAL: "incr"}


@dataclass(frozen=True, slots=True)
class Repository:
    """Where pgBackRest keeps: a bucket over TLS. `cipher` encrypts; losing it loses all: it is in the recovery kit."""

    bucket: BackupBucket
    tls_endpoint: str
    ca_file: Path
    cipher: str = field(repr=False)
    prefix: str = "pgbackrest"


class PgBackRestEngine:
    """Fulfils `domain.ports_backup.BackupEngine`.

    Args:
        data: the server's data folder.
        user: who runs the server, and so pgBackRest beside it.
        folder: where configuration, locks and spool lie; `user` can enter it.
        sockets: the folder of the server's UNIX socket, by which alone pgBackRest reaches a server beside it.
    """

    name = "pgbackrest"
    kinds: Sequence[BackupKind] = (BackupKind.FULL, BackupKind.INCREMENTAL)

    def __init__(
        self,
        repository: Repository,
        *,
        server: BackupServer | None,
        data: Path,
        user: str | None,
        folder: Path,
        sockets: Path | None = None,
        binary: Path = Path("/usr/bin/pgbackrest"),
        stanza: str = "main",
    ) -> None:
        self._repository, self._bucket = repository, repository.bucket
        self._server, self._data, self._user = server, data, user
        self._folder, self._sockets, self._binary, self._stanza = folder, sockets, binary, stanza
        self._prefix = f"{repository.prefix}/"
        self._records = BackupRecords(self._bucket, self._prefix)

    def availability(self) -> Availability:
        version, problem = probe(self._binary, "version")
        if problem:
            return Availability(False, reason=f"pgbackrest {problem}. Install the package pgbackrest.")
        knows = max((newest for since, newest in _KNOWS if _numbers(version) >= since), default=0)
        if self._server is not None and self._server.facts().version // 10_000 > knows:
            return Availability(False, version, f"pgBackRest {version} knows up to {knows}")
        return Availability(True, version)

    def archive_command(self) -> str:
        """What the server's archive_command has to be; it must name pgbackrest, which looks for that."""
        return f"{self._binary} --config={self.configure()} --stanza={self._stanza} archive-push %p"

    def configure(self) -> Path:
        """Write pgBackRest's configuration, which holds keys: for the server's user only. May be repeated."""
        path = self._folder / "pgbackrest.conf"
        self._write_configuration(path, self._data, self._user)
        return path

    def prepare(self) -> None:
        """Make the stanza; there already is no error. The server must run."""
        self._bucket.require()
        self._run("stanza-create", [], limit_s=_TOOL_LIMIT_S)

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
            raise ConfigError(f"pgBackRest takes full and incremental backups, not {kind.value}.")
        version = self._require()
        self._bucket.require()
        if known := self._records.labelled(label):
            return known
        server = self._needed_server()
        with server.alone():
            facts = server.facts()
            if not facts.page_checksums:
                raise ConfigError("The server has no page checksums. Stop it and run `pg_checksums --enable`.")
            before = {str(one["label"]) for one in self._info()}
            words = [f"--type={_KINDS[kind]}", "--no-expire-auto", "--start-fast", "--archive-timeout=60"]
            outcome = follow(self._order("backup", words, limit_s=limit_s), facts.size_bytes, on_progress)
            self._refuse(outcome, "backup", limit_s)
            found = self._read_done(before, facts, version)
            more = {**(dict(extra()) if extra else {}), REPLAY: facts.settings}
            target, segment = server.mark(f"slipway-{found.id}")
            self._wait_archived(segment)
            objects = self._hash_all(found.id)
            stored = sum(one.size_bytes for one in objects)
            done = replace(found, target_lsn=target, stored_bytes=stored)
            return self._records.finish(done, objects, label=label, extra=more)

    def backups(self) -> Sequence[Backup]:
        finished = self._records.finished()
        found = dict(finished)
        for label, objects in self._objects_by_label().items():
            if label not in finished:
                kind = BackupKind.FULL if label.endswith("F") else BackupKind.INCREMENTAL
                begun, size = min(one.at for one in objects), sum(one.size_bytes for one in objects)
                found[label] = Backup(label, kind, BackupState.STARTED, self.name, "", begun, stored_bytes=size)
        return sorted(found.values(), key=lambda one: (one.begun_at, one.id))

    def manifest(self, backup: str) -> BackupManifest | None:
        return self._records.manifest(backup)

    def verify(self, backup: str, *, expected_sha256: str = "") -> Evidence:
        """An incremental backup is as whole as its parents are."""
        found = self._find(backup)
        evidence = self._records.verify(backup, expected_sha256)
        if not found.parent or not evidence.is_intact:
            return evidence
        parent = self.verify(found.parent)
        return Evidence(
            backup,
            evidence.checked + parent.checked,
            evidence.checked_bytes + parent.checked_bytes,
            parent.damage,
            parent.unavailable,
        )

    def verify_log(self, *, since: str, seed: str, bytes_max: int) -> Evidence:
        return Evidence("log", unavailable="pgBackRest proves the log only where it replays it")

    @contextmanager
    def restore(
        self, backup: str, target: Target, directory: Path, *, user: str | None, limit_s: float
    ) -> Generator[Recovery]:
        self._require()
        found = self._find(backup)
        if directory.exists() and any(directory.iterdir()):
            raise ConfigError(f"{directory} is not empty. Restore into an empty folder.")
        evidence = self.verify(backup, expected_sha256=found.manifest_sha256)
        if not evidence.is_intact:
            words = evidence.unavailable or evidence.damage[0]
            raise InvariantError(f"Backup {backup} is damaged: {words}. Restore another one.")
        with tempfile.TemporaryDirectory(prefix="slipway-rest-", dir="/tmp") as name:
            place = Path(name)
            give(place, user, mode=0o700)
            configuration = place / "pgbackrest.conf"
            self._write_configuration(configuration, directory, user)
            self._lay_out(backup, configuration, directory, user=user, limit_s=limit_s)
            command = f"{self._binary} --config={configuration} --stanza={self._stanza} archive-get %f %p"
            replay = self._records.replay_settings(backup)
            settings = {"restore_command": command, **replay, **recovery_settings(target)}
            yield Recovery(directory, settings, evidence=replace(evidence, manifest_sha256=found.manifest_sha256))

    def wal_state(self, *, since: str = "", until: str = "") -> WalState:
        names = {one.key.rpartition("/")[2]: one.at for one in self._bucket.objects(f"{self._prefix}archive/")}
        kept = {name.partition("-")[0]: at for name, at in names.items()}
        segments = sorted((name for name in kept if is_segment(name)), key=lambda name: (name[8:], name))
        newest = segments[-1] if segments else ""
        histories = tuple(missing_histories([*segments, *names]))
        state = WalState(
            segments=len(segments),
            oldest=segments[0] if segments else "",
            newest=newest,
            archived_at=kept.get(newest),
            gaps=tuple(find_gaps(segments, since=since, until=until)),
            missing_histories=histories,
        )
        if self._server is None:
            return state
        told = self._server.archiver()
        waiting_s = (told.now - told.waiting_since).total_seconds() if told.waiting_since else 0.0
        failing = told.last_failed if told.is_failing else ""
        return replace(
            state, failed_at=told.failed_at, failing=failing, waiting=told.waiting, lag_s=max(0.0, waiting_s)
        )

    def expire(self, backups: Sequence[str], *, dry_run: bool, window_begin: datetime | None = None) -> Expiry:
        known = {one.id: one for one in self.backups()}
        for name in backups:
            if name not in known:
                self._find(name)
            if known[name].hold:
                raise RefusedError(f"Backup {name} is held: {known[name].hold}. Let it go first.")
        left = [one for one in known.values() if one.is_done and one.id not in backups]
        if backups and not left:
            raise RefusedError("Nothing whole would be left. Take a backup first, then expire.")
        if orphans := [one.id for one in left if one.parent in backups]:
            raise RefusedError(f"{orphans[0]} needs one of these. Expire it as well, or keep its parent.")
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

    def _read_done(self, before: set[str], facts: ServerFacts, version: str) -> Backup:
        made = [one for one in self._info() if str(one["label"]) not in before]
        if len(made) != 1 or made[0].get("error"):
            raise InvariantError("pgbackrest backup ended with 0, but lists no new backup without errors. Run again.")
        info = made[0]
        reference = info.get("prior")
        return Backup(
            id=str(info["label"]),
            kind=BackupKind.FULL if info["type"] == "full" else BackupKind.INCREMENTAL,
            state=BackupState.DONE,
            engine=self.name,
            engine_version=version,
            begun_at=datetime.fromtimestamp(info["timestamp"]["start"], UTC),
            ended_at=datetime.fromtimestamp(info["timestamp"]["stop"], UTC),
            server_version=facts.version,
            system_id=facts.system_id,
            timeline=facts.timeline,
            begin_wal=str(info["archive"]["start"]),
            end_wal=str(info["archive"]["stop"]),
            begin_lsn=str(info["lsn"]["start"]),
            end_lsn=str(info["lsn"]["stop"]),
            parent=str(reference) if reference else "",
            size_bytes=int(info["info"]["size"]),
            encryption="engine",
            page_checksums=facts.page_checksums,
        )

    def _info(self) -> list[dict[str, Any]]:
        """Read `info` as JSON; it ends with 0 where it can't read the repository, too."""
        text = self._run("info", ["--output=json"], limit_s=_TOOL_LIMIT_S)
        try:
            (stanza,) = json.loads(text[text.index("[") :])
            code = int(stanza["status"]["code"])
        except (ValueError, KeyError) as exc:
            raise TransientError(f"pgbackrest info said what is no answer: {text[:200]!r}") from exc
        if code not in (0, 2):  # 2: no backup yet
            raise ConfigError(f"pgbackrest info: {stanza['status']['message']}. Check cipher, keys and stanza.")
        return cast(list[dict[str, Any]], stanza["backup"])

    def _hash_all(self, label: str) -> tuple[StoredObject, ...]:
        found = (self._bucket.hash(one.key) for one in self._objects_by_label().get(label, []))
        objects = tuple(one for one in found if one is not None)
        if len(objects) < 2:
            raise InvariantError(f"Backup {label} has no data in {self._bucket.bucket}. Run again.")
        return objects

    def _wait_archived(self, segment: str) -> None:
        deadline = time.monotonic() + _ARCHIVED_LIMIT_S
        while not any(f"/{segment}-" in one.key for one in self._bucket.objects(f"{self._prefix}archive/")):
            if time.monotonic() > deadline:
                raise TransientError(
                    f"Segment {segment} is not archived after {_ARCHIVED_LIMIT_S} s. See the server's log."
                )
            time.sleep(0.1)

    def _lay_out(self, backup: str, configuration: Path, directory: Path, *, user: str | None, limit_s: float) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        give(directory, user, mode=0o700)
        order = self._order_of(configuration, "restore", [f"--set={backup}"], user=user, limit_s=limit_s)
        try:
            with Guarded(order) as guarded:
                self._refuse(guarded.wait(), "restore", limit_s)
            if not (directory / "global" / "pg_control").exists():
                raise InvariantError("pgbackrest restore ended with 0 and left no pg_control. Restore another one.")
        except BaseException:
            for entry in directory.iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            raise

    def _write_configuration(self, path: Path, data: Path, user: str | None) -> None:
        where, account = urlsplit(self._repository.tls_endpoint), self._bucket.account
        for name in ("lock", "spool"):
            (path.parent / name).mkdir(exist_ok=True)
            give(path.parent / name, user, mode=0o700)
        settings = {
            "repo1-type": "s3",
            "repo1-path": f"/{self._repository.prefix}",
            "repo1-s3-bucket": self._bucket.bucket,
            "repo1-s3-endpoint": where.hostname,
            "repo1-storage-port": where.port,
            "repo1-storage-ca-file": self._repository.ca_file,
            "repo1-s3-uri-style": "path",
            "repo1-s3-region": "us-east-1",
            "repo1-s3-key": account.access_key,
            "repo1-s3-key-secret": account.secret_key,
            "repo1-cipher-type": "aes-256-cbc",
            "repo1-cipher-pass": self._repository.cipher,
            "repo1-bundle": "y",
            "compress-type": "zst",
            "compress-level": 1,
            "process-max": 2,
            "log-level-file": "off",
            "log-level-console": "warn",
            "lock-path": path.parent / "lock",
            "spool-path": path.parent / "spool",
        }
        server = conninfo_to_dict(self._server.url) if self._server else {}
        stanza = {"pg1-path": data, "pg1-port": server.get("port", 5432), "pg1-user": server.get("user", "postgres")}
        if self._sockets is not None:
            stanza["pg1-socket-path"] = self._sockets
        lines = ["[global]", *(f"{key}={value}" for key, value in settings.items())]
        lines += [f"[{self._stanza}]", *(f"{key}={value}" for key, value in stanza.items())]
        write_private(path, "\n".join(lines) + "\n")
        give(path, user, mode=0o600)

    def _run(self, command: str, words: Sequence[str], *, limit_s: float) -> str:
        with tempfile.TemporaryDirectory(prefix="slipway-rest-") as name:
            log = Path(name) / "said"
            with Guarded(replace(self._order(command, words, limit_s=limit_s), log=log)) as guarded:
                outcome = guarded.wait()
            self._refuse(outcome, command, limit_s)
            return log.read_text() if log.exists() else ""

    def _order(self, command: str, words: Sequence[str], *, limit_s: float) -> Order:
        return self._order_of(self.configure(), command, words, user=self._user, limit_s=limit_s)

    def _order_of(
        self, configuration: Path, command: str, words: Sequence[str], *, user: str | None, limit_s: float
    ) -> Order:
        password = str(conninfo_to_dict(self._server.url).get("password", "")) if self._server else ""
        return Order(
            command=[str(self._binary), f"--config={configuration}", f"--stanza={self._stanza}", *words, command],
            directory=Path("/"),
            environment=clean_environment({"PGPASSWORD": password}),
            user=user,
            limit_s=limit_s,
            niceness=10,
        )

    def _refuse(self, outcome: Outcome, what: str, limit_s: float) -> None:
        if outcome.timed_out:
            raise TransientError(f"pgbackrest {what} was ended at its limit of {limit_s:.0f} s.")
        if outcome.exit_code != 0:
            words = " ".join(outcome.tail.split())[-256:]
            raise TransientError(f"pgbackrest {what} ended with {outcome.exit_code}: {words}")

    def _objects_by_label(self) -> dict[str, list[Listed]]:
        folder = f"{self._prefix}backup/{self._stanza}/"
        found: dict[str, list[Listed]] = {}
        for one in self._bucket.objects(folder):
            label = one.key.removeprefix(folder).partition("/")[0]
            if _LABEL.fullmatch(label):
                found.setdefault(label, []).append(one)
        return found

    def _remove(self, backup: str) -> None:
        if backup in {str(one["label"]) for one in self._info()}:
            self._run("expire", [f"--set={backup}"], limit_s=_TOOL_LIMIT_S)
        self._bucket.remove([one.key for one in self._objects_by_label().get(backup, [])])
        self._records.forget(backup)

    def _remove_log(self, log: NeededLog) -> None:
        folder = f"{self._prefix}archive/"
        segments = {one.key: one.key.rpartition("/")[2][:24] for one in self._bucket.objects(folder)}
        self._bucket.remove([key for key, name in segments.items() if is_segment(name) and not log.keeps(name)])

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


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
