"""The role of a backup engine for PostgreSQL, as a protocol: barman-cloud, pgBackRest, and a twin in memory.

One contract suite runs over all of them (`tests/contracts/test_backup_engine.py`). Every method may raise
`TransientError` (ask again), `ConfigError` (a setting is wrong) and nothing vendor-specific.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from domain.backup import (
    Availability,
    Backup,
    BackupKind,
    BackupManifest,
    BackupProgress,
    CopyPlace,
    Evidence,
    Expiry,
    KeptCopy,
    Target,
    WalState,
)
from domain.backup_retention import Retention

Purpose = Literal["write", "expire", "read"]
"""What an engine is opened for; each has keys of its own: those that write can't delete, those that read do nothing
else. Drills and restores open it to read."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """A restored data folder, and what its server must be started with to recover to the target.

    `settings` are PostgreSQL's, by name: `restore_command`, `recovery_target_*`, and those that must not be lower than
    the original's, or it refuses to replay (`max_connections`, …). Hand them over as `-c` or write them into
    `postgresql.auto.conf`. `recovery.signal` lies there already, and the files belong to the user that `restore` was
    told. `environment` is for the server's process and may hold secrets: never log it. `evidence` is what was compared
    before anything was laid out.
    """

    directory: Path
    settings: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    evidence: Evidence | None = None


class BackupEngine(Protocol):
    """One engine over one server and one repository. Opened by the world for what it is to do: keys that write can't
    read a restore, keys that read can't write."""

    @property
    def name(self) -> str:
        """`barman-cloud`, `pgbackrest`, `memory`."""
        ...

    @property
    def kinds(self) -> Sequence[BackupKind]:
        """What it can take: full always; incremental where it is able."""
        ...

    def availability(self) -> Availability:
        """Try every binary with `--version` and the server's version: never an error, a reason instead."""
        ...

    def backup(
        self,
        kind: BackupKind,
        *,
        label: str,
        limit_s: float,
        on_progress: Callable[[BackupProgress], None] = ...,
        extra: Callable[[], Mapping[str, Any]] | None = None,
    ) -> Backup:
        """Take a backup, write down the SHA-256 of each of its objects, and name a place in the log to recover to.

        Args:
            label: whose it is, for people and for taking up again: a second call with one label that is done already
                returns what is there.
            extra: is called once at the end, right before `target_lsn` is taken; what it returns goes into the
                manifest (a fingerprint of the content).

        Effect: objects in the repository. Killed at any line, older backups stay as they are, and `sweep` finds what
        it left. Raises: ConfigError where the bucket does not exist (it is never made), TransientError where the store
        is away or the limit is reached.
        """
        ...

    def backups(self) -> Sequence[Backup]:
        """List what the repository holds, oldest first; unfinished ones too."""
        ...

    def manifest(self, backup: str) -> BackupManifest | None:
        """The manifest as it was recorded; None where there is none."""
        ...

    def verify(self, backup: str, *, expected_sha256: str = "") -> Evidence:
        """Read every object again and compare it with the manifest; `expected_sha256` is the manifest's own hash as
        the ledger has it."""
        ...

    def verify_log(self, *, since: str, seed: str, bytes_max: int) -> Evidence:
        """Read the archived log from a segment on, as far as `bytes_max` goes, and compare each file with what was
        recorded of it; unavailable where the engine keeps nothing to compare with."""
        ...

    def restore(
        self, backup: str, target: Target, directory: Path, *, user: str | None, limit_s: float
    ) -> AbstractContextManager[Recovery]:
        """Lay a backup's files into an empty folder, and lend what its recovery takes.

        Stay inside the `with` until the server has left recovery: the log is served from here. The folder stays
        afterwards. `user` will own the files and run the server; None: ourselves.

        Raises: ConfigError where there is no such backup or the folder is not empty; InvariantError where objects are
        damaged: then nothing was laid out that could start.
        """
        ...

    def wal_state(self, *, since: str = "", until: str = "") -> WalState:
        """How the archive of the log stands; gaps are looked for from the segment `since` on, up to `until`, by itself
        the newest. Of a backup from before the window only the log up to its own target is kept."""
        ...

    def expire(self, backups: Sequence[str], *, dry_run: bool, window_begin: datetime | None = None) -> Expiry:
        """Remove backups, and the log that none of the others needs: all of it from `window_begin` on stays, of older
        backups what takes them to their own target.

        Raises: RefusedError where one of them is held, or nothing whole would be left."""
        ...

    def hold(self, backup: str, *, reason: str) -> None:
        """Keep a backup for ever, whatever the rules say; an empty reason lets it go again."""
        ...

    def sweep(self, *, older_than: timedelta, dry_run: bool) -> Sequence[str]:
        """Remove what killed backups left, by id, where it is older than this and nobody is at work on it; returns
        what went. Unfinished uploads are aborted."""
        ...


class BackupCopies(Protocol):
    """Copies that no engine makes: dumps, objects of other buckets, and everything once more elsewhere.

    Dumps and copies elsewhere are encrypted for a recipient before they leave this machine; who makes them can't open
    them.
    """

    def databases(self) -> Sequence[str]:
        """Name every database of the server that holds something of ours."""
        ...

    def dump(self, database: str, *, label: str) -> KeptCopy:
        """Dump a database, independent of its files' format; the same label again replaces nothing that is whole."""
        ...

    def objects(self, source: str) -> KeptCopy:
        """Copy what is new in a bucket, by manifest and checksum; what was replaced under its name is kept as well."""
        ...

    def elsewhere(self, backups: Sequence[Backup] = ()) -> KeptCopy | None:
        """Copy what is new in the bucket of backups to the second place; None where none is set.

        Args:
            backups: what the repository holds; those that are done are written down there as whole.
        """
        ...

    def kept_elsewhere(self) -> Sequence[Backup]:
        """The backups that lie whole at the second place."""
        ...

    def expire_elsewhere(
        self, rules: Retention, *, now: datetime, proven: Collection[str] = (), dry_run: bool
    ) -> Sequence[str]:
        """Remove at the second place what the rules keep neither there nor in the bucket; returns what went, by key.

        Judged by what lies there: a bucket that lost everything costs nothing there.
        """
        ...

    def place(self) -> CopyPlace:
        """Where the second place is, and whether a disk can fail there and here at once."""
        ...

    def expire(self, *, keep: int, dry_run: bool) -> Sequence[str]:
        """Remove all but the newest so many dumps of each database; returns what went."""
        ...
