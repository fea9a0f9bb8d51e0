"""The roles of clean-up: rows that expire in a database, other things that expire, and archives.

Fulfilled in `blocks/` (`rows_postgres.py`, `expirables_*.py`, `archives_s3.py`) and by twins in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from domain.cleanup import Load, Preview
from domain.cleanup_policy import CleanupPart, HoldPart
from domain.ports_drill import Findings

Key = tuple[str, ...]
"""Where a walk through a table stands: the values of the columns that it is ordered by, as text."""


@dataclass(frozen=True, slots=True)
class Expired:
    """Which rows: a policy at a cut-off, with the holds of the ledger besides the policy's own."""

    policy: CleanupPart
    cutoff: datetime
    holds: tuple[HoldPart, ...] = ()

    @property
    def all_holds(self) -> tuple[HoldPart, ...]:
        return (*self.policy.holds, *self.holds)


@dataclass(frozen=True, slots=True)
class Batch:
    """One committed batch. `last` is None where the walk has come to its end."""

    rows: int
    related: int
    last: Key | None


@dataclass(frozen=True, slots=True)
class Proof:
    """What is left afterwards: expired rows (locked by others meanwhile), held rows, rows that refer to nothing."""

    left_rows: int
    held_rows: int
    orphans: int


@dataclass(frozen=True, slots=True)
class Copied:
    """Rows copied out of one snapshot: a CSV for each table, the policy's own table last."""

    tables: tuple["CopiedTable", ...]
    last: Key | None


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """One table's copy. `columns` are name and PostgreSQL type in order; `keys` names the primary key's."""

    table: str
    file: Path
    columns: tuple[tuple[str, str], ...]
    keys: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class CopiedPartition:
    """What a whole partition was when it was copied. `state` changes with any of its rows; the bounds are as text
    (`lower` None: MINVALUE)."""

    name: str
    rows: int
    state: str
    lower: str | None
    upper: str | None


@dataclass(frozen=True, slots=True)
class Deleted:
    """What came of deleting what an archive holds: `left` rows of it stay, as they changed or are held since."""

    rows: int
    related: int
    left: int


class ExpiringRows(Protocol):
    """The expired rows of one database.

    Every method raises ConfigError where a policy does not fit the database, with what is there or the statement that
    mends it; TransientError where a lock or the server was in the way.
    """

    def preview(self, expired: Expired) -> Preview:
        """Count what would go. Changes nothing."""
        ...

    def pending_partitions(self, expired: Expired) -> list[str]:
        """Partitions that wholly expired, oldest first, with those that an interrupted run detached already; none
        where the policy's rows can only go in batches."""
        ...

    def copy_partition(
        self, expired: Expired, partition: str, *, folder: Path, keep: Callable[[CopiedTable], None]
    ) -> CopiedPartition:
        """Copy a whole partition, in parts of some ten thousand rows: `keep` takes each, then its file is gone.

        Raises: TransientError where a row of it changed meanwhile: nothing of it counts then.
        """
        ...

    def drop_partition(self, expired: Expired, partition: str, *, state: str = "") -> int:
        """Detach a partition without blocking anybody, and drop it; returns its rows. What an interruption left is
        finished; a partition that is gone is no error.

        Args:
            state: of a policy that archives: what was copied. Where it is another by now, nothing is dropped.

        Raises: RefusedError where rows of it have to stay, or changed since they were copied.
        """
        ...

    def delete_batch(self, expired: Expired, *, after: Key | None, rows: int) -> Batch:
        """Delete the next rows after a key, children first, in one transaction; rows that others hold are skipped."""
        ...

    def load(self) -> Load: ...

    def close(self) -> None:
        """End a walk: what `delete_batch` and `load` keep open is closed."""
        ...

    def vacuum(self, expired: Expired) -> None:
        """Make the space usable again in every table of the policy; never VACUUM FULL."""
        ...

    def prove(self, expired: Expired) -> Proof: ...

    def copy_batch(self, expired: Expired, *, after: Key | None, rows: int, folder: Path) -> Copied:
        """Copy the next rows and all that refers to them into files, from one snapshot; nothing is changed."""
        ...

    def delete_archived(self, expired: Expired, tables: Sequence[CopiedTable], *, rows: int) -> Deleted:
        """Delete exactly the rows of the copies, batch by batch, where they still are what was copied and still
        expired. Repeating it deletes nothing twice."""
        ...

    def restore(self, tables: Sequence[CopiedTable], *, partition: CopiedPartition | None = None) -> dict[str, int]:
        """Put rows back that are not there, parents first, in one transaction; returns how many, by table.

        Args:
            partition: made anew where it is gone and its range is free.
        """
        ...


