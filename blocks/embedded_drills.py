"""What drills need of an installation: its server's fingerprints, a place for scratch servers, signed results."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from blocks.backup_keys import read_drill_secret
from blocks.drill_results import KEY_SECRET, SignedResults
from blocks.embedded_backups import open_bucket, superuser_url
from blocks.fingerprint_postgres import PostgresFingerprints
from blocks.installation import Installation, process_role, read_secret
from blocks.recovery_room import ProcessRoom
from blocks.scratch_objects import ScratchObjects
from blocks.scratch_postgres import PostgresScratch
from domain.lock import parse_lock
from domain.ports import Packages

DATA_LOCK = "data.txt"


def open_fingerprints(installation: Installation) -> PostgresFingerprints:
    """Open the server that is backed up."""
    return PostgresFingerprints(lambda: superuser_url(installation))


def open_scratch(installation: Installation, packages: Callable[[], Packages]) -> PostgresScratch:
    """Open the place for scratch servers: `work/drills` of the state."""
    folder = installation.folder("work") / "drills"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    return PostgresScratch(
        folder=folder,
        sockets=installation.sockets,
        binaries=installation.postgres_bin,
        user=installation.users.database,
        data_python=cache(lambda: data_python(packages())),
    )


def open_object_copies(installation: Installation) -> ScratchObjects:
    """Open the copies of buckets, with the key that only reads."""
    return ScratchObjects(partial(open_bucket, installation, "read"), installation.folder("work") / "drills")


def open_recovery_room(installation: Installation) -> ProcessRoom:
    """Open the place for drills of the whole: `work/recoveries` of the state."""
    folder = installation.folder("work") / "recoveries"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    return ProcessRoom(installation.state, folder)


def data_python(packages: Packages) -> Path:
    """The interpreter of the environment with Great Expectations; made where it is first used, from its lock."""
    lock = Path(__file__).parents[1] / "requirements" / DATA_LOCK
    return packages.environment(parse_lock(lock.read_text(), file=DATA_LOCK)) / "bin" / "python"


def _signing_key(installation: Installation) -> str:
    if not process_role():
        return read_secret(KEY_SECRET, state=installation.state)
    return read_drill_secret(KEY_SECRET, installation.state)


def open_results(installation: Installation) -> SignedResults:
    """Open the signed results beside the backups."""
    return SignedResults(
        write=lambda: open_bucket(installation, "write"),
        read=lambda: open_bucket(installation, "read"),
        key=partial(_signing_key, installation),
    )
