"""What a break-glass rollback has to know of the ledger, kept on this machine: `STATE/break-glass/facts.jsonl`.

Written with each append of one of the few kinds that say what is live, what is open and what is blocked; written anew
by `slipway up` and by `reconcile`, so that a line that could not be written is not missing for long. A copy, never a
truth: as soon as the ledger answers, the ledger is asked.
"""

import fcntl
import logging
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from blocks.journal import encode_line, read_lines
from blocks.ledger_postgres import PostgresLedger
from blocks.postgres_session import PostgresSession
from domain.errors import InvariantError
from domain.ledger import Entry, Event
from domain.release import Manifest

log = logging.getLogger("slipway")


class KeptFacts:
    """The copy, as a file; `kinds` are those that it keeps."""

    def __init__(self, path: Path, kinds: Collection[str]) -> None:
        self._path = path
        self._kinds = frozenset(kinds)

    def note(self, entry: Entry) -> None:
        """Add an entry where it is of the kinds kept. A disk that does not take it is said, and fails nothing."""
        if entry.kind not in self._kinds:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(encode_line(entry))
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            log.warning("break-glass copy is behind: %s could not be written: %s", self._path, exc)

    def replace(self, entries: Iterable[Entry]) -> None:
        """Write the copy anew. Effect: one file; what is noted meanwhile is not lost."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            fresh = {entry.seq: entry for entry in entries}
            newest = max(fresh, default=0)
            fresh |= {entry.seq: entry for entry in _read(file) if entry.seq > newest}
            # a cut in the middle of this leaves whole lines of the truth: the rest comes with the next time
            file.seek(0)
            file.write(b"".join(encode_line(fresh[seq]) for seq in sorted(fresh)))
            file.truncate()
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> list[Entry]:
        """Read the copy, oldest first."""
        try:
            with self._path.open("rb") as file:
                known = {entry.seq: entry for entry in _read(file)}
        except FileNotFoundError:
            return []
        return [known[seq] for seq in sorted(known)]


def _read(file: object) -> list[Entry]:
    try:
        return read_lines(file)[0]  # pyright: ignore[reportArgumentType]
    except InvariantError as exc:
        log.warning("break-glass copy is damaged and left out: %s", exc)
        return []


class KeepingLedger(PostgresLedger):
    """The ledger in PostgreSQL, with the copy of what break-glass needs kept beside it."""

    def __init__(self, session: PostgresSession, facts: KeptFacts) -> None:
        super().__init__(session)
        self._facts = facts

    def append(self, event: Event) -> Entry:
        """Add one event to the chain, then to the copy."""
        entry = super().append(event)
        self._facts.note(entry)
        return entry


def pinned_event(manifest: Manifest) -> Event:
    """Say of an installed release what the ledger said when it was pinned."""
    data = {"manifest": manifest.as_dict(), "commit": manifest.commit}
    return Event("release.pinned", application=manifest.application, release=manifest.digest, data=data)
