"""What a recovery reads from: a store that survived, or the second place; opened with the keys of the kit."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from blocks.backup_bucket import BackupBucket
from blocks.backup_copies import OBJECTS
from blocks.backup_keys import IDENTITY_SECRET
from blocks.bucket import Account
from blocks.scratch_objects import Reader, ScratchObjects
from blocks.second_place import SecondPlace, open_bucket_place, open_folder
from blocks.state_files import SOURCE as STATE_FILES
from domain.drill_objects import BucketCopy, choose_at
from domain.errors import ConfigError, TransientError

READ_KEYS = "s3_backup_read"
ENGINE = "barman-cloud"


@dataclass(frozen=True, slots=True)
class RecoverySource:
    """Where backups and copies are read. `bucket` is None where they lie in the second place."""

    reader: Reader
    bucket: BackupBucket | None
    place: SecondPlace | None
    name: str

    @property
    def objects(self) -> ScratchObjects:
        """The copies of buckets, to read only."""
        return ScratchObjects(lambda: self.reader, Path(tempfile.gettempdir()))

    def sources(self) -> list[str]:
        """Every bucket that was copied."""
        found = {one.key.split("/")[1] for one in self.reader.objects(f"{OBJECTS}/") if one.key.count("/") >= 2}
        return sorted(found)

    def copy_of(self, source: str, at: datetime | None) -> BucketCopy | None:
        """The copy that goes with a moment, or the newest one."""
        copies: Sequence[BucketCopy] = self.objects.copies(source)
        return choose_at(copies, at) if at else (copies[-1] if copies else None)


def open_source(kit: dict[str, Any], *, url: str, folder: str) -> RecoverySource:
    """Open what the kit opens. Raises: ConfigError that says which of them does not fit, and what to do."""
    secrets = kit["secrets"]
    if (engine := kit["store"].get("engine", ENGINE)) != ENGINE:
        raise ConfigError(
            f"The backups of this kit were taken by {engine}, which this can't recover. Restore PostgreSQL by hand, as "
            "read_me of the kit says."
        )
    if folder:
        if not secrets.get(IDENTITY_SECRET):
            raise ConfigError(f"The kit holds no {IDENTITY_SECRET}, which opens the second place. Use a newer kit.")
        place = _open_place(kit, folder)
        return RecoverySource(place, None, place, folder)
    endpoint = url or kit["store"]["endpoint_url"]
    account = Account(endpoint, secrets[f"{READ_KEYS}_access_key"], secrets[f"{READ_KEYS}_secret_key"])
    bucket = BackupBucket(account, kit["store"]["bucket"])
    try:
        bucket.require()
    except TransientError as exc:
        raise ConfigError(
            f"The store at {endpoint} does not answer: {str(exc)[:200]} Start it, name another with --from, or the "
            "second place with --copy."
        ) from exc
    except ConfigError as exc:
        raise ConfigError(
            f"The store at {endpoint} does not let the kit in: {str(exc)[:200]} Is it the kit of this installation, "
            "written after its last rotation of keys?"
        ) from exc
    return RecoverySource(bucket, bucket, None, endpoint)


def _open_place(kit: dict[str, Any], where: str) -> SecondPlace:
    """Open a folder, or a bucket with the endpoint and the keys of the kit."""
    secrets, store = kit["secrets"], kit["store"]
    if not where.startswith("s3://"):
        return open_folder(Path(where), secrets[IDENTITY_SECRET])
    name, _, prefix = where.removeprefix("s3://").partition("/")
    try:
        keys = [secrets[f"backup_copy_{half}_key"] for half in ("access", "secret")]
        account = Account(store["second_place_endpoint"], *keys, region=store["second_place_region"])
    except KeyError as exc:
        raise ConfigError(f"The kit holds no {exc} for {where}. Use a kit written after it was set.") from exc
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    return open_bucket_place(BackupBucket(account, name, is_encrypted=False), prefix, secrets[IDENTITY_SECRET])


def read_state_files(source: RecoverySource, to: datetime | None) -> dict[str, bytes]:
    """The state folder's own files as they were copied; none where an earlier version copied none."""
    from blocks.state_files import is_state_file

    copy = source.copy_of(STATE_FILES, to)
    if copy is None:
        return {}
    found: dict[str, bytes] = {}
    for key, one in source.objects.manifest(copy).items():
        body = source.reader.get(f"{OBJECTS}/{STATE_FILES}/data/{one.sha256}")
        if is_state_file(key) and body:
            found[key] = body[0]
    return found
