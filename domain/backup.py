"""Backups as facts: what was kept, what proves that it is whole, up to where it goes, and how well it is protected.

Made by the engines in `blocks/` (`domain/ports_backup.py`), recorded in the ledger by `backup`, judged and restored by
`restore_drill` and `restore`. An exit code is no evidence: what counts is the manifest of SHA-256, recorded when the
backup was made and compared before anything is restored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, cast

from domain.canonical import digest_of
from domain.wal import WalGap, find_gaps, is_segment, missing_histories, read_lsn

Encryption = Literal["client", "engine", "bucket", "none"]
"""Where bytes are encrypted: before upload by us, by the engine, by the store with a key kept outside it, nowhere."""


class BackupKind(StrEnum):
    """What a backup is. The first three are an engine's: a full one, what changed since the last full one, what changed
    since the last of any kind. The others are copies that `backup` makes itself."""

    FULL = "full"
    DIFFERENTIAL = "differential"
    INCREMENTAL = "incremental"
    DUMP = "dump"
    OBJECTS = "objects"


class BackupState(StrEnum):
    """How far it came. Only `DONE` is a backup; `STARTED` is at work, or what a killed one left."""

    DONE = "done"
    STARTED = "started"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of a backup as it was when the backup was made."""

    key: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup of one server.

    Attributes:
        id: the engine's own name for it; unique within an engine.
        begin_wal, end_wal: the segments that recovery needs at the least, both included.
        begin_lsn, end_lsn: the places in the log; consistent from `end_lsn` on.
        target_lsn: a place after `end_lsn` that was written when the backup was made; drills recover to it. Empty
            where it is not known (a backup that somebody else took).
        system_id: of the server; another one's backup has another.
        parent: the backup that an incremental one needs.
        size_bytes: of the server's files; `stored_bytes`: what the store holds.
        hold: why it must not expire; empty where it may.
        manifest_sha256: of the recorded manifest; empty: nothing proves that it is whole.
    """

    id: str
    kind: BackupKind
    state: BackupState
    engine: str
    engine_version: str
    begun_at: datetime
    ended_at: datetime | None = None
    server_version: int = 0
    system_id: str = ""
    timeline: int = 0
    begin_wal: str = ""
    end_wal: str = ""
    begin_lsn: str = ""
    end_lsn: str = ""
    target_lsn: str = ""
    parent: str = ""
    size_bytes: int = 0
    stored_bytes: int = 0
    encryption: Encryption = "none"
    page_checksums: bool = False
    hold: str = ""
    manifest_sha256: str = ""

    @property
    def is_done(self) -> bool:
        return self.state is BackupState.DONE

    @property
    def seconds(self) -> float:
        """How long it took; 0 while it runs."""
        return (self.ended_at - self.begun_at).total_seconds() if self.ended_at else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The facts as JSON values: for the ledger and for manifests."""
        value: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        times = {name: value[name].astimezone(UTC).isoformat() if value[name] else "" for name in _TIMES}
        return {**value, **times, "kind": self.kind.value, "state": self.state.value}


_TIMES = ("begun_at", "ended_at")


def read_backup(value: Mapping[str, Any]) -> Backup:
    """Rebuild a backup from what `as_dict` wrote; keys that it does not know are passed over.

    Raises: KeyError, ValueError for what is none.
    """
    known: dict[str, Any] = {name: value[name] for name in Backup.__slots__ if name in value}
    known |= {name: datetime.fromisoformat(value[name]) if value.get(name) else None for name in _TIMES}
    known |= {"kind": BackupKind(value["kind"]), "state": BackupState(value["state"])}
    return Backup(**known)


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """What a backup consists of, written beside it when it was made; its hash is in the ledger as well.

    `facts` is the backup itself. `extra` holds what others prove of the same moment (a fingerprint of the content);
    it is covered by the hash.
    """

    facts: Mapping[str, Any]
    objects: tuple[StoredObject, ...]
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def as_dict(self) -> dict[str, Any]:
        objects = [{"key": one.key, "size_bytes": one.size_bytes, "sha256": one.sha256} for one in self.objects]
        return {"format": 1, "facts": dict(self.facts), "objects": objects, "extra": dict(self.extra)}

    @property
    def sha256(self) -> str:
        return digest_of(self.as_dict())


