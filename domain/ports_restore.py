"""The role of a server whose applications' databases can be exchanged for restored ones, as a protocol.

The real adapter and the twin in memory pass one contract suite (`tests/contracts/test_restorations.py`). `key` names
one restore, eight characters of its run. A database has its own name, `..._restored_KEY` while it is loaded beside the
live one, and `..._before_KEY` when it was live before that restore.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from domain.fingerprint import Fingerprint
from domain.restore import Comparison, Databases, LeftOver, Reach


class Restorations(Protocol):
    """Databases of applications, as far as a restore replaces them. Never the ledger's, never Prefect's."""

    def mark(self, name: str) -> Reach:
        """Make a restore point, let a transaction commit after it, and wait until the log up to there is archived.

        Raises: TransientError where the server does not answer, or its log does not get into the archive.
        """
        ...

    def position(self) -> str:
        """The place in the log that the server writes at. Raises: TransientError where it does not answer."""
        ...

    def find(self, application: str, environment: str) -> Databases:
        """What there is of a database: the live one, what is being loaded, what was kept."""
        ...

    def compare(self, application: str, environment: str, *, source: str = "", kept: str = "") -> Comparison:
        """Compare the live database with a restored one (`source`, from `Scratch.address`), or with a kept one.

        A live database that is missing or can't be read is no error, and is shown as such.
        """
        ...

    def extract(self, application: str, environment: str, *, source: str, key: str) -> Fingerprint:
        """Take the database out of a restored server into files of ours alone; returns its content.

        Effect: files, until `forget`; what an earlier call left is replaced. Raises: ConfigError where the database did
        not exist at that moment, InvariantError where it can't be read.
        """
        ...

    def remember(self, key: str, facts: Mapping[str, Any]) -> None:
        """Keep facts beside what was extracted, at once or not at all: it is complete then."""
        ...

    def recall(self, key: str) -> Mapping[str, Any] | None:
        """The facts that were kept; None where nothing complete is there."""
        ...

    def forget(self, key: str) -> None:
        """Remove what was extracted. Effect: may be repeated."""
        ...

    def load(
        self, application: str, environment: str, *, key: str, on_progress: Callable[[float], None] = ...
    ) -> Fingerprint:
        """Load what was extracted into a database beside the live one, and prove that its content is the same.

        Effect: a database; one that is proven already is left as it is, a half one is made anew. The live one goes on.
        Raises: ConfigError where the files are not there, InvariantError where the content differs: nothing is beside
        then.
        """
        ...

    def exchange(self, application: str, environment: str, *, key: str, kept: str = "") -> None:
        """Give the live database's name to what was loaded, or to what was kept as `kept`.

        Effect: the live one is kept as `key`; both names change in one transaction, its sessions end. Done already:
        nothing. May be repeated. Raises: ConfigError where nothing is there to be brought,
        TransientError where the sessions don't end.
        """
        ...

    def verify(self, application: str, environment: str) -> str:
        """Enter the live database as the application does; returns why that does not work, empty where it does."""
        ...

    def drop(self, application: str, environment: str, *, key: str, kept: bool) -> None:
        """Remove what was loaded for a restore, or was kept of one; never the live one. Effect: may be repeated."""
        ...

    def left_over(self) -> Sequence[LeftOver]:
        """What restores have left here: extracted files, and databases beside live ones."""
        ...
