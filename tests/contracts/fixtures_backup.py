"""Benches for backup engines: a real server that archives, a real store, and the hands that damage what is kept."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures_door import free_port
from fixtures_s3 import s3_account, s3_admin

from blocks import wal_client
from blocks.backup_barman import BarmanEngine
from blocks.backup_bucket import BackupBucket
from blocks.backup_pgbackrest import PgBackRestEngine, Repository
from blocks.backup_server import BackupServer
from blocks.identity import as_user, find_python, give
from blocks.installation import Installation, Users
from blocks.postgres_server import PostgresServer, wait_ready
from blocks.wal_door import Archiving, open_door
from blocks.wal_settings import archive_settings, client_command
from domain.backup import Backup, at_lsn
from domain.ports_backup import BackupEngine, Recovery

PASSWORD = secrets.token_urlsafe(12)


class ArchivingServer:
    """A server that hands its log to whatever archive is current."""

    def __init__(self, folder: Path, *, bin: Path, user: str | None, settings: dict[str, str]) -> None:
        self.server = PostgresServer(
            bin=bin,
            data=folder / "pgdata",
            port=free_port(),
            user=user,
            sockets=folder,
            # more than by itself: a restored server that was not told so refuses to replay
            settings={**settings, "max_connections": "130", "max_locks_per_transaction": "80"},
        )
        self.url = self.server.url(PASSWORD)
        self.archiving: Any = None

    def __call__(self, action: str, name: str) -> bytes:
        return self.archiving(action, name) if self.archiving else b""

    @contextmanager
    def running(self, log: Path) -> Generator[None]:
        self.server.initialise(PASSWORD, durable=False)
        process = self.server.start(log)
        try:
            wait_ready(self.url, process=process)
            self.execute("CREATE TABLE said (n serial PRIMARY KEY, text text)")
            yield
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=30)

    def execute(self, statement: str, *values: object) -> Any:
        with psycopg.connect(self.url, autocommit=True) as connection:
            done = connection.execute(statement, list(values))  # pyright: ignore[reportArgumentType]
            return done.fetchone() if done.description else None

    def write(self, text: str) -> str:
        """Commit a row; returns the place in the log after it, whose segment is archived then."""
        self.execute("INSERT INTO said (text) VALUES (%s)", text)
        lsn, segment = self.execute(
            "SELECT l::text, pg_walfile_name(l) FROM (SELECT pg_current_wal_insert_lsn() AS l) AS here"
        )
        self.execute("SELECT pg_switch_wal()")
        deadline = time.monotonic() + 60
        while (self.execute("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver")[0])[:24] < segment:
            assert time.monotonic() < deadline, f"{segment} was not archived"
            time.sleep(0.02)
        return lsn


def read_rows(recovery: Recovery, *, bin: Path, user: str | None, log: Path) -> list[str]:
    """Start a restored server, wait until it has left recovery, and read what was written."""
    server = PostgresServer(
        bin=bin, data=recovery.directory, port=free_port(), user=user, settings=dict(recovery.settings)
    )
    process = server.start(log)
    try:
        wait_ready(server.url(PASSWORD), process=process)
        with psycopg.connect(server.url(PASSWORD), autocommit=True) as connection:
            while connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
                assert process.poll() is None, log.read_text()[-2000:]
                time.sleep(0.05)
            return [row[0] for row in connection.execute("SELECT text FROM said ORDER BY n")]
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=30)


class BarmanBench:
    """barman-cloud on PostgreSQL 18 and SeaweedFS; each bench has a part of the bucket of its own."""

    def __init__(self, source: ArchivingServer, store: Installation, python: Path, client: Path) -> None:
        self.source, self.store = source, store
        self.user = source.server.user
        self.cluster = f"c{secrets.token_hex(4)}"
        self.python, self.client = python, client
        self.engine: BackupEngine = self.open("s3_backup")
        self.expirer: BackupEngine = self.open("s3_backup_expire")
        self.reader: BackupEngine = self.open("s3_backup_read", has_server=False)
        archive = BarmanEngine(
            self.bucket("s3_backup"), server=None, python=python, client=client, cluster=self.cluster
        )
        source.archiving = Archiving(archive.archive, source.server.data / "pg_wal")
        source.execute("TRUNCATE said RESTART IDENTITY")

    def bucket(self, keys: str) -> BackupBucket:
        return BackupBucket(s3_account(self.store, keys))

    def open(self, keys: str, *, has_server: bool = True) -> BarmanEngine:
        server = BackupServer(lambda: self.source.url) if has_server else None
        return BarmanEngine(
            self.bucket(keys), server=server, python=self.python, client=self.client, cluster=self.cluster
        )

    def write(self, text: str) -> str:
        return self.source.write(text)

    def rows(self, recovery: Recovery) -> list[str]:
        log = recovery.directory.with_suffix(".log")
        return read_rows(recovery, bin=self.source.server.bin, user=self.user, log=log)

    def damage(self, backup: str) -> None:
        manifest = self.engine.manifest(backup)
        assert manifest is not None
        (one,) = [found for found in manifest.objects if "/data.tar" in found.key]
        admin = s3_admin(self.store).client()
        body = bytearray(admin.get_object(Bucket="backups", Key=one.key)["Body"].read())
        body[len(body) // 2] ^= 1
        admin.put_object(Bucket="backups", Key=one.key, Body=bytes(body))

    @property
    def folder_of_backups(self) -> str:
        return f"postgres/{self.cluster}/base/"

    def told(self, label: str) -> list[str]:
        """What `backup_child.py` has to know to take a backup here."""
        account = s3_account(self.store, "s3_backup")
        return [account.endpoint_url, account.access_key, account.secret_key, self.source.url, self.cluster, label]

    def kill_midway(self, label: str) -> None:
        """Kill a process that takes a backup once it has begun to store; it never gets to its manifest."""
        kill_once_stored(self.bucket("s3_backup"), self.folder_of_backups, self.told(label))


@pytest.fixture(scope="session")
def archiving_server(users: Users, postgres_bin: Path, open_tmp_root: Path) -> Generator[ArchivingServer]:
    """One server for the session whose log goes where the bench of the moment wants it."""
    # two modules of one session may each have one
    folder = Path(tempfile.mkdtemp(prefix="archiving-", dir=open_tmp_root))
    give(folder, users.database, mode=0o711)
    client = open_tmp_root / "wal_client.py"
    client.write_text(Path(wal_client.__file__).read_text())
    python = find_python(users.database, copy_to=open_tmp_root / "python")
    settings = archive_settings(client_command(python, client, folder / "wal", "put"), timeout_s=60)
    source = ArchivingServer(folder, bin=postgres_bin, user=users.database, settings=settings)
    with open_door(folder / "wal", source, user=users.database), source.running(folder / "log"):
        yield source


class DebianServer(ArchivingServer):
    """Debian's PostgreSQL 15, which pgBackRest 2.45 knows; its log goes where the configuration of the moment says."""

    def initialise(self) -> None:
        data, secret = self.server.data, self.server.data.with_name("password")
        secret.write_text(PASSWORD)
        give(secret, self.server.user, mode=0o600)
        data.mkdir()
        give(data, self.server.user, mode=0o700)
        command = [str(self.server.bin / "initdb"), "-D", str(data), "--username=postgres", f"--pwfile={secret}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, **as_user(self.server.user))


class PgBackRestBench:
    """pgBackRest on Debian's PostgreSQL 15 over the store's TLS port; a part of the bucket of its own each."""

    def __init__(self, source: ArchivingServer, store: Installation, folder: Path, ca_file: Path) -> None:
        self.source, self.store, self.folder, self.ca_file = source, store, folder, ca_file
        self.user = source.server.user
        self.prefix, self.cipher = f"r{secrets.token_hex(4)}", secrets.token_hex(16)
        writer = self.open("s3_backup", folder)
        self.engine: BackupEngine = writer
        self.expirer: BackupEngine = self.open("s3_backup_expire", folder / "expire")
        self.reader: BackupEngine = self.open("s3_backup_read", folder / "read", has_server=False)
        source.execute("TRUNCATE said RESTART IDENTITY")
        writer.prepare()

    def open(self, keys: str, folder: Path, *, has_server: bool = True) -> PgBackRestEngine:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        tls = f"https://localhost:{self.store.ports['s3-tls']}"
        repository = Repository(BackupBucket(s3_account(self.store, keys)), tls, self.ca_file, self.cipher, self.prefix)
        return PgBackRestEngine(
            repository,
            server=BackupServer(lambda: self.source.url) if has_server else None,
            data=self.source.server.data,
            user=self.user,
            folder=folder,
            sockets=self.source.server.sockets,
            remover=lambda: self.bucket("s3_backup_expire"),
        )

    def write(self, text: str) -> str:
        return self.source.write(text)

    def rows(self, recovery: Recovery) -> list[str]:
        log = recovery.directory.with_suffix(".log")
        return read_rows(recovery, bin=self.source.server.bin, user=self.user, log=log)

    def damage(self, backup: str) -> None:
        manifest = self.engine.manifest(backup)
        assert manifest is not None
        largest = max(manifest.objects, key=lambda one: one.size_bytes)
        admin = s3_admin(self.store).client()
        body = bytearray(admin.get_object(Bucket="backups", Key=largest.key)["Body"].read())
        body[len(body) // 2] ^= 1
        admin.put_object(Bucket="backups", Key=largest.key, Body=bytes(body))

    @property
    def folder_of_backups(self) -> str:
        return f"{self.prefix}/backup/main/2"

    def bucket(self, keys: str) -> BackupBucket:
        return BackupBucket(s3_account(self.store, keys))

    def told(self, label: str) -> list[str]:
        """What `backup_child.py` has to know to take a backup here."""
        account = s3_account(self.store, "s3_backup")
        told = [account.endpoint_url, account.access_key, account.secret_key, self.source.url, "", label]
        told += [str(self.folder), str(self.ca_file), self.cipher, self.prefix, str(self.source.server.data)]
        told += [self.user or "", str(self.source.server.sockets), str(self.store.ports["s3-tls"])]
        remover = s3_account(self.store, "s3_backup_expire")
        return [*told, remover.access_key, remover.secret_key]

    def kill_midway(self, label: str) -> None:
        """Kill a process that takes a backup once it has begun to store; it never gets to its manifest."""
        kill_once_stored(self.bucket("s3_backup"), self.folder_of_backups, self.told(label))


def restored_rows(bench: "BarmanBench", backup: Backup, lsn: str, folder: Path) -> list[str]:
    """Restore to a place in the log, and read."""
    with bench.reader.restore(backup.id, at_lsn(lsn), folder, user=bench.user, limit_s=120) as recovery:
        return bench.rows(recovery)


def kill_once_stored(bucket: BackupBucket, folder: str, told: list[str]) -> None:
    """Start a backup in a process of its own, and kill that once an object more is in the folder."""
    before = {one.key for one in bucket.objects(folder)}
    child = start_child(told)
    while not {one.key for one in bucket.objects(folder)} - before:
        assert child.poll() is None, "the backup ended before it could be killed"
        time.sleep(0.02)
    child.kill()
    child.wait()


def start_child(told: list[str]) -> subprocess.Popen[bytes]:
    """Start a process that takes a backup."""
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("backup_child.py"))],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps(told).encode())
    child.stdin.close()
    return child


