"""Copies that no engine makes: logical dumps, objects of other buckets, and everything once more in a second place.

Dumps and what goes to the second place are encrypted with age for a recipient on this machine; only drills and restores
have the identity. Objects are kept by content under their SHA-256, with a manifest for each run that says which names
held which content: any run's state can be put back, and nothing is copied twice. Called by `tasks/backup.py`.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

from blocks.backup_bucket import BackupBucket, Listed
from blocks.backup_keys import lock_away
from blocks.bundle import sha256_of
from blocks.disk_identity import same_disk
from blocks.installation import write_private
from blocks.postgres_copy import dump_database, list_databases
from blocks.postgres_server import PostgresServer
from domain.backup import CopyPlace, KeptCopy
from domain.canonical import canonical_json, sha256_hex
from domain.errors import ConfigError, InvariantError

DUMPS, OBJECTS = "dumps", "objects"
INDEX = "slipway-copies.json"
SUFFIX = ".age"


class Source(Protocol):
    """What is copied object by object: a bucket, or files that are copied as if they were one."""

    def require(self) -> None: ...
    def objects(self, prefix: str) -> Sequence[Listed]: ...
    def fetch(self, key: str, path: Path) -> str: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where copies come from: the server with its superuser's password, and buckets by name."""

    server: PostgresServer
    password: Callable[[], str]
    bucket: Callable[[str], Source]


