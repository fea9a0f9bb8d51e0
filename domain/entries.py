"""Choosing entries of a ledger: the filters that every ledger offers, for those that keep their entries in a list."""

from collections.abc import Collection, Iterable

from domain.ledger import Entry


def select_entries(
    entries: Iterable[Entry],
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
    """Keep the entries that match every filter given; `entries` are oldest first."""
    found = [
        entry
        for entry in entries
        if entry.seq > after
        and (not kinds or entry.kind in kinds)
        and application in ("", entry.event.application)
        and environment in ("", entry.event.environment)
        and release in ("", entry.event.release)
        and run in ("", entry.event.run)
    ]
    return (found[::-1] if newest_first else found)[:limit]
