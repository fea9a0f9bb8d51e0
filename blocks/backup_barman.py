"""Backups by barman-cloud: full ones, straight into a bucket, with point-in-time recovery.

Its command line is called, never its modules. What its exit codes hide is closed here: the bucket must exist (it would
make one), each object is hashed right after the backup and compared before a restore (it has no manifest), only `DONE`
counts, a killed one is ended with all of its children, and what it leaves is swept by id (its retention never does).
Encryption is the store's, asked for with each object. Called through `domain.ports_backup.BackupEngine`.
"""

import secrets
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from blocks.backup_bucket import BackupBucket, Listed
from blocks.backup_recorded import RecordedEngine, clear
from blocks.backup_server import BackupServer, ServerFacts
from blocks.backup_tools import follow, probe
from blocks.guarded import Guarded, Order
from blocks.identity import clean_environment, give_all
from blocks.wal_archive import WalArchive
from blocks.wal_door import Serving, open_door
from blocks.wal_settings import client_command, recovery_settings
from domain.backup import Availability, Backup, BackupKind, BackupProgress, BackupState, Evidence, Target
from domain.backup_retention import NeededLog
from domain.errors import ConfigError, InvariantError, TransientError
from domain.ports_backup import Recovery
from domain.service import Outcome

TOOLS = ("barman-cloud-backup", "barman-cloud-restore")
PREFIX = "postgres"
_LABEL = "slipway-"
_PIECES = ("--max-archive-size", "256MB", "--min-chunk-size", "16MB")
"""Several archives, so that each can be read again and hashed while the next one is stored."""


class BarmanEngine(RecordedEngine):
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
        self._cluster = cluster
        super().__init__(bucket, server=server, prefix=f"{PREFIX}/{cluster}/")
        self._python, self._client, self._tools = python, client, tools
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

    def verify_log(self, *, since: str, seed: str, bytes_max: int) -> Evidence:
        return self._archive.verify(since=since, seed=seed, bytes_max=bytes_max)

    @contextmanager
    def restore(
        self, backup: str, target: Target, directory: Path, *, user: str | None, limit_s: float
    ) -> Generator[Recovery]:
        self._require()
        evidence = self._require_intact(backup, directory)
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
                    evidence=evidence,
                )
            serving.close()

    def _take(
        self,
        kind: BackupKind,
        facts: ServerFacts,
        version: str,
        *,
        limit_s: float,
        on_progress: Callable[[BackupProgress], None],
    ) -> Backup:
        name = f"{_LABEL}{secrets.token_hex(12)}"
        self._run_backup(name, facts, limit_s=limit_s, on_progress=on_progress)
        return self._read_done(name, facts, version)

    def _run_backup(
        self, name: str, facts: ServerFacts, *, limit_s: float, on_progress: Callable[[BackupProgress], None]
    ) -> None:
        from psycopg.conninfo import conninfo_to_dict

        server = conninfo_to_dict(self._needed_server().url)
        more = ["--encryption", "AES256"] if self._bucket.is_encrypted else []
        command = [str(self._tools / "barman-cloud-backup"), *self._where(), "--lz4", "--jobs", "2", *_PIECES, *more]
        command += ["--immediate-checkpoint", "--host", str(server["host"]), "--port", str(server["port"])]
        command += ["--user", str(server["user"]), "--dbname", str(server.get("dbname", "postgres")), "--name", name]
        secret = {"PGPASSWORD": str(server.get("password", ""))}
        order = self._order([*command, self._url, self._cluster], secret, limit_s=limit_s)
        outcome = follow(order, facts.size_bytes, on_progress)
        self._refuse(outcome, "backup", limit_s)

    def _read_done(self, name: str, facts: ServerFacts, version: str) -> Backup:
        """Read what the tool says that it made. Raises: InvariantError where it is not done; its exit code was 0."""
        infos = {id: self._info(id) for id in self._stored()}
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
            clear(directory)
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

    def _order(self, command: Sequence[str], more: Mapping[str, str], *, limit_s: float) -> Order:
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
            environment=clean_environment({**variables, **more}),
            limit_s=limit_s,
            niceness=10,
        )

    def _where(self) -> list[str]:
        return ["--endpoint-url", self._bucket.account.endpoint_url, "--addressing-style", "path"]

    @property
    def _url(self) -> str:
        return f"s3://{self._bucket.bucket}/{PREFIX}"

    def _stored(self) -> Mapping[str, Sequence[Listed]]:
        folder = f"{self._prefix}base/"
        found: dict[str, list[Listed]] = {}
        for one in self._bucket.objects(folder):
            found.setdefault(one.key.removeprefix(folder).partition("/")[0], []).append(one)
        return found

    def _folder_of(self, backup: str) -> str:
        return f"{self._prefix}base/{backup}/"

    def _is_data(self, key: str) -> bool:
        return key.rpartition("/")[2].startswith("data")

    def _kind_of(self, backup: str) -> BackupKind:
        return BackupKind.FULL

    def _log_names(self) -> Mapping[str, datetime]:
        return self._archive.names()

    def _is_archived(self, segment: str) -> bool:
        return self._archive.exists(segment)

    def _before_removing(self, backup: str) -> None:
        """barman-cloud keeps no list: what lies under an id is all there is."""

    def _remove_log(self, log: NeededLog) -> None:
        self._archive.remove_all_but(log.keeps)


def _time(text: object) -> datetime:
    """Read barman's times: ISO, or as `ctime` writes them."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        found = datetime.strptime(str(text), "%a %b %d %H:%M:%S %Y").astimezone()
    return found.astimezone(UTC)
