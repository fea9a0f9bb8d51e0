"""Which things of a kind expired: by age, past the newest ones, and never what is in use."""

from collections.abc import Sequence
from datetime import datetime

from domain.cleanup import Preview
from domain.ports_cleanup import Expirable

SAMPLE = 5


def choose_expired(items: Sequence[Expirable], *, cutoff: datetime, keep_newest: int) -> list[Expirable]:
    """Choose what may go, oldest first: older than the cut-off, not among the newest, not protected."""
    by_age = sorted(items, key=lambda one: (one.at, one.key))
    candidates = by_age[: len(by_age) - keep_newest] if keep_newest else by_age
    return [one for one in candidates if one.at < cutoff and not one.protected]


def preview_items(items: Sequence[Expirable], chosen: Sequence[Expirable], *, cutoff: datetime) -> Preview:
    """Count what would go, as a preview like that of a table. Protected things that are old count as held."""
    return Preview(
        method="items",
        rows=len(chosen),
        size_bytes=sum(one.size_bytes for one in chosen),
        total_rows=len(items),
        oldest=chosen[0].at.isoformat() if chosen else "",
        newest=chosen[-1].at.isoformat() if chosen else "",
        sample=tuple(one.key[:120] for one in chosen[:SAMPLE]),
        held_rows=sum(1 for one in items if one.protected and one.at < cutoff),
    )
