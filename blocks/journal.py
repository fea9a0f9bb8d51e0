"""A ledger in one file: append-only JSON lines, hash-chained like the ledger itself, on disk before the call returns.

What a break-glass rollback writes while the ledger's database is away (`STATE/break-glass/`). A line that was cut off
by a power cut never counted, and is taken away by the next append.
"""

import fcntl
import json
import os
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from domain.canonical import canonical_json
from domain.entries import select_entries
from domain.errors import InvariantError, TransientError
from domain.ledger import Entry, Event, Link, as_stored, chain_entry, encode_time, link_of


class Journal:
    """Fulfils `domain.ports.Ledger` on one file; several processes may append."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self._clock = clock

    def append(self, event: Event) -> Entry:
        """Add one event. Effect: one line, on disk. Raises: TransientError where the disk does not take it."""
        with _disk(self.path), self._locked() as file:
            entries, size = read_lines(file)
            stored = as_stored(event)
            known = next((one for one in entries if stored.key is not None and one.event.key == stored.key), None)
            if known is not None:
                return known
            entry = chain_entry(entries[-1] if entries else None, self._clock(), stored)
            file.truncate(size)
            file.seek(size)
            file.write(encode_line(entry))
            file.flush()
            os.fsync(file.fileno())
            return entry

    def entries(
        self,
        *,
        kinds: Collection[str] = (),
        application: str = "",
        environment: str = "",
        release: str = "",
        run: str = "",
        after: int = 0,
        limit: int = 10_000,
        newest_first: bool = False,
    ) -> list[Entry]:
        """Read entries that match every filter given; a file that is not there has none."""
        return select_entries(
            self._read(),
            kinds=kinds,
            application=application,
            environment=environment,
            release=release,
            run=run,
            after=after,
            limit=limit,
            newest_first=newest_first,
        )

    def links(self) -> Generator[Link]:
        """Walk the whole file, oldest first."""
        yield from map(link_of, self._read())

    def _read(self) -> list[Entry]:
        try:
            with _disk(self.path), self.path.open("rb") as file:
                return read_lines(file)[0]
        except FileNotFoundError:
            return []

    @contextmanager
    def _locked(self) -> Generator[IO[bytes]]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if is_new:
                _keep_name(self.path.parent)
            yield file


def encode_line(entry: Entry) -> bytes:
    """Write an entry as one line."""
    value = {"seq": entry.seq, "at": encode_time(entry.at), **asdict(entry.event)}
    return (canonical_json({**value, "prev_hash": entry.prev_hash, "hash": entry.hash}) + "\n").encode()


def read_lines(file: IO[bytes]) -> tuple[list[Entry], int]:
    """Read the whole lines of a file; returns the entries and where the last whole line ends.

    Raises: InvariantError naming a line in the middle that is no entry.
    """
    content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    entries: list[Entry] = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            entries.append(_read_entry(json.loads(line)))
        except (ValueError, KeyError, TypeError) as exc:
            raise InvariantError(
                f"{getattr(file, 'name', 'The file')}, line {number}, is no entry. Compare it with a backup."
            ) from exc
    return entries, len(whole)


def _read_entry(value: dict[str, Any]) -> Entry:
    fields = ("kind", "application", "environment", "site", "release", "actor", "run", "key", "data")
    event = Event(**{name: value[name] for name in fields})
    return Entry(value["seq"], datetime.fromisoformat(value["at"]), event, value["prev_hash"], value["hash"])


def _keep_name(folder: Path) -> None:
    """Make a new file's name survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk(path: Path) -> Generator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise TransientError(
            f"{path} could not be read or written: {exc}. Free disk space, or run as its owner."
        ) from exc
