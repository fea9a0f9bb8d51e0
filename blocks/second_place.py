"""The second place of backups, read with the identity that opens it: as the bucket itself would be read.

Called by `slipway recover` where the store is gone. Each file is compared with the index before it is believed.
"""

import json
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import zstandard

from blocks.backup_bucket import BackupBucket, Listed
from blocks.backup_copies import INDEX, SUFFIX
from blocks.backup_keys import open_again
from blocks.bundle import sha256_of
from blocks.wal_archive import WalArchive
from domain.errors import ConfigError, InvariantError

_SEGMENT_BYTES_MAX = 1 << 30


class SecondPlace:
    """A folder that `backup` copied the bucket to.

    Raises: ConfigError, when opened, where the folder is none.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity
        try:
            self._index = cast(dict[str, dict[str, Any]], json.loads((folder / INDEX).read_text())["objects"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ConfigError(
                f"{folder} is no second place: {INDEX} is missing or can't be read. Name the folder that "
                "SLIPWAY_BACKUP_COPY named, mounted here."
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
            raise ConfigError(f"There is no {key} in {self._folder}.")
        locked = self._folder / (key if key.endswith(SUFFIX) else f"{key}{SUFFIX}")
        if not locked.exists():
            raise InvariantError(f"{locked} is missing, and {INDEX} names it. Use a whole second place.")
        if key.endswith(SUFFIX):  # was locked before it came into the bucket
            path.write_bytes(locked.read_bytes())
        else:
            open_again(locked, path, self._identity)
        sha256 = sha256_of(path)
        if sha256 != self._index[key]["sha256"]:
            raise InvariantError(f"{locked} is not what was copied: SHA-256 {sha256}. Use another second place.")
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
