"""Backups by barman-cloud: full ones, straight into a bucket, with point-in-time recovery.

Its command line is called, never its modules. What its exit codes hide is closed here: the bucket must exist (it would
make one), each object is hashed right after the backup and compared before a restore (it has no manifest), only `DONE`
counts, a killed one is ended with all of its children, and what it leaves is swept by id (its retention never does).
Encryption is the store's, asked for with each object. Called through `domain.ports_backup.BackupEngine`.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from blocks.backup_bucket import BackupBucket, Listed
from blocks.backup_records import REPLAY, BackupRecords
from blocks.backup_server import BackupServer, ServerFacts
from blocks.backup_tools import follow, probe
from blocks.guarded import Guarded, Order
from blocks.identity import clean_environment, give_all
from blocks.wal_archive import WalArchive
from blocks.wal_door import Serving, open_door
from blocks.wal_settings import client_command, recovery_settings
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
from domain.backup_retention import choose_log
from domain.canonical import sha256_hex
from domain.errors import ConfigError, InvariantError, RefusedError, TransientError
from domain.ports_backup import Recovery
from domain.service import Outcome
from domain.wal import WalGap, find_gaps, is_segment, missing_histories

TOOLS = ("barman-cloud-backup", "barman-cloud-restore")
PREFIX = "postgres"
_LABEL = "slipway-"
_ARCHIVED_LIMIT_S = 120
_TOOL_LIMIT_S = 120


class BarmanEngine:
    """Fulfils `domain.ports_backup.BackupEngine`.

    Args:
        server: the PostgreSQL server; None where there is none (a restore on an empty machine).
        python: an interpreter that the server's user can run; for `restore_command`.
        client: `blocks/wal_client.py` where that user can read it.
        tools: the folder with barman-cloud's commands.
        superuser: of the server, when a backup is taken: (host, port, user, password).
    """

    name = "barman-cloud"
    kinds: Sequence[BackupKind] = (BackupKind.FULL,)

    def __init__(
        self,
        bucket: BackupBucket,
        *,
        server: BackupServer | None,
        python: Path,
        client: Path,
        tools: Path = Path(sys.executable).parent,
        cluster: str = "main",
    ) -> None:
        self._bucket = bucket
        self._server = server
        self._python, self._client, self._tools = python, client, tools
        self._cluster = cluster
        self._prefix = f"{PREFIX}/{cluster}/"
        self._records = BackupRecords(bucket, self._prefix)
        self._archive = WalArchive(bucket, self._prefix)

    @property
    def archive(self) -> WalArchive:
        """The log beside the backups."""
        return self._archive

    def availability(self) -> Availability:
        with ThreadPoolExecutor(max_workers=len(TOOLS)) as pool:  # each takes half a second to start
            found = list(pool.map(probe, [self._tools / tool for tool in TOOLS]))
        for tool, (_, problem) in zip(TOOLS, found, strict=True):
            if problem:
                return Availability(False, reason=f"{tool} {problem}. Install requirements/runtime.txt.")
        return Availability(True, version=min(version for version, _ in found))

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
            raise ConfigError(f"barman-cloud takes full backups only, not {kind.value}. Ask for a full one.")
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
            name = f"{_LABEL}{sha256_hex(f'{label} {time.time_ns()}')[:24]}"
            self._run_backup(name, facts, limit_s=limit_s, on_progress=on_progress)
            found = self._read_done(name, facts, version)
            more = {**(dict(extra()) if extra else {}), REPLAY: facts.settings}
            target, segment = server.mark(f"slipway-{found.id}")
            self._wait_archived(segment)
            return self._finish(replace(found, target_lsn=target), label=label, extra=more)

    def backups(self) -> Sequence[Backup]:
        finished = self._records.finished()
        found = dict(finished)
        for id, objects in self._objects_by_id().items():
            if id not in finished:
                begun = min(one.at for one in objects)
                size = sum(one.size_bytes for one in objects)
                found[id] = Backup(id, BackupKind.FULL, BackupState.STARTED, self.name, "", begun, stored_bytes=size)
        return sorted(found.values(), key=lambda one: (one.begun_at, one.id))

    def manifest(self, backup: str) -> BackupManifest | None:
        return self._records.manifest(backup)

    def verify(self, backup: str, *, expected_sha256: str = "") -> Evidence:
        self._find(backup)
        return self._records.verify(backup, expected_sha256, folder=f"{self._prefix}base/{backup}/")

    def verify_log(self, *, since: str, seed: str, bytes_max: int) -> Evidence:
        return self._archive.verify(since=since, seed=seed, bytes_max=bytes_max)

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
        self._lay_out(backup, directory, user=user, limit_s=limit_s)
        # a short path: that of a socket holds about 100 bytes
        with tempfile.TemporaryDirectory(prefix="slipway-wal-", dir="/tmp") as folder:
            Path(folder).chmod(0o711)
            socket, serving = Path(folder) / "s", Serving(self._archive)
            with open_door(socket, serving, user=user):
                command = client_command(self._python, self._client, socket, "get")
                yield Recovery(
                    directory,
                    {"restore_command": command, **self._records.replay_settings(backup), **recovery_settings(target)},
                    evidence=replace(evidence, manifest_sha256=found.manifest_sha256),
                )
            serving.close()

    def wal_state(self, *, since: str = "", until: str = "") -> WalState:
        # asked before the archive is read: what is archived meanwhile is no gap
        told = self._server.archiver() if self._server else None
        names = self._archive.names()
        segments = sorted(name for name in names if is_segment(name))
        newest = max(segments, key=lambda name: (name[8:], name), default="")
        state = WalState(
            segments=len(segments),
            oldest=min(segments, key=lambda name: (name[8:], name), default=""),
            newest=newest,
            archived_at=names.get(newest),
            gaps=tuple(find_gaps(segments, since=since, until=until)),
            missing_histories=tuple(missing_histories(list(names))),
        )
        if told is None:
            return state
        state = replace(state, gaps=(*state.gaps, *_find_lost_end(segments, told.last_archived, since, until)))
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
        for name in backups:
            if name not in known:
                self._find(name)
            if known[name].hold:
                raise RefusedError(f"Backup {name} is held: {known[name].hold}. Let it go first.")
        left = [one for one in known.values() if one.is_done and one.id not in backups]
        if backups and not left:
            raise RefusedError("Nothing whole would be left. Take a backup first, then expire.")
        log = choose_log(left, window_begin=window_begin)
        if not dry_run:
            for name in backups:
                self._remove(name)
            self._archive.remove_all_but(log.keeps)
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

    def _run_backup(
        self, name: str, facts: ServerFacts, *, limit_s: float, on_progress: Callable[[BackupProgress], None]
    ) -> None:
        from psycopg.conninfo import conninfo_to_dict

        server = conninfo_to_dict(self._needed_server().url)
        more = ["--encryption", "AES256"] if self._bucket.is_encrypted else []
        command = [str(self._tools / "barman-cloud-backup"), *self._where(), "--lz4", "--jobs", "2", *more]
        command += ["--immediate-checkpoint", "--host", str(server["host"]), "--port", str(server["port"])]
        command += ["--user", str(server["user"]), "--dbname", str(server.get("dbname", "postgres")), "--name", name]
        secret = {"PGPASSWORD": str(server.get("password", ""))}
        order = self._order([*command, self._url, self._cluster], secret, limit_s=limit_s)
        outcome = follow(order, facts.size_bytes, on_progress)
        self._refuse(outcome, "backup", limit_s)

    def _read_done(self, name: str, facts: ServerFacts, version: str) -> Backup:
        """Read what the tool says that it made. Raises: InvariantError where it is not done; its exit code was 0."""
        infos = {id: self._info(id) for id in self._objects_by_id()}
        made = [(id, info) for id, info in infos.items() if info.get("backup_name") == name]
        if len(made) != 1 or made[0][1].get("status") != "DONE":
            raise InvariantError(
                f"barman-cloud-backup ended with 0, and left no finished backup named {name}. Run again."
            )
        id, info = made[0]
        return Backup(
            id=id,
            kind=BackupKind.FULL,
            state=BackupState.DONE,
            engine=self.name,
            engine_version=version,
            begun_at=_time(info["begin_time"]),
            ended_at=_time(info["end_time"]),
            server_version=facts.version,
            system_id=str(info.get("systemid") or facts.system_id),
            timeline=int(info["timeline"]),
            begin_wal=str(info["begin_wal"]),
            end_wal=str(info["end_wal"]),
            begin_lsn=str(info["begin_xlog"]),
            end_lsn=str(info["end_xlog"]),
            size_bytes=facts.size_bytes,
            encryption="bucket" if self._bucket.is_encrypted else "none",
            page_checksums=facts.page_checksums,
        )

    def _finish(self, found: Backup, *, label: str, extra: Mapping[str, Any]) -> Backup:
        objects = self._hash_all(found.id)
        done = replace(found, stored_bytes=sum(one.size_bytes for one in objects))
        return self._records.finish(done, objects, label=label, extra=extra)

    def _hash_all(self, backup: str) -> tuple[StoredObject, ...]:
        found = (self._bucket.hash(one.key) for one in self._bucket.objects(f"{self._prefix}base/{backup}/"))
        objects = tuple(one for one in found if one is not None)
        if not any(one.key.rpartition("/")[2].startswith("data") for one in objects):
            raise InvariantError(f"Backup {backup} has no data in {self._bucket.bucket}. Run again.")
        return objects

    def _wait_archived(self, segment: str) -> None:
        """Wait until the log up to the target is kept: without it the backup can't be recovered."""
        deadline = time.monotonic() + _ARCHIVED_LIMIT_S
        while not self._archive.exists(segment):
            if time.monotonic() > deadline:
                raise TransientError(
                    f"Segment {segment} is not archived after {_ARCHIVED_LIMIT_S} s: without it the backup can't be "
                    "recovered. Look at `slipway backup status` and at the archiver's log."
                )
            time.sleep(0.1)

    def _lay_out(self, backup: str, directory: Path, *, user: str | None, limit_s: float) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        command = [str(self._tools / "barman-cloud-restore"), *self._where(), self._url, self._cluster, backup]
        try:
            outcome = self._order_run([*command, str(directory)], limit_s=limit_s)
            self._refuse(outcome, "restore", limit_s)
            for wanted in ("PG_VERSION", "global/pg_control", "backup_label", "base"):
                if not (directory / wanted).exists():
                    raise InvariantError(
                        f"barman-cloud-restore ended with 0 and left no {wanted}. Restore another one."
                    )
        except BaseException:
            for entry in directory.iterdir():  # half a restore must not look like a whole one
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            raise
        (directory / "recovery.signal").touch(mode=0o600)
        give_all(directory, user)

    def _order_run(self, command: Sequence[str], *, limit_s: float) -> Outcome:
        with Guarded(self._order(command, {}, limit_s=limit_s)) as guarded:
            return guarded.wait()

    def _info(self, backup: str) -> dict[str, str]:
        """What barman wrote down of a backup: a line `key=value` each."""
        found = self._bucket.get(f"{self._prefix}base/{backup}/backup.info")
        lines = found[0].decode(errors="replace").splitlines() if found else []
        return dict((line.partition("=")[0], line.partition("=")[2]) for line in lines if "=" in line)

    def _refuse(self, outcome: Outcome, what: str, limit_s: float) -> None:
        """Raises: what a failed command of barman-cloud means."""
        if outcome.timed_out:
            raise TransientError(f"barman-cloud-{what} was ended at its limit of {limit_s:.0f} s.")
        if outcome.exit_code == 0:
            return
        words = " ".join(outcome.tail.split())[-256:]
        if outcome.exit_code == 127:
            raise ConfigError(f"barman-cloud-{what} {words}. Install requirements/runtime.txt.")
        raise TransientError(f"barman-cloud-{what} ended with {outcome.exit_code}: {words}")

    def _order(self, command: Sequence[str], secrets: Mapping[str, str], *, limit_s: float) -> Order:
        account = self._bucket.account
        variables = {
            "AWS_ACCESS_KEY_ID": account.access_key,
            "AWS_SECRET_ACCESS_KEY": account.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
            "NO_PROXY": "*",
        }
        return Order(
            command=command,
            directory=Path("/"),
            environment=clean_environment({**variables, **secrets}),
            limit_s=limit_s,
            niceness=10,
        )

    def _where(self) -> list[str]:
        return ["--endpoint-url", self._bucket.account.endpoint_url, "--addressing-style", "path"]

    @property
    def _url(self) -> str:
        return f"s3://{self._bucket.bucket}/{PREFIX}"

    def _objects_by_id(self) -> dict[str, list[Listed]]:
        folder = f"{self._prefix}base/"
        found: dict[str, list[Listed]] = {}
        for one in self._bucket.objects(folder):
            found.setdefault(one.key.removeprefix(folder).partition("/")[0], []).append(one)
        return found

    def _remove(self, backup: str) -> None:
        """The objects first, what is written about them last: killed in between, it is found and removed again."""
        self._bucket.remove([one.key for one in self._bucket.objects(f"{self._prefix}base/{backup}/")])
        self._records.forget(backup)

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


def _find_lost_end(segments: Sequence[str], last_archived: str, since: str, until: str) -> Sequence[WalGap]:
    """The last segment that the server knows to be archived, where the archive does not have it: no gap shows that."""
    if not segments or until or not is_segment(last_archived) or last_archived in segments:
        return ()
    return (WalGap(last_archived, last_archived, 1),) if last_archived[8:] >= since[8:] else ()


def _time(text: object) -> datetime:
    """Read barman's times: ISO, or as `ctime` writes them."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        found = datetime.strptime(str(text), "%a %b %d %H:%M:%S %Y").astimezone()
    return found.astimezone(UTC)
