"""The roles of a restore drill, as protocols: the fingerprint's source, the scratch servers, where results are kept.

The real adapters are tried by the fault corpus (`tests/faults/test_drill_faults.py`), the twins by whole flows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from domain.drill import Check, Damage
from domain.drill_objects import BucketCopy, CopiedObject, ObjectDamage
from domain.fingerprint import Fingerprint
from domain.ports import Ledger
from domain.ports_backup import Recovery


class Fingerprints(Protocol):
    """The server that is backed up, as far as a drill asks it."""

    def take(self, point: str) -> Mapping[str, Any]:
        """Take the fingerprint and make the restore point of that name at exactly that content.

        Returns what goes into a backup's manifest: `fingerprint`, or `fingerprint_unavailable` with the reason. Never
        an error: a backup without a fingerprint is better than none.
        """
        ...

    def system_id(self) -> str:
        """The cluster's identifier. Raises: TransientError where it does not answer."""
        ...


@dataclass(frozen=True, slots=True)
class Recovered:
    """A scratch server that has left recovery: how far it came, and up to which commit."""

    lsn: str
    seconds: float
    last_commit_at: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a suite of expectations found: checks, and one line for each expectation that people may want to read."""

    checks: tuple[Check, ...]
    lines: tuple[str, ...] = ()


class Scratch(Protocol):
    """Servers that are made from restored folders, looked into, and destroyed. Each has a name; nothing of it leaves
    this machine, and nobody but us reaches it."""

    @property
    def user(self) -> str | None:
        """Whom the files must belong to; None: ourselves."""
        ...

    def free_bytes(self) -> int: ...

    def prepare(self, name: str) -> Path:
        """Give an empty folder for the data of a new server; what one of that name left is destroyed first."""
        ...

    def start(self, name: str, recovery: Recovery, *, limit_s: float) -> Recovered:
        """Start the server and wait until it has left recovery. Raises: InvariantError with its last words where it
        does not, TransientError at the limit."""
        ...

    def check_backup(self, name: str) -> Check:
        """`integrity.postgres`: `pg_verifybackup`, before the server is started."""
        ...

    def fingerprint(self, name: str) -> Fingerprint:
        """Hash every row. Raises: InvariantError where something can't be read."""
        ...

    def address(self, name: str) -> str:
        """Where a started server is asked from this machine, without a secret."""
        ...

    def check_indexes(self, name: str) -> Check:
        """`pages.indexes`: `pg_amcheck --heapallindexed`, where the extension exists."""
        ...

    def check_rules(self, name: str) -> Sequence[Check]:
        """`expectations.rules`: foreign keys, constraints and sequences hold, as the databases declare them."""
        ...

    def check_pages(self, name: str) -> Check:
        """`pages.checksums`: the server is stopped in good order, then every page of it is read."""
        ...

    def await_expectations(self, name: str) -> None:
        """Start what judges the data ahead, because its start takes long. Effect: a process, until `destroy`."""
        ...

    def expect(self, name: str, database: str, suites: Mapping[str, Any], *, limit_s: float) -> Findings:
        """`expectations.<suite>`: let Great Expectations judge a database, in a process of its own."""
        ...

    def texts(self, name: str, database: str, table: str, column: str) -> Sequence[str]:
        """Every value of a column, as text, each once; for references to objects. Raises: ConfigError where there is
        no such database, table or column."""
        ...

    def ledger(self, name: str) -> Ledger:
        """The restored ledger, to read. Its methods raise as any ledger's do."""
        ...

    def damage(self, name: str, kind: Damage) -> str:
        """Damage the restored files of a server that was not started yet; says what was damaged."""
        ...

    def destroy(self, name: str) -> None:
        """End the server and remove its files. Effect: may be repeated."""
        ...

    def leftovers(self) -> Sequence[str]:
        """Names of servers that dead drills left."""
        ...


class ObjectCopies(Protocol):
    """Copies of buckets, read with the key that only reads, and scratch folders that they are restored into."""

    def copies(self, source: str) -> Sequence[BucketCopy]:
        """List the manifests of a bucket, oldest first. Raises: TransientError while the store is away."""
        ...

    def manifest(self, copy: BucketCopy) -> Mapping[str, CopiedObject]:
        """The objects that a copy holds, by name. Raises: InvariantError where it is no manifest of that bucket."""
        ...

    def restore(self, copy: BucketCopy, name: str, *, keys: Sequence[str] | None = None) -> int:
        """Fetch a copy's contents, or those of `keys` only, into a fresh scratch folder; returns how many bytes.

        What the bucket lacks is left out: `read` shows it. Effect: may be repeated."""
        ...

    def read(self, name: str) -> Mapping[str, CopiedObject]:
        """Read what was restored from its files: sizes and hashes, by name."""
        ...

    def damage(self, name: str, kind: ObjectDamage) -> str:
        """Damage one restored object; says what was damaged. Raises: ConfigError where nothing can be."""
        ...

    def destroy(self, name: str) -> None:
        """Remove a scratch folder. Effect: may be repeated."""
        ...

    def free_bytes(self) -> int: ...


class DrillResults(Protocol):
    """Signed results, kept beside the backups. The key that signs lies outside of the store."""

    def keep(self, name: str, result: Mapping[str, Any]) -> Mapping[str, str]:
        """Sign a result and keep it; returns `digest`, `signature` and `key` (the public one). May be repeated."""
        ...

    def verify(self, name: str) -> Mapping[str, Any]:
        """Read a result back.

        Raises: InvariantError where it is not as it was signed, ConfigError where there is none.
        """
        ...