@dataclass(frozen=True, slots=True)
class Expirable:
    """Something that takes space and gets old. `protected` says why it must stay; empty: it may go."""

    key: str
    size_bytes: int
    at: datetime
    protected: str = ""


@dataclass(frozen=True, slots=True)
class Removed:
    """What went, and what could not (key and reason)."""

    count: int
    size_bytes: int
    failed: tuple[tuple[str, str], ...] = field(default=())


class Expirables(Protocol):
    """Things of one kind that expire: objects, uploads, logs, runs, caches."""

    def read(self) -> Sequence[Expirable]:
        """Everything of the kind, old or not: shares need a total. Protected ones say why."""
        ...

    def remove(self, keys: Sequence[str]) -> Removed:
        """Remove exactly these; what is gone is no error, what is protected by now is kept and told."""
        ...


@dataclass(frozen=True, slots=True)
class Locked:
    """A file as it is kept. `reopen` opens it in the process that made it, and in no other: to read it back."""

    file: Path
    encryption: str
    reopen: Callable[[Path, Path], None]


class Archives(Protocol):
    """Files of rows, kept by key for as long as they are wanted; nothing here removes one."""

    def lock(self, file: Path, to: Path) -> Locked:
        """Encrypt a file for whoever may restore; where nobody is known, it stays what it is and says `none`."""
        ...

    def open(self, file: Path, to: Path) -> None:
        """Decrypt such a file. Raises: ConfigError where this process may not, InvariantError where it is damaged."""
        ...

    def seal(self, content: bytes) -> bytes:
        """Encrypt a small text for clean-up itself, which deletes by it."""
        ...

    def unseal(self, content: bytes) -> bytes:
        """Decrypt it. Raises: ConfigError where it was sealed with a key that is gone."""
        ...

    def pack(self, table: CopiedTable, to: Path) -> int:
        """Write a copy as one compressed file; returns its rows."""
        ...

    def unpack(self, file: Path, to: Path) -> int:
        """Write such a file as the CSV that it came from; returns its rows."""
        ...

    def put(self, key: str, path: Path, *, sha256: str) -> None:
        """Keep a file; the same bytes under the same key again are no error. Raises: InvariantError on other bytes."""
        ...

    def get(self, key: str, path: Path, *, sha256: str) -> None:
        """Fetch a file. Raises: InvariantError where its bytes are others, ConfigError where there is none."""
        ...

    def keep(self, key: str, content: bytes) -> None:
        """Keep a small text under a key unless there is one already: the first one counts."""
        ...

    def read(self, key: str) -> bytes | None:
        """Read a small text; None where there is none."""
        ...


class Cleaning(Protocol):
    """Everything that clean-up works on, by name."""

    @property
    def archives(self) -> Archives: ...

    @property
    def own_policies(self) -> str:
        """Slipway's own policies, as the YAML that they are."""
        ...

    def folder(self) -> AbstractContextManager[Path]:
        """Lend an empty folder for files on their way; it is gone afterwards."""
        ...

    def rows(self, application: str, environment: str) -> ExpiringRows:
        """The database of an application in an environment; Slipway's own for `slipway`."""
        ...

    def expect(self, application: str, environment: str, suites: Mapping[str, Any], *, limit_s: float) -> Findings:
        """Let Great Expectations judge a database by suites, in a process of its own that only reads."""
        ...

    def expirables(self) -> Mapping[str, Expirables]:
        """What else expires, by kind."""
        ...

    def objects(self, bucket: str, prefix: str) -> Expirables:
        """The objects under a prefix.

        Raises: ConfigError where backups, anchors or archives lie, and for a bucket that there are no keys for.
        """
        ...
