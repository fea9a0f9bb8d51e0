"""The archive of the write-ahead log in a bucket: segments in and out, compressed, hashed, listed.

Laid out as barman-cloud does (`SERVER/wals/<16 digits>/<name>.zst`), so that its own tools read it too. Each object
carries the SHA-256 of the segment that it holds: a damaged one is told apart from one that is missing, since PostgreSQL
takes the latter for the end of the log. Called by the resident archiver, by restores and by `wal_state`.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime

import zstandard

from blocks.backup_bucket import BackupBucket
from domain.errors import InvariantError
from domain.wal import is_segment, is_wal_file

_LEVEL = 1
_SUFFIX = ".zst"
_SHA256 = "sha256"
_SEGMENT_BYTES_MAX = 1 << 30


class WalArchive:
    """The log of one server in a bucket, under `prefix` (with its slash)."""

    def __init__(self, bucket: BackupBucket, prefix: str) -> None:
        self._bucket = bucket
        self._folder = f"{prefix}wals/"

    def put(self, name: str, content: bytes) -> None:
        """Keep a segment; the same again is no error. Raises: InvariantError where another one is there already."""
        key, sha256 = self._key(name), hashlib.sha256(content).hexdigest()
        packed = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(content)
        if self._bucket.put_new(key, packed, metadata={_SHA256: sha256}):
            return
        known = self._bucket.get(key)
        if known is None or known[1].get(_SHA256) != sha256:
            raise InvariantError(
                f"{key} holds another segment than the server's. Does another server archive here? Find out first."
            )

    def get(self, name: str) -> bytes | None:
        """Read a segment; None where there is none. Raises: InvariantError where it is damaged."""
        key = self._key(name)
        found = self._bucket.get(key)
        if found is None:
            return None
        body, metadata = found
        try:
            content = zstandard.ZstdDecompressor().decompress(body, max_output_size=_SEGMENT_BYTES_MAX)
        except zstandard.ZstdError as exc:
            raise InvariantError(f"{key} is damaged: {exc}.") from exc
        if metadata.get(_SHA256, "") != hashlib.sha256(content).hexdigest():
            raise InvariantError(f"{key} is damaged: it does not have the SHA-256 that was recorded.")
        return content

    def exists(self, name: str) -> bool:
        return self._bucket.exists(self._key(name))

    def names(self) -> dict[str, datetime]:
        """Every file of the log that is kept, and since when."""
        found = {one.key.rpartition("/")[2].removesuffix(_SUFFIX): one.at for one in self._bucket.objects(self._folder)}
        return {name: at for name, at in found.items() if is_wal_file(name)}

    def remove_all_but(self, keeps: Callable[[str], bool]) -> Sequence[str]:
        """Remove segments, and labels of backups, that are not to be kept; histories stay."""
        gone = [
            one.key
            for one in self._bucket.objects(self._folder)
            if is_segment((name := one.key.rpartition("/")[2])[:24]) and not keeps(name[:24])
        ]
        self._bucket.remove(gone)
        return gone

    def _key(self, name: str) -> str:
        folder = f"{name[:16]}/" if is_segment(name[:24]) else ""
        return f"{self._folder}{folder}{name}{_SUFFIX}"
