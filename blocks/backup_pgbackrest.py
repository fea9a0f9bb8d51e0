"""Backups by pgBackRest where its binary is present and knows the server's version: full and incremental, encrypted.

It encrypts and compresses itself, takes its archive by its own `archive-push`, and verifies what it restores. What its
exit codes hide is closed here as for every engine: each object is hashed after the backup and compared before a
restore; `info` is read as JSON, since it ends with 0 whatever it found. Called through `domain.ports_backup`.
"""

import json
import re
import tempfile
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

from blocks.backup_bucket import BackupBucket, Listed
from blocks.backup_recorded import RecordedEngine, clear
from blocks.backup_server import BackupServer, ServerFacts
from blocks.backup_tools import follow, probe
from blocks.guarded import Guarded, Order
from blocks.identity import clean_environment, give
from blocks.installation import write_private
from blocks.wal_settings import plain_path, recovery_settings
from domain.backup import Availability, Backup, BackupKind, BackupProgress, BackupState, Evidence, Target
from domain.backup_retention import NeededLog
from domain.errors import ConfigError, InvariantError, TransientError
from domain.ports_backup import Recovery
from domain.service import Outcome
from domain.wal import is_segment

# Source: release notes of pgBackRest 2.41, 2.47, 2.52 and 2.55; the newest major version of PostgreSQL that each knows.
_KNOWS = (((2, 55), 18), ((2, 52), 17), ((2, 47), 16), ((2, 41), 15))
BINARY = Path("/usr/bin/pgbackrest")
CONFIGURATION = "pgbackrest.conf"
_TOOL_LIMIT_S = 120
_LABEL = re.compile(r"\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?")
_KINDS = {BackupKind.FULL: "full", BackupKind.DIFFERENTIAL: "diff", BackupKind.INCREMENTAL: "incr"}


@dataclass(frozen=True, slots=True)
class Repository:
    """Where pgBackRest keeps: a bucket over TLS. `cipher` encrypts; losing it loses all: it is in the recovery kit."""

    bucket: BackupBucket
    tls_endpoint: str
    ca_file: Path
    cipher: str = field(repr=False)
    prefix: str = "pgbackrest"