def debian_binaries() -> Path:
    """Debian's PostgreSQL 15 and pgBackRest; a skip that says what to install, and a failure in CI."""
    found = Path("/usr/lib/postgresql/15/bin")
    if not ((found / "postgres").exists() and Path("/usr/bin/pgbackrest").exists()):
        words = "apt-get install postgresql-15 pgbackrest"
        pytest.fail(words) if os.environ.get("CI") else pytest.skip(words)
    return found


@pytest.fixture(scope="session")
def debian_server(users: Users, open_tmp_root: Path) -> Generator[ArchivingServer]:
    """One PostgreSQL 15 for the session whose log pgBackRest archives."""
    bin, folder = debian_binaries(), open_tmp_root / "debian"
    folder.mkdir()
    give(folder, users.database, mode=0o755)
    command = f"/usr/bin/pgbackrest --config={folder / 'pgbackrest.conf'} --stanza=main archive-push %p"
    source = DebianServer(folder, bin=bin, user=users.database, settings=archive_settings(command, timeout_s=60))
    source.initialise()
    with source.running(folder / "log"):
        yield source


@pytest.fixture
def pgbackrest_bench(debian_server: ArchivingServer, s3: Installation, open_tmp_root: Path) -> PgBackRestBench:
    ca_file = open_tmp_root / "ca.crt"
    ca_file.write_text((s3.state / "security" / "ca.crt").read_text())
    ca_file.chmod(0o644)
    return PgBackRestBench(debian_server, s3, open_tmp_root / "debian", ca_file)


@pytest.fixture
def barman_bench(
    archiving_server: ArchivingServer, s3: Installation, users: Users, open_tmp_root: Path
) -> Generator[BarmanBench]:
    python = find_python(users.database, copy_to=open_tmp_root / "python")
    yield BarmanBench(archiving_server, s3, python, open_tmp_root / "wal_client.py")
    archiving_server.archiving = None
