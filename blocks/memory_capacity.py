"""What stands around forecasts, in memory: the twins of the store of outlooks, of clean-ups, queries and reports."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain.advice import Earlier
from domain.alerting import Alert
from domain.capacity import CapacityPlan
from domain.outlook import Outlook
from domain.ports_capacity import HeavyQuery
from domain.usage import Resource


class MemoryOutlookStore:
    """Fulfils `domain.ports_capacity.OutlookStore`."""

    def __init__(self) -> None:
        self._newest: list[Outlook] = []
        self._runs: dict[str, list[Outlook]] = {}
        self._alerts: dict[Resource, Alert] = {}

    def keep(self, run: str, outlooks: Sequence[Outlook]) -> None:
        self._newest = list(outlooks)
        self._runs[run] = [one for one in outlooks if one.advice]

    def newest(self) -> list[Outlook]:
        return list(self._newest)

    def earlier(self, *, run: str, since: datetime) -> dict[tuple[str, str], list[Earlier]]:
        found: defaultdict[tuple[str, str], list[Earlier]] = defaultdict(list)
        for one in self._advised(since, without=run):
            assert one.advice
            found[one.resource.key, one.advice.what].append(Earlier(one.at, one.advice.wanted))
        return dict(found)

    def _advised(self, since: datetime, *, without: str = "") -> list[Outlook]:
        found = [one for run, kept in self._runs.items() if run != without for one in kept if one.at >= since]
        return sorted(found, key=lambda one: one.at)

    def alerts(self) -> list[Alert]:
        return sorted(self._alerts.values(), key=lambda one: one.resource.key)

    def open_alert(self, resource: Resource, *, at: datetime) -> None:
        self._alerts.setdefault(resource, Alert(resource, at, is_told=False))

    def mark_told(self, resource: Resource) -> None:
        if resource in self._alerts:
            self._alerts[resource] = replace(self._alerts[resource], is_told=True)

    def close_alert(self, resource: Resource) -> None:
        self._alerts.pop(resource, None)

    def prune(self, *, before: datetime) -> int:
        old = {run: [one for one in kept if one.at < before] for run, kept in self._runs.items()}
        self._runs = {run: [one for one in kept if one.at >= before] for run, kept in self._runs.items()}
        return sum(len(kept) for kept in old.values())


@dataclass(slots=True)
class MemoryCapacityFile:
    """The settings about capacity, as a test sets them."""

    plan: CapacityPlan = field(default_factory=CapacityPlan)

    def read(self) -> CapacityPlan:
        return self.plan


@dataclass(slots=True)
class MemoryHeavyQueries:
    """Fulfils `domain.ports_capacity.HeavyQueries`: what it is given of each server."""

    queries: dict[str, list[HeavyQuery]] = field(default_factory=dict[str, list[HeavyQuery]])

    def heaviest(self, server: str, *, limit: int) -> list[HeavyQuery]:
        return self.queries.get(server, [])[:limit]


@dataclass(slots=True)
class MemoryReports:
    """Fulfils `domain.ports_capacity.Reports`."""

    written: dict[str, str] = field(default_factory=dict[str, str])

    def write(self, name: str, text: str) -> str:
        self.written[name] = text
        return f"memory/{name}"
