"""The archive of the write-ahead log in a bucket: segments in and out, compressed, hashed, listed.

Laid out as barman-cloud does (`SERVER/wals/<16 digits>/<name>.zst`), so that its own tools read it too. Each object
carries the SHA-256 of the segment that it holds: a damaged one is told apart from one that is missing, since PostgreSQL
takes the latter for the end of the log. Called by the resident archiver, by restores and by `wal_state`.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import zstandard

from blocks.backup_bucket import BackupBucket, Listed
from domain.backup import Evidence
from domain.errors import InvariantError
from domain.wal import is_segment, is_wal_file

_LEVEL = 1
_SUFFIX = ".zst"
_SHA256, _PACKED_SHA256 = "sha256", "packed-sha256"
_SEGMENT_BYTES_MAX = 1 << 30
_READERS = 2


class WalArchive:
    """The log of one server in a bucket, under `prefix` (with its slash)."""

    def __init__(self, bucket: BackupBucket, prefix: str) -> None:
        self._bucket = bucket
        self._folder = f"{prefix}wals/"

    def put(self, name: str, content: bytes) -> None:
        """Keep a segment; the same again is no error. Raises: InvariantError where another one is there already."""
        key, sha256 = self._key(name), hashlib.sha256(content).hexdigest()
        packed = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(content)
        marks = {_SHA256: sha256, _PACKED_SHA256: hashlib.sha256(packed).hexdigest()}
        if self._bucket.put_new(key, packed, metadata=marks):
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
        # bits that the decoder passes over, and what lies behind the end: nobody asked for those either
        if metadata.get(_PACKED_SHA256, "") not in ("", hashlib.sha256(body).hexdigest()):
            raise InvariantError(f"{key} is damaged: it is not stored as it was.")
        try:
            content = zstandard.ZstdDecompressor().decompress(
                body, max_output_size=_SEGMENT_BYTES_MAX, allow_extra_data=False
            )
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

    def verify(self, *, since: str, seed: str, bytes_max: int) -> Evidence:
        """Read the log from a segment on, and compare each with what was recorded; more than fits is taken by sample.

        Half of `bytes_max` goes to the newest, the rest to any of the others, chosen by `seed`.
        """
        found = self._bucket.objects(self._folder)
        strange = [one.key for one in found if not self._is_own(one.key)]
        wanted = [one for one in found if self._is_own(one.key) and _name_of(one.key)[8:24] >= since[8:24]]
        histories = [one for one in found if one.key.endswith(f".history{_SUFFIX}") and one not in wanted]
        chosen = [*_sample(wanted, seed=seed, bytes_max=bytes_max), *histories]
        with ThreadPoolExecutor(_READERS) as pool:
            words = [*pool.map(self._explain_damage, [_name_of(one.key) for one in chosen])]
        damage = [*(f"{key} is no file of the log" for key in strange), *filter(None, words)]
        return Evidence("log", len(chosen), sum(one.size_bytes for one in chosen), tuple(damage))

    def _explain_damage(self, name: str) -> str:
        try:
            return "" if self.get(name) is not None else f"{self._key(name)} is missing"
        except InvariantError as exc:
            return str(exc)

    def _is_own(self, key: str) -> bool:
        name = _name_of(key)
        return is_wal_file(name) and key == self._key(name)

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


def _name_of(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(_SUFFIX)


def _sample(found: Sequence[Listed], *, seed: str, bytes_max: int) -> Sequence[Listed]:
    """The newest up to half of the bytes, then any others."""
    newest_first = sorted(found, key=lambda one: _name_of(one.key)[8:], reverse=True)
    chosen: list[Listed] = []
    left = bytes_max
    while newest_first and left > bytes_max // 2:
        chosen.append(newest_first.pop(0))
        left -= chosen[-1].size_bytes
    random.Random(seed).shuffle(newest_first)
    for one in newest_first:
        left -= one.size_bytes
        if left < 0:
            break
        chosen.append(one)
    return chosen
