"""The backups of an installation, opened from its files: engine, log archive and the bucket's keys by purpose."""

from functools import partial

from blocks import state_files
from blocks.backup_barman import BarmanEngine
from blocks.backup_bucket import BackupBucket
from blocks.backup_copies import Copies, Source, Sources
from blocks.backup_keys import read_drill_secret, read_recipient
from blocks.backup_pgbackrest import PgBackRestEngine, Repository
from blocks.backup_server import BackupServer
from blocks.bucket import Account
from blocks.installation import Installation, process_role, read_secret
from blocks.postgres_server import PostgresServer
from blocks.wal_archive import WalArchive
from domain.backup import Availability
from domain.ports_backup import BackupCopies, BackupEngine, Purpose

_KEYS: dict[Purpose, str] = {"write": "s3_backup", "expire": "s3_backup_expire", "read": "s3_backup_read"}


def open_engine(installation: Installation, purpose: Purpose) -> BackupEngine:
    """Open the installation's engine with the keys of a purpose."""
    return _barman(installation, purpose)


def probe_pgbackrest(installation: Installation) -> Availability:
    """Whether pgBackRest could take this server's backups: its binary, and what it knows."""
    repository = Repository(open_bucket(installation, "read"), "https://localhost", installation.state, cipher="")
    return PgBackRestEngine(
        repository,
        server=BackupServer(lambda: superuser_url(installation)),
        data=installation.state / "postgres",
        user=installation.users.database,
        folder=installation.state,
    ).availability()


def wal_archive(installation: Installation) -> WalArchive:
    """The log archive, to write."""
    return _barman(installation, "write").archive


def open_bucket(installation: Installation, purpose: Purpose) -> BackupBucket:
    """The bucket of backups, with the keys of a purpose."""
    url, name = _s3_url(installation), _KEYS[purpose]
    read = partial(read_secret, state=installation.state)
    if purpose == "read" and process_role():
        read = partial(read_drill_secret, state=installation.state)
    return BackupBucket(Account(url, read(f"{name}_access_key"), read(f"{name}_secret_key")))


def open_copies(installation: Installation) -> BackupCopies:
    """Open what copies dumps, objects, and everything to the second place."""
    state = installation.state
    server = PostgresServer(
        bin=installation.postgres_bin,
        data=state / "postgres",
        port=installation.ports["postgres"],
        user=installation.users.database,
    )

    def source(bucket: str) -> Source:
        if bucket == state_files.SOURCE:
            return state_files.StateFiles(state)
        keys = [read_secret(f"s3_backup_{kind}_key", state=state) for kind in ("access", "secret")]
        return BackupBucket(Account(_s3_url(installation), *keys), bucket, is_encrypted=False)

    return Copies(
        Sources(server, lambda: read_secret("postgres_superuser", state=state), source),
        bucket=open_bucket(installation, "write"),
        expirer=lambda: open_bucket(installation, "expire"),
        recipient=lambda: read_recipient(state),
        folder=installation.backup_copy,
        work=installation.folder("work"),
    )


def _s3_url(installation: Installation) -> str:
    return f"http://127.0.0.1:{installation.ports['s3']}"


def _barman(installation: Installation, purpose: Purpose) -> BarmanEngine:
    return BarmanEngine(
        open_bucket(installation, purpose),
        server=BackupServer(lambda: superuser_url(installation)),
        python=installation.python,
        client=installation.state / "runtime" / "wal_client.py",
    )


def superuser_url(installation: Installation, database: str = "postgres") -> str:
    """The URL of a database of the installation's server, with the superuser's password in it: never log it."""
    password = read_secret("postgres_superuser", state=installation.state)
    return f"postgresql://postgres:{password}@127.0.0.1:{installation.ports['postgres']}/{database}"
