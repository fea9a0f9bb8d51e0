"""The backups of an installation, opened from its files: engine, log archive and the bucket's keys by purpose."""

from functools import partial
from pathlib import Path

from blocks import state_files
from blocks.backup_barman import BarmanEngine
from blocks.backup_bucket import BackupBucket
from blocks.backup_copies import Copies, Source, Sources
from blocks.backup_keys import CIPHER_SECRET, read_drill_secret, read_recipient
from blocks.backup_pgbackrest import BINARY, PgBackRestEngine, Repository, judge_binary
from blocks.backup_place import BucketPlace, FolderPlace, Place
from blocks.backup_server import BackupServer
from blocks.backup_tools import probe
from blocks.bucket import Account
from blocks.installation import Installation, process_role, read_secret, write_private
from blocks.postgres_server import PostgresServer
from blocks.wal_archive import WalArchive
from domain.backup import Availability
from domain.errors import ConfigError
from domain.ports_backup import BackupCopies, BackupEngine, Purpose

_KEYS: dict[Purpose, str] = {"write": "s3_backup", "expire": "s3_backup_expire", "read": "s3_backup_read"}


def open_engine(installation: Installation, purpose: Purpose) -> BackupEngine:
    """Open the installation's engine with the keys of a purpose."""
    return open_pgbackrest(installation, purpose) if is_pgbackrest(installation) else _barman(installation, purpose)


def is_pgbackrest(installation: Installation) -> bool:
    """Whether pgBackRest takes this installation's backups; barman-cloud by itself."""
    return installation.backup_engine == PgBackRestEngine.name


def probe_pgbackrest(installation: Installation) -> Availability:
    """Whether pgBackRest could take this server's backups: its binary, and what it knows."""
    return judge_binary(BINARY, server_major(installation.postgres_bin))


def server_major(binaries: Path) -> int:
    """The major version of PostgreSQL's binaries. Raises: ConfigError where they do not run."""
    version, problem = probe(binaries / "postgres")
    if problem:
        raise ConfigError(f"{binaries / 'postgres'} {problem}. Install requirements/runtime.txt.")
    return int(version.partition(".")[0])


def pgbackrest_folder(installation: Installation, purpose: Purpose) -> Path:
    """Where pgBackRest's configuration for a purpose lies, with the keys of that purpose and no other."""
    return installation.state / "pgbackrest" / purpose


def open_pgbackrest(installation: Installation, purpose: Purpose) -> PgBackRestEngine:
    """Open pgBackRest over the store's TLS port. Effect: its folder, which the database's user passes through."""
    folder = pgbackrest_folder(installation, purpose)
    folder.mkdir(parents=True, exist_ok=True)
    for place in (folder.parent, folder):
        place.chmod(0o711)
    authority = folder.parent / "ca.crt"
    text = (installation.state / "s3" / "security" / "ca.crt").read_text()
    if not authority.exists() or authority.read_text() != text:
        write_private(authority, text, mode=0o644)
    return PgBackRestEngine(
        Repository(
            open_bucket(installation, purpose),
            f"https://localhost:{installation.ports['s3-tls']}",
            authority,
            read_secret(CIPHER_SECRET, state=installation.state),
        ),
        server=BackupServer(lambda: superuser_url(installation)),
        data=installation.state / "postgres",
        user=installation.users.database,
        folder=folder,
        sockets=installation.sockets / "postgres",
        remover=(lambda: open_bucket(installation, "expire")) if purpose == "write" else None,
    )


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
        place=open_place(installation),
        work=installation.folder("work"),
    )


def open_place(installation: Installation) -> Place | None:
    """Open the second place: a folder, a bucket of another server, or none."""
    where, state = installation.backup_copy, installation.state
    if not where:
        return None
    if not where.startswith("s3://"):
        return FolderPlace(Path(where), beside=installation.folder("work"))
    bucket, _, prefix = where.removeprefix("s3://").partition("/")

    def opened(kind: str) -> BackupBucket:
        keys = [read_secret(f"backup_copy_{kind}{half}_key", state=state) for half in ("access", "secret")]
        account = Account(installation.backup_copy_endpoint, *keys, region=installation.backup_copy_region)
        return BackupBucket(account, bucket, is_encrypted=False)

    try:
        expirer = opened("expire_")
    except ConfigError:
        expirer = None
    return BucketPlace(opened(""), f"{prefix}/" if prefix else "", expirer=expirer)


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
