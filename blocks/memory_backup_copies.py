"""Copies in memory: the twin of `blocks/backup_copies.py`."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from domain.backup import Backup, CopyPlace, KeptCopy
from domain.backup_retention import Retention
from domain.canonical import digest_of, sha256_hex
from domain.errors import TransientError
from domain.second_place import choose_gone


class MemoryBackupCopies:
    """Fulfils `domain.ports_backup.BackupCopies` for tests.

    `contents` are databases by name, `buckets` objects by bucket and key, `where` the second place.
    """

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {"prefect": b"runs", "slipway_ledger": b"entries"}
        self.buckets: dict[str, dict[str, bytes]] = {
            "releases": {"bundles/a": b"a"},
            "archives": {},
            "anchors": {},
            "state-files": {},
        }
        self.dumps: dict[tuple[str, str], bytes] = {}
        self.kept: dict[str, dict[str, bytes]] = {}
        self.copies: dict[str, bytes] = {}
        self.catalogue: dict[str, Backup] = {}
        self.copied_at: dict[str, datetime] = {}
        self.where, self.is_apart, self.is_away = "", False, False

    def databases(self) -> Sequence[str]:
        return sorted(self.contents)

    def dump(self, database: str, *, label: str) -> KeptCopy:
        self._look()
        body = self.dumps.setdefault((database, label), self.contents[database])
        return KeptCopy(f"dump of {database}", 1, len(body), 1, len(body), sha256_hex(body), 0.0, "client")

    def objects(self, source: str) -> KeptCopy:
        self._look()
        present, kept = self.buckets[source], self.kept.setdefault(source, {})
        new = {key: body for key, body in present.items() if kept.get(key) != body}
        kept |= new
        sha256 = digest_of({key: sha256_hex(body) for key, body in present.items()})
        size, added = (sum(len(body) for body in found.values()) for found in (present, new))
        return KeptCopy(f"bucket {source}", len(present), size, len(new), added, sha256, 0.0, "bucket")

    def elsewhere(self, backups: Sequence[Backup] = ()) -> KeptCopy | None:
        if not self.where:
            return None
        self.catalogue |= {one.id: one for one in backups if one.is_done}
        wanted = {f"dumps/{name}/{label}": body for (name, label), body in self.dumps.items()}
        new = {key: body for key, body in wanted.items() if key not in self.copies}
        self.copies |= new
        self.copied_at |= dict.fromkeys(new, datetime.now(UTC))
        size, added = (sum(len(body) for body in found.values()) for found in (self.copies, new))
        sha256 = digest_of(sorted(self.copies))
        return KeptCopy("second place", len(self.copies), size, len(new), added, sha256, 0.0, "client")

    def place(self) -> CopyPlace:
        return CopyPlace(self.where, self.is_apart, "" if self.is_apart else "the same disk")

    def expire(self, *, keep: int, dry_run: bool) -> Sequence[str]:
        gone: list[tuple[str, str]] = []
        for database in sorted({name for name, _ in self.dumps}):
            gone += sorted(found for found in self.dumps if found[0] == database)[:-keep]
        for found in [] if dry_run else gone:
            del self.dumps[found]
        return [f"{database}/{label}" for database, label in gone]

    def kept_elsewhere(self) -> Sequence[Backup]:
        return list(self.catalogue.values())

    def expire_elsewhere(
        self, rules: Retention, *, now: datetime, proven: Collection[str] = (), dry_run: bool
    ) -> Sequence[str]:
        present = {f"dumps/{name}/{label}" for name, label in self.dumps}
        found = choose_gone(self.copied_at, self.kept_elsewhere(), present=present, rules=rules, now=now, proven=proven)
        for key in [] if dry_run else found.keys:
            del self.copies[key], self.copied_at[key]
        for id in [] if dry_run else found.backups:
            del self.catalogue[id]
        return found.keys

    def _look(self) -> None:
        if self.is_away:
            raise TransientError("The store is away.")
