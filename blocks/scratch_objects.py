"""Copies of buckets, restored into a scratch folder with the key that only reads, looked into, damaged, destroyed.

Called by `restore_drill`. Contents lie under the number of their object and never under its name: a name from a
bucket is no path. Nothing of a scratch folder leaves this machine.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

from blocks.bundle import sha256_of
from domain.canonical import sha256_hex
from domain.drill_objects import BucketCopy, CopiedObject, ObjectDamage
from domain.errors import ConfigError, InvariantError

OBJECTS = "objects"
_MANIFESTS = "manifests"
_TIME = "%Y%m%dT%H%M%S%f"
_PIECE_BYTES = 1 << 20


class Reader(Protocol):
    """What this needs of the bucket with the backups."""

    def objects(self, prefix: str) -> Sequence[Any]: ...
    def get(self, key: str) -> tuple[bytes, Any] | None: ...
    def fetch(self, key: str, path: Path) -> str: ...


@dataclass(frozen=True)
class ScratchObjects:
    """Fulfils `domain.ports_drill.ObjectCopies` on the bucket of backups.

    Attributes:
        reader: opens the bucket with the key that only reads.
        folder: where scratch folders lie; beside those of scratch servers, so that the next drill sweeps both.
    """

    reader: Callable[[], Reader]
    folder: Path

    def copies(self, source: str) -> Sequence[BucketCopy]:
        reader, found = self.reader(), list[BucketCopy]()
        for one in reader.objects(f"{OBJECTS}/{source}/{_MANIFESTS}/"):
            body = reader.get(one.key)
            try:
                at = datetime.strptime(one.key.rpartition("/")[2].removesuffix(".json"), _TIME).replace(tzinfo=UTC)
            except ValueError:
                continue  # not one of ours
            found.append(BucketCopy(source, one.key, at, sha256_hex(body[0]) if body else ""))
        return found

    def manifest(self, copy: BucketCopy) -> Mapping[str, CopiedObject]:
        return _read_manifest(self.reader(), copy)

    def restore(self, copy: BucketCopy, name: str, *, keys: Sequence[str] | None = None) -> int:
        reader, manifest = self.reader(), self.manifest(copy)
        folder = self._fresh(name)
        for number, key in enumerate(sorted(manifest if keys is None else keys)):
            place = f"{OBJECTS}/{copy.source}/data/{manifest[key].sha256}"
            try:
                reader.fetch(place, folder / str(number))
            except ConfigError:
                continue  # it is missing, and the comparison says so
            (folder / f"{number}.name").write_text(key)
        return sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".name")

    def read(self, name: str) -> Mapping[str, CopiedObject]:
        return {key: CopiedObject(path.stat().st_size, sha256_of(path)) for key, path in self._files(name).items()}

    def damage(self, name: str, kind: ObjectDamage) -> str:
        files = self._files(name)
        if not files:
            raise ConfigError(f"Nothing of '{name}' was restored that could be damaged.")
        key, path = max(files.items(), key=lambda one: (one[1].stat().st_size, one[0]))
        size = path.stat().st_size
        if kind is ObjectDamage.MISSING:
            path.unlink()
            return f"{key} removed"
        if size == 0:
            raise ConfigError(f"Every object of '{name}' is empty: none can be damaged.")
        if kind is ObjectDamage.TRUNCATED:
            os.truncate(path, size // 2)
            return f"{key} cut in half"
        if kind is ObjectDamage.SWAPPED:
            with path.open("r+b") as file:
                for _ in range(-(-size // _PIECE_BYTES)):
                    piece = file.read(_PIECE_BYTES)
                    file.seek(-len(piece), os.SEEK_CUR)
                    file.write(bytes(byte ^ 0x5A for byte in piece))
            return f"{key} replaced by other bytes of the same size"
        with path.open("r+b") as file:
            file.seek(size // 2)
            byte = file.read(1)
            file.seek(size // 2)
            file.write(bytes([byte[0] ^ 0xFF]))
        return f"a byte of {key} flipped"

    def destroy(self, name: str) -> None:
        place = self.folder / name
        if place.exists():
            shutil.rmtree(place)

    def free_bytes(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.folder).free

    def _fresh(self, name: str) -> Path:
        self.destroy(name)
        place = self.folder / name
        place.mkdir(parents=True)
        place.chmod(0o700)
        return place

    def _files(self, name: str) -> dict[str, Path]:
        names = sorted((self.folder / name).glob("*.name"))
        return {path.read_text(): path.with_suffix("") for path in names if path.with_suffix("").exists()}


def _read_manifest(reader: Reader, copy: BucketCopy) -> dict[str, CopiedObject]:
    """The objects of a manifest. Raises: InvariantError where it is none, or of another bucket."""
    found = reader.get(copy.key)
    try:
        value = cast(dict[str, Any], json.loads(found[0] if found else b""))
        if value["source"] != copy.source:
            raise InvariantError(f"{copy.key} is a manifest of bucket '{value['source']}'. Find out who put it there.")
        return {
            str(key): CopiedObject(int(one["size_bytes"]), str(one["sha256"])) for key, one in value["objects"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise InvariantError(f"{copy.key} is no manifest of objects: {str(exc)[:200]}.") from exc
