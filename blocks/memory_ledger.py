"""The ledger in memory: the twin of `blocks/ledger_postgres.py`, held to the same contract suite."""

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime

from domain.canonical import canonical_json
from domain.ledger import Entry, Event, chain_entry


class MemoryLedger:
    """Fulfils `domain.ports.Ledger` for tests; `clock` gives aware UTC times."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._entries: list[Entry] = []

    def append(self, event: Event) -> Entry:
        known = next((entry for entry in self._entries if event.key is not None and entry.event.key == event.key), None)
        if known is not None:
            return known
        stored = replace(event, data=json.loads(canonical_json(event.data)))
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
        found = [
            entry
            for entry in self._entries
            if entry.seq > after
            and (not kinds or entry.kind in kinds)
            and application in ("", entry.event.application)
            and environment in ("", entry.event.environment)
            and release in ("", entry.event.release)
            and run in ("", entry.event.run)
        ]
        return (found[::-1] if newest_first else found)[:limit]
