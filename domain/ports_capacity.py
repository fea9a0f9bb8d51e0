"""The roles around forecasts: who keeps outlooks, advice and alerts, what could be freed, what weighs on a database.

As `domain.ports`; a module of its own, since these belong together. Twins in `blocks/memory_capacity.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.advice import Earlier
from domain.alerting import Alert
from domain.capacity import CapacityPlan
from domain.outlook import Outlook
from domain.usage import Resource


class OutlookStore(Protocol):
    """Keeps what the newest forecast said of each resource, every advice for a time, and the alerts that are open."""

    def keep(self, run: str, outlooks: Sequence[Outlook]) -> None:
        """Replace the outlooks by those of a run, and add its advice; the same run again replaces its own."""
        ...

    def newest(self) -> list[Outlook]:
        """The outlooks of the newest run, in their order, with bands; [] before the first."""
        ...

    def earlier(self, *, run: str, since: datetime) -> dict[tuple[str, str], list[Earlier]]:
        """What other runs advised since a moment, by resource's key and what is changed, oldest first."""
        ...

    def alerts(self) -> list[Alert]:
        """The alerts that are open."""
        ...

    def open_alert(self, resource: Resource, *, at: datetime) -> None:
        """Open an alert that nobody was told of yet; one that is open stays as it is."""
        ...

    def mark_told(self, resource: Resource) -> None:
        """Note that people were told of an open alert."""
        ...

    def close_alert(self, resource: Resource) -> None: ...

    def prune(self, *, before: datetime) -> int:
        """Forget advice from before a moment; returns how much went."""
        ...


class CapacitySettings(Protocol):
    """What a team set about capacity."""

    def read(self) -> CapacityPlan:
        """Read it afresh. Raises: ConfigError naming each thing that is wrong."""
        ...


@dataclass(frozen=True, slots=True)
class HeavyQuery:
    """A query by its share of a database server's time; its text has no values, and is cut."""

    database: str
    text: str
    calls: int
    total_s: float
    share_ratio: float


class HeavyQueries(Protocol):
    """Knows what weighs on database servers."""

    def heaviest(self, server: str, *, limit: int) -> list[HeavyQuery]:
        """The queries that took most of a server's time, heaviest first; [] where nobody counts them.

        Args:
            server: the owner of its resources, as `capacity.yaml` names it; [] for one that it doesn't name.

        Raises: TransientError where the server does not answer, ConfigError where it can't be asked."""
        ...


class Reports(Protocol):
    """Keeps reports as files that can be mailed."""

    def write(self, name: str, text: str) -> str:
        """Keep a report under a name (a file name without a folder), whole or not at all; returns where it is."""
        ...