class PgBackRestEngine(RecordedEngine):
    """Fulfils `domain.ports_backup.BackupEngine`.

    Args:
        data: the server's data folder.
        user: who runs the server, and so pgBackRest beside it.
        folder: where configuration, locks and spool lie; `user` can enter it.
        sockets: the folder of the server's UNIX socket, by which alone pgBackRest reaches a server beside it.
        remover: opens the bucket with keys that may remove, for what a killed backup left right before the next one.
    """

    name = "pgbackrest"
    kinds: Sequence[BackupKind] = tuple(_KINDS)

    def __init__(
        self,
        repository: Repository,
        *,
        server: BackupServer | None,
        data: Path,
        user: str | None,
        folder: Path,
        sockets: Path | None = None,
        binary: Path = BINARY,
        stanza: str = "main",
        remover: Callable[[], BackupBucket] | None = None,
    ) -> None:
        super().__init__(repository.bucket, server=server, prefix=f"{repository.prefix}/")
        self._repository, self._data, self._user = repository, data, user
        self._folder, self._sockets, self._binary, self._stanza = folder, sockets, binary, stanza
        self._remover = remover

    def availability(self) -> Availability:
        return judge_binary(self._binary, self._server.facts().version // 10_000 if self._server is not None else 0)

    def archive_command(self) -> str:
        """What the server's archive_command has to be."""
        return archive_push(self._folder, binary=self._binary, stanza=self._stanza)

    def configure(self) -> Path:
        """Write pgBackRest's configuration, which holds keys: for the server's user only. May be repeated."""
        path = self._folder / CONFIGURATION
        self._write_configuration(path, self._data, self._user)
        return path

    def prepare(self) -> None:
        """Make the stanza; there already is no error. The server must run."""
        self._bucket.require()
        self._run("stanza-create", [], limit_s=_TOOL_LIMIT_S)

    def verify_log(self, *, since: str, seed: str, bytes_max: int) -> Evidence:
        return Evidence("log", unavailable="pgBackRest proves the log only where it replays it")

    @contextmanager
    def restore(
        self, backup: str, target: Target, directory: Path, *, user: str | None, limit_s: float
    ) -> Generator[Recovery]:
        self._require()
        evidence = self._require_intact(backup, directory)
        with tempfile.TemporaryDirectory(prefix="slipway-rest-", dir="/tmp") as name:
            place = Path(name)
            give(place, user, mode=0o700)
            configuration = place / "pgbackrest.conf"
            self._write_configuration(configuration, directory, user)
            self._lay_out(backup, configuration, directory, user=user, limit_s=limit_s)
            command = f"{self._binary} --config={configuration} --stanza={self._stanza} archive-get %f %p"
            replay = self._records.replay_settings(backup)
            settings = {"restore_command": command, **replay, **recovery_settings(target)}
            yield Recovery(directory, settings, evidence=evidence)

    def _take(
        self,
        kind: BackupKind,
        facts: ServerFacts,
        version: str,
        *,
        limit_s: float,
        on_progress: Callable[[BackupProgress], None],
    ) -> Backup:
        before = {str(one["label"]) for one in self._info()}
        self._clear_way(before)
        words = [f"--type={_KINDS[kind]}", "--no-expire-auto", "--start-fast", "--archive-timeout=60"]
        order = self._order("backup", words, limit_s=limit_s)
        outcome = follow(order, facts.size_bytes, on_progress, reads_by_children=True)
        self._refuse(outcome, "backup", limit_s)
        return self._read_done(before, facts, version)

    def _read_done(self, before: set[str], facts: ServerFacts, version: str) -> Backup:
        made = [one for one in self._info() if str(one["label"]) not in before]
        if len(made) != 1 or made[0].get("error"):
            raise InvariantError("pgbackrest backup ended with 0, but lists no new backup without errors. Run again.")
        info = made[0]
        reference = info.get("prior")
        return Backup(
            id=str(info["label"]),
            kind=next(kind for kind, word in _KINDS.items() if word == info["type"]),
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

    def _clear_way(self, known: Collection[str]) -> None:
        """Remove what a killed backup left: pgBackRest would do so itself before the next one, with keys that can't.

        Effect: objects of backups that it does not list go from sight. We are alone with the server.
        """
        left = {label: objects for label, objects in self._stored().items() if label not in known}
        if left and self._remover is not None:
            self._remover().remove([one.key for objects in left.values() for one in objects])

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
            clear(directory)
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

    def _stored(self) -> Mapping[str, Sequence[Listed]]:
        folder = f"{self._prefix}backup/{self._stanza}/"
        found: dict[str, list[Listed]] = {}
        for one in self._bucket.objects(folder):
            label = one.key.removeprefix(folder).partition("/")[0]
            if _LABEL.fullmatch(label):
                found.setdefault(label, []).append(one)
        return found

    def _is_data(self, key: str) -> bool:
        return not key.rpartition("/")[2].startswith("backup.manifest")

    def _kind_of(self, backup: str) -> BackupKind:
        return {"F": BackupKind.FULL, "D": BackupKind.DIFFERENTIAL, "I": BackupKind.INCREMENTAL}[backup[-1]]

    def _log_names(self) -> Mapping[str, datetime]:
        """Segments without the hash and ending that pgBackRest gives them; histories as they are."""
        names = {one.key.rpartition("/")[2]: one.at for one in self._bucket.objects(f"{self._prefix}archive/")}
        return {name.partition("-")[0]: at for name, at in names.items()}

    def _is_archived(self, segment: str) -> bool:
        return any(f"/{segment}-" in one.key for one in self._bucket.objects(f"{self._prefix}archive/"))

    def _before_removing(self, backup: str) -> None:
        if backup in {str(one["label"]) for one in self._info()}:
            self._run("expire", [f"--set={backup}"], limit_s=_TOOL_LIMIT_S)

    def _remove_log(self, log: NeededLog) -> None:
        folder = f"{self._prefix}archive/"
        segments = {one.key: one.key.rpartition("/")[2][:24] for one in self._bucket.objects(folder)}
        self._bucket.remove([key for key, name in segments.items() if is_segment(name) and not log.keeps(name)])


def judge_binary(binary: Path, server_major: int) -> Availability:
    """Whether this pgBackRest can back up a server of this major version; 0 asks for the binary alone."""
    version, problem = probe(binary, "version")
    if problem:
        return Availability(False, reason=f"pgbackrest {problem}. Install the package pgbackrest.")
    knows = max((newest for since, newest in _KNOWS if _numbers(version) >= since), default=0)
    if server_major > knows:
        return Availability(False, version, f"pgBackRest {version} knows up to {knows}")
    return Availability(True, version)


def archive_push(folder: Path, *, binary: Path = BINARY, stanza: str = "main") -> str:
    """What a server's archive_command is; it must name pgbackrest, which looks for that.

    Raises: ConfigError for a folder that a shell would read as something else.
    """
    path = plain_path(folder / CONFIGURATION)
    return f"{binary} --config={path} --stanza={stanza} archive-push %p"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