class Copies:
    """Fulfils `domain.ports_backup.BackupCopies`.

    Args:
        folder: the second place; empty: none. It must exist: a folder that is not mounted must not be filled here.
        work: where drafts lie; on the state's own disk.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        bucket: BackupBucket,
        expirer: Callable[[], BackupBucket],
        recipient: Callable[[], str],
        folder: str,
        work: Path,
    ) -> None:
        self._sources, self._bucket, self._expirer = sources, bucket, expirer
        self._recipient, self._folder, self._work = recipient, folder, work

    def databases(self) -> Sequence[str]:
        return list_databases(self._sources.server.url(self._sources.password()))

    def dump(self, database: str, *, label: str) -> KeptCopy:
        begun, key = time.monotonic(), f"{DUMPS}/{database}/{label}.dump{SUFFIX}"
        self._bucket.require()
        if not self._bucket.exists(key):
            with tempfile.TemporaryDirectory(dir=self._work, prefix="dump-") as name:
                plain, locked = Path(name) / "dump", Path(name) / "dump.age"
                dump_database(self._sources.server, self._sources.password(), database, plain)
                lock_away(plain, locked, self._recipient())
                expected = sha256_of(locked)
                self._bucket.put_file(key, locked)
            self._compare(key, expected)
        found = self._bucket.hash(key)
        if found is None:
            raise InvariantError(f"{key} was stored and is not there. Run again.")
        size, seconds = found.size_bytes, time.monotonic() - begun
        return KeptCopy(f"dump of {database}", 1, size, 1, size, found.sha256, seconds, "client")

    def objects(self, source: str) -> KeptCopy:
        begun, store = time.monotonic(), self._sources.bucket(source)
        store.require()
        last_names, names, copied, copied_bytes = self._last_manifest(source), dict[str, Any](), 0, 0
        known = last_names or {}
        for one in store.objects(""):
            mark = {"size_bytes": one.size_bytes, "at": one.at.isoformat()}
            last = known.get(one.key, {})
            if {name: last.get(name) for name in mark} == mark:
                names[one.key] = last
                continue
            sha256, is_new = self._keep_object(store, source, one.key)
            names[one.key] = {**mark, "sha256": sha256}
            copied, copied_bytes = copied + is_new, copied_bytes + is_new * one.size_bytes
        manifest = {"format": 1, "source": source, "objects": names}
        text = canonical_json(manifest)
        if names != last_names:
            self._bucket.put(f"{OBJECTS}/{source}/manifests/{datetime.now(UTC):%Y%m%dT%H%M%S%f}.json", text.encode())
        size = sum(int(one["size_bytes"]) for one in names.values())
        seconds = time.monotonic() - begun
        return KeptCopy(
            f"bucket {source}", len(names), size, copied, copied_bytes, sha256_hex(text), seconds, self._at_bucket()
        )

    def elsewhere(self) -> KeptCopy | None:
        if not self._folder:
            return None
        begun, folder = time.monotonic(), self._existing_folder()
        index = _read_index(folder)
        copied, copied_bytes = 0, 0
        for one in self._bucket.objects(""):
            mark = {"size_bytes": one.size_bytes, "at": one.at.isoformat()}
            kept = index.get(one.key, {})
            path = folder / (one.key if one.key.endswith(SUFFIX) else f"{one.key}{SUFFIX}")
            if {name: kept.get(name) for name in mark} == mark and path.exists():
                continue
            index[one.key] = {**mark, **self._copy_out(one.key, path)}
            copied, copied_bytes = copied + 1, copied_bytes + one.size_bytes
        text = canonical_json({"format": 1, "objects": index})
        write_private(folder / INDEX, text)
        size, seconds = sum(int(one["size_bytes"]) for one in index.values()), time.monotonic() - begun
        return KeptCopy("second place", len(index), size, copied, copied_bytes, sha256_hex(text), seconds, "client")

    def place(self) -> CopyPlace:
        if not self._folder:
            return CopyPlace("", False, "no second place is set (SLIPWAY_BACKUP_COPY)")
        if not Path(self._folder).is_dir():
            return CopyPlace(self._folder, False, "the folder is not there: is it mounted?")
        if same_disk(Path(self._folder), self._work):
            return CopyPlace(self._folder, False, "the folder lies on the disk that it is to protect from")
        return CopyPlace(self._folder, True)

    def expire(self, *, keep: int, dry_run: bool) -> Sequence[str]:
        by_database: dict[str, list[tuple[datetime, str]]] = {}
        for one in self._bucket.objects(f"{DUMPS}/"):
            by_database.setdefault(one.key.split("/")[1], []).append((one.at, one.key))
        gone = [key for found in by_database.values() for _, key in sorted(found)[:-keep]]
        if gone and not dry_run:
            expirer = self._expirer()
            expirer.remove(gone)
            expirer.purge(f"{DUMPS}/")
        return gone

    def _keep_object(self, store: Source, source: str, key: str) -> tuple[str, bool]:
        """Keep an object's content under its SHA-256; returns that, and whether it is new."""
        with tempfile.TemporaryDirectory(dir=self._work, prefix="object-") as name:
            draft = Path(name) / "content"
            sha256 = store.fetch(key, draft)
            place = f"{OBJECTS}/{source}/data/{sha256}"
            if self._bucket.exists(place):
                return sha256, False
            self._bucket.put_file(place, draft)
        self._compare(place, sha256)
        return sha256, True

    def _copy_out(self, key: str, path: Path) -> dict[str, str]:
        """Write one object, locked as it may be already, to the second place, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with tempfile.TemporaryDirectory(dir=self._work, prefix="copy-") as name:
            plain = Path(name) / "plain"
            sha256 = self._bucket.fetch(key, plain)
            try:
                if key.endswith(SUFFIX):
                    shutil.copyfile(plain, draft)
                else:
                    lock_away(plain, draft, self._recipient())
                locked = sha256_of(draft)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
        return {"sha256": sha256, "locked_sha256": locked}

    def _last_manifest(self, source: str) -> dict[str, Any] | None:
        found = self._bucket.objects(f"{OBJECTS}/{source}/manifests/")
        value = self._bucket.get_json(found[-1].key) if found else None
        return cast(dict[str, Any], value["objects"]) if value else None

    def _compare(self, key: str, expected: str) -> None:
        found = self._bucket.hash(key)
        if found is None or found.sha256 != expected:
            raise InvariantError(
                f"{self._bucket.bucket}/{key} does not hold what was stored. Look at the store's disk."
            )

    def _at_bucket(self) -> Any:
        return "bucket" if self._bucket.is_encrypted else "none"

    def _existing_folder(self) -> Path:
        folder = Path(self._folder)
        if not folder.is_dir():
            raise ConfigError(f"SLIPWAY_BACKUP_COPY names {folder}, which is not there. Mount it, or correct it.")
        return folder


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        return cast(dict[str, Any], json.loads((folder / INDEX).read_text())["objects"])
    except (FileNotFoundError, ValueError, KeyError):
        return {}
