"""When somebody is told that something runs out: once when it comes nearer than its lead time, once when it went.

Called by `capacity` with what it found and with what is open. Between opening and closing lies a margin, so that a date
that wavers around the lead time tells nobody twice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.outlook import Outlook
from domain.usage import Resource

CHANCE_OPEN, CHANCE_CLOSE = 0.5, 0.3
MARGIN = 1.25


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it is kept; one that is closed is not kept."""

    resource: Resource
    opened_at: datetime
    is_told: bool
    """Whether the message got out."""


@dataclass(frozen=True, slots=True)
class Alarms:
    """What to open and what to close, by resource."""

    opening: tuple[Outlook, ...]
    closing: tuple[Outlook, ...]


def plan_alarms(outlooks: Sequence[Outlook], opened: Collection[Resource]) -> Alarms:
    """Plan which alerts open and close; what can't be told now (no forecast, no limit) stays as it is."""
    return Alarms(
        tuple(one for one in outlooks if one.resource not in opened and is_near(one)),
        tuple(one for one in outlooks if one.resource in opened and is_far(one)),
    )


def is_near(outlook: Outlook) -> bool:
    """Whether a crossing is nearer than its lead time; for load without a date, whether it is likelier than not."""
    if outlook.limit is None or outlook.probability is None:
        return False
    if outlook.days_left is not None:
        return outlook.days_left <= outlook.limit.lead_days
    return outlook.resource.kind == "usage" and outlook.probability >= CHANCE_OPEN


def is_far(outlook: Outlook) -> bool:
    """Whether a crossing lies clearly beyond its lead time again."""
    if outlook.limit is None or outlook.probability is None:
        return False
    if outlook.days_left is not None:
        return outlook.days_left > outlook.limit.lead_days * MARGIN + 1
    return outlook.resource.kind != "usage" or outlook.probability < CHANCE_CLOSE
