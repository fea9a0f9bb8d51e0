"""The ledger in memory: the twin of `blocks/ledger_postgres.py`, held to the same contract suite."""

from collections.abc import Callable, Collection, Generator
from datetime import UTC, datetime

from domain.entries import select_entries
from domain.ledger import Entry, Event, Link, as_stored, chain_entry, link_of


class MemoryLedger:
    """Fulfils `domain.ports.Ledger` for tests; `clock` gives aware UTC times."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._entries: list[Entry] = []

    def append(self, event: Event) -> Entry:
        stored = as_stored(event)
        known = next(
            (entry for entry in self._entries if stored.key is not None and entry.event.key == stored.key), None
        )
        if known is not None:
            return known
        entry = chain_entry(self._entries[-1] if self._entries else None, self._clock(), stored)
        self._entries.append(entry)
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
        return select_entries(
            self._entries,
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
        yield from map(link_of, self._entries)
