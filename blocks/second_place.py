"""The second place of backups, read with the identity that opens it: as the bucket itself would be read.

Called by `slipway recover` where the store is gone. Each file is compared with the index before it is believed.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import zstandard

from blocks.backup_bucket import BackupBucket, Listed
from blocks.backup_keys import open_again
from blocks.backup_place import INDEX, SUFFIX, locked_name
from blocks.bundle import sha256_of
from blocks.wal_archive import WalArchive
from domain.errors import ConfigError, InvariantError

_SEGMENT_BYTES_MAX = 1 << 30


class SecondPlace:
    """A folder, or a bucket, that `backup` copied the bucket to.

    Args:
        where: its name, for messages.
        fetch: brings one of its files to a path; False where there is none.

    Raises: ConfigError, when opened, where it is none.
    """

    def __init__(self, where: str, identity: str, fetch: Callable[[str, Path], bool]) -> None:
        self._where, self._identity, self._fetch = where, identity, fetch
        try:
            with tempfile.TemporaryDirectory(prefix="slipway-open-") as name:
                there = fetch(INDEX, Path(name) / INDEX)
                text = (Path(name) / INDEX).read_text() if there else "{}"
            self._index = cast(dict[str, dict[str, Any]], json.loads(text)["objects"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ConfigError(
                f"{where} is no second place: {INDEX} is missing or can't be read. Name what SLIPWAY_BACKUP_COPY "
                "named: the folder, mounted here, or s3://bucket/prefix."
            ) from exc

    def objects(self, prefix: str) -> Sequence[Listed]:
        return [
            Listed(key, int(one["size_bytes"]), datetime.fromisoformat(one["at"]))
            for key, one in sorted(self._index.items())
            if key.startswith(prefix)
        ]

    def get(self, key: str) -> tuple[bytes, dict[str, str]] | None:
        if key not in self._index:
            return None
        with tempfile.TemporaryDirectory(prefix="slipway-open-") as name:
            self.fetch(key, Path(name) / "plain")
            return (Path(name) / "plain").read_bytes(), {}

    def fetch(self, key: str, path: Path) -> str:
        """Open one object into a file; its SHA-256. Raises: ConfigError where there is none, InvariantError where it is
        not what was copied, or was locked for somebody else."""
        if key not in self._index:
            raise ConfigError(f"There is no {key} in {self._where}.")
        name = locked_name(key)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="locked-") as folder:
            locked = Path(folder) / name.rpartition("/")[2]
            if not self._fetch(name, locked):
                raise InvariantError(f"{name} is missing in {self._where}, and {INDEX} names it. Use a whole one.")
            if key.endswith(SUFFIX):  # was locked before it came into the bucket
                locked.replace(path)
            else:
                open_again(locked, path, self._identity)
        sha256 = sha256_of(path)
        if sha256 != self._index[key]["sha256"]:
            raise InvariantError(f"{name} in {self._where} is not what was copied: SHA-256 {sha256}. Use another one.")
        return sha256

    def fill(self, bucket: BackupBucket, prefixes: Sequence[str]) -> int:
        """Put what lies under the prefixes back into a bucket; returns how many objects. May be repeated."""
        done = 0
        for one in (one for prefix in prefixes for one in self.objects(prefix)):
            with tempfile.TemporaryDirectory(prefix="slipway-open-") as name:
                plain = Path(name) / "plain"
                self.fetch(one.key, plain)
                server, wal, rest = one.key.partition("/wals/")
                if wal and rest.endswith(".zst"):
                    # a segment carries the hash of its content, which only the bucket had
                    content = zstandard.ZstdDecompressor().decompress(
                        plain.read_bytes(), max_output_size=_SEGMENT_BYTES_MAX
                    )
                    WalArchive(bucket, f"{server}/").put(rest.rpartition("/")[2].removesuffix(".zst"), content)
                else:
                    bucket.put_file(one.key, plain)
            done += 1
        return done


def open_folder(folder: Path, identity: str) -> SecondPlace:
    """Open a second place that is a folder, mounted here."""

    def fetch(name: str, path: Path) -> bool:
        if not (folder / name).is_file():
            return False
        shutil.copyfile(folder / name, path)
        return True

    return SecondPlace(str(folder), identity, fetch)


def open_bucket_place(bucket: BackupBucket, prefix: str, identity: str) -> SecondPlace:
    """Open a second place that is a bucket of another server."""
    bucket.require()

    def fetch(name: str, path: Path) -> bool:
        if not bucket.exists(f"{prefix}{name}"):
            return False
        bucket.fetch(f"{prefix}{name}", path)
        return True

    return SecondPlace(f"s3://{bucket.bucket}/{prefix}", identity, fetch)