def read_manifest(value: Mapping[str, Any]) -> BackupManifest:
    """Rebuild a manifest from what `as_dict` wrote. Raises: KeyError, TypeError, ValueError for what is none."""
    objects = cast(Sequence[Mapping[str, Any]], value["objects"])
    return BackupManifest(
        facts=dict(value["facts"]),
        objects=tuple(StoredObject(str(o["key"]), int(o["size_bytes"]), str(o["sha256"])) for o in objects),
        extra=dict(value.get("extra") or {}),
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What comparing a backup with its manifest found.

    `unavailable` says why nothing could be compared; then it is neither intact nor damaged. `damage` names each object
    that is missing or differs, one sentence each. `manifest_sha256` is that of the manifest compared with, where who
    asked did not know it before.
    """

    backup: str
    checked: int = 0
    checked_bytes: int = 0
    damage: tuple[str, ...] = ()
    unavailable: str = ""
    manifest_sha256: str = ""

    @property
    def is_intact(self) -> bool:
        return self.checked > 0 and not self.damage and not self.unavailable


@dataclass(frozen=True, slots=True)
class Target:
    """Where recovery is to stop. Always named: without a name, a lost segment ends recovery early and silently.

    Use `at_lsn`, `at_time` or `at_point`.
    """

    kind: Literal["lsn", "time", "name"]
    value: str

    @property
    def time(self) -> datetime:
        """The moment of a target by time. Raises: ValueError for another kind."""
        return datetime.fromisoformat(self.value)


def at_lsn(lsn: str) -> Target:
    """Stop right after a place in the log. Raises: ValueError where it is none."""
    read_lsn(lsn)
    return Target("lsn", lsn.upper())


def at_time(moment: datetime) -> Target:
    """Stop at a moment. Raises: ValueError where it names no time zone."""
    if moment.tzinfo is None:
        raise ValueError("A moment to recover to needs a time zone. Write it as 2026-01-31T12:00:00+00:00.")
    return Target("time", moment.astimezone(UTC).isoformat())


def at_point(name: str) -> Target:
    """Stop at a restore point that was made under this name."""
    return Target("name", name)


@dataclass(frozen=True, slots=True)
class WalState:
    """How the archive of the write-ahead log stands.

    Attributes:
        newest: the newest segment that the store holds; empty: none.
        archived_at: when the server last handed one over with success.
        failed_at: when it last failed; `failing` whether it failed since the last success.
        waiting: segments that are complete and not archived yet.
        lag_s: age of the oldest of those; 0 where none waits.
        gaps: segments that are missing, from the oldest that a kept backup needs.
        missing_histories: timelines without their history file.
    """

    segments: int
    oldest: str = ""
    newest: str = ""
    archived_at: datetime | None = None
    failed_at: datetime | None = None
    failing: str = ""
    waiting: int = 0
    lag_s: float = 0.0
    gaps: tuple[WalGap, ...] = ()
    missing_histories: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing in between; lag is another matter."""
        return not self.gaps and not self.missing_histories


def read_log(names: Mapping[str, datetime], *, since: str = "", until: str = "") -> WalState:
    """How an archive stands by the names of its files, and since when each is there; what only its server knows is
    left out."""
    segments = sorted((name for name in names if is_segment(name)), key=lambda name: (name[8:], name))
    newest = segments[-1] if segments else ""
    return WalState(
        segments=len(segments),
        oldest=segments[0] if segments else "",
        newest=newest,
        archived_at=names.get(newest),
        gaps=tuple(find_gaps(segments, since=since, until=until)),
        missing_histories=tuple(missing_histories(list(names))),
    )


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can work here, and if not, why, in words that may be shown: `unavailable: ...`."""

    is_available: bool
    version: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Expiry:
    """What went, or would go. `log_since`: every segment from this one on stays; of older ones only what a backup that
    stays needs for itself."""

    backups: tuple[str, ...]
    dry_run: bool
    log_since: str = ""


@dataclass(frozen=True, slots=True)
class BackupProgress:
    """How far a backup is; `bytes_total` is an estimate, 0 where there is none."""

    bytes_done: int
    bytes_total: int
    seconds: float

    @property
    def percent(self) -> float:
        """0 to 99: what is 100 is told by the end."""
        return min(99.0, 100 * self.bytes_done / self.bytes_total) if self.bytes_total else 0.0


@dataclass(frozen=True, slots=True)
class KeptCopy:
    """A copy that `backup` made itself: of what, how much there is, how much of it was new, and what proves it.

    `sha256` is that of the one object, or of the manifest where there are several.
    """

    name: str
    objects: int
    size_bytes: int
    new_objects: int
    new_bytes: int
    sha256: str
    seconds: float
    encryption: Encryption

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"seconds": round(self.seconds, 3)}


@dataclass(frozen=True, slots=True)
class CopyPlace:
    """The second place. `is_apart`: it fails on its own; a folder on the same disk does not. `reason` says why not."""

    where: str
    is_apart: bool
    reason: str = ""
