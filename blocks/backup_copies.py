"""Copies that no engine makes: logical dumps, objects of other buckets, and everything once more in a second place.

Dumps and what goes to the second place are encrypted with age for a recipient on this machine; only drills and restores
have the identity. Objects are kept by content under their SHA-256, with a manifest for each run that says which names
held which content: any run's state can be put back, and nothing is copied twice. Called by `tasks/backup.py`.
"""

import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

from blocks.backup_bucket import BackupBucket, Listed
from blocks.backup_keys import lock_away
from blocks.backup_place import SUFFIX, Place, locked_name
from blocks.bundle import sha256_of
from blocks.postgres_copy import dump_database, list_databases
from blocks.postgres_server import PostgresServer
from domain.backup import Backup, CopyPlace, KeptCopy, read_backup
from domain.backup_retention import Retention
from domain.canonical import canonical_json, sha256_hex
from domain.errors import InvariantError
from domain.second_place import choose_gone

DUMPS, OBJECTS = "dumps", "objects"
_SAVED_EVERY_S = 60.0


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
        place: the second place; None: none.
        work: where drafts lie; on the state's own disk.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        bucket: BackupBucket,
        expirer: Callable[[], BackupBucket],
        recipient: Callable[[], str],
        place: Place | None,
        work: Path,
    ) -> None:
        self._sources, self._bucket, self._expirer = sources, bucket, expirer
        self._recipient, self._place, self._work = recipient, place, work

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
            mark = _mark(one)
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

    def elsewhere(self, backups: Sequence[Backup] = ()) -> KeptCopy | None:
        if self._place is None:
            return None
        begun, place = time.monotonic(), self._place
        place.require()
        known = place.read_index()
        index, there = cast(dict[str, Any], known.get("objects", {})), set(place.names())
        copied, copied_bytes, saved_at = 0, 0, time.monotonic()
        for one in self._bucket.objects(""):
            mark, kept = _mark(one), index.get(one.key, {})
            if {name: kept.get(name) for name in mark} == mark and locked_name(one.key) in there:
                continue
            index[one.key] = {**mark, **self._copy_out(one.key, place)}
            copied, copied_bytes = copied + 1, copied_bytes + one.size_bytes
            if time.monotonic() - saved_at > _SAVED_EVERY_S:  # killed, it goes on from here
                place.write_index(_index(index, known.get("backups", {})))
                saved_at = time.monotonic()
        whole = {one.id: one.as_dict() for one in backups if one.is_done}
        after = _index(index, {**known.get("backups", {}), **whole})
        if copied or after != known:
            place.write_index(after)
        size, seconds = sum(int(one["size_bytes"]) for one in index.values()), time.monotonic() - begun
        sha256 = sha256_hex(canonical_json(after))
        return KeptCopy("second place", len(index), size, copied, copied_bytes, sha256, seconds, "client")

    def place(self) -> CopyPlace:
        if self._place is None:
            return CopyPlace("", False, "no second place is set (SLIPWAY_BACKUP_COPY)")
        return self._place.describe()

    def kept_elsewhere(self) -> Sequence[Backup]:
        return _catalogue(self._place.read_index()) if self._place is not None else []

    def expire_elsewhere(
        self, rules: Retention, *, now: datetime, proven: Collection[str] = (), dry_run: bool
    ) -> Sequence[str]:
        if self._place is None:
            return []
        self._place.require()
        known = self._place.read_index()
        index = cast(dict[str, Any], known.get("objects", {}))
        files = {key: datetime.fromisoformat(one["at"]) for key, one in index.items()}
        present = {one.key for one in self._bucket.objects("")}
        choice = choose_gone(files, _catalogue(known), present=present, rules=rules, now=now, proven=proven)
        if (choice.keys or choice.backups) and not dry_run:
            # the index last: killed in between, what went is removed again, which is no error
            self._place.remove([locked_name(key) for key in choice.keys])
            left = {key: one for key, one in index.items() if key not in set(choice.keys)}
            backups = {id: one for id, one in known.get("backups", {}).items() if id not in choice.backups}
            self._place.write_index(_index(left, backups))
        return choice.keys

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

    def _copy_out(self, key: str, place: Place) -> dict[str, str]:
        """Put one object, locked as it may be already, into the second place."""
        with tempfile.TemporaryDirectory(dir=self._work, prefix="copy-") as name:
            plain, locked = Path(name) / "plain", Path(name) / "locked"
            sha256 = self._bucket.fetch(key, plain)
            if key.endswith(SUFFIX):
                locked = plain
            else:
                lock_away(plain, locked, self._recipient())
            place.put(locked_name(key), locked)
            return {"sha256": sha256, "locked_sha256": sha256_of(locked)}

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


def _mark(one: Listed) -> dict[str, Any]:
    """By what an object is known to be the one that was copied."""
    return {"size_bytes": one.size_bytes, "at": one.at.isoformat()}


def _index(objects: dict[str, Any], backups: dict[str, Any]) -> dict[str, Any]:
    return {"format": 2, "objects": objects, "backups": backups}


def _catalogue(index: dict[str, Any]) -> list[Backup]:
    """The backups that lie whole at the second place."""
    return [read_backup(one) for one in index.get("backups", {}).values()]
