"""Usage in memory: the twin of `PostgresUsageStore`."""

from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from domain.series import DAY_S, HOUR_S, Kind, Series
from domain.usage import Gap, Interval, Keeping, Reading, Resource, Stretch, as_time, down_sample, find_gaps


class MemoryUsageStore:
    """Fulfils `domain.ports.UsageStore`."""

    def __init__(self) -> None:
        self._samples: dict[Resource, dict[datetime, float]] = {}
        self._sources: dict[Resource, str] = {}
        self._stretches: defaultdict[int, dict[Resource, dict[datetime, Stretch]]] = defaultdict(dict)
        self._readings: dict[tuple[str, datetime], tuple[datetime, str]] = {}

    def record(self, source: str, interval: Interval, reading: Reading) -> None:
        for one in reading.measured:
            self._sources[one.resource] = source
            self._samples.setdefault(one.resource, {})
        for resource in (known for known, of in self._sources.items() if of == source):
            kept = self._samples[resource]
            for at in [at for at in kept if interval.begin <= at < interval.end]:
                del kept[at]
        for one in reading.measured:
            times = [at.replace(tzinfo=UTC) for at in one.times.astype("datetime64[s]").tolist()]
            self._samples[one.resource].update(zip(times, one.values.tolist(), strict=True))
        self._note(source, interval, "")
        for resource in (known for known, of in self._sources.items() if of == source):
            self._sum_up(resource, interval)

    def _sum_up(self, resource: Resource, interval: Interval) -> None:
        for step_s in (HOUR_S, DAY_S):
            kept = self._stretches[step_s].setdefault(resource, {})
            begin = int(interval.begin.timestamp()) // step_s * step_s
            end = -(-int(interval.end.timestamp()) // step_s) * step_s
            touched = {at: v for at, v in self._samples[resource].items() if begin <= at.timestamp() < end}
            for at in [at for at in kept if begin <= at.timestamp() < end]:
                del kept[at]
            times = np.array([as_time(at) for at in touched], dtype="datetime64[s]")
            for stretch in down_sample(times, np.array(list(touched.values())), step_s=step_s):
                kept[stretch.begin] = stretch

    def _note(self, source: str, interval: Interval, failure: str) -> None:
        end, before = self._readings.get((source, interval.begin), (interval.end, failure))
        if not failure or before:
            self._readings[source, interval.begin] = (max(end, interval.end), failure)

    def fail(self, source: str, interval: Interval, reason: str) -> None:
        self._note(source, interval, reason or "unknown")

    def newest(self, source: str) -> datetime | None:
        return max((end for (of, _), (end, why) in self._readings.items() if of == source and not why), default=None)

    def resources(self) -> list[Resource]:
        return sorted(self._samples, key=lambda resource: resource.key)

    def series(self, *, step_s: int, resources: Collection[Resource] | None = None) -> list[Series]:
        return [
            self._series(resource, step_s)
            for resource in self.resources()
            if (resources is None or resource in resources) and self._stretches[step_s].get(resource)
        ]

    def _series(self, resource: Resource, step_s: int) -> Series:
        stretches = [stretch for _, stretch in sorted(self._stretches[step_s][resource].items())]
        values = [one.mean if resource.kind is Kind.USAGE else one.last for one in stretches]
        times = np.array([as_time(one.begin) for one in stretches], dtype="datetime64[s]")
        return Series(resource.key, times, np.array(values), resource.unit, resource.kind, step_s)

    def gaps(self, source: str, *, begin: datetime, end: datetime) -> list[Gap]:
        known = [(Interval(at, until), why) for (of, at), (until, why) in self._readings.items() if of == source]
        gaps = find_gaps([one for one, why in known if not why], begin=begin, end=end)
        failed = [(one, why) for one, why in known if why]
        return [
            Gap(source, gap, next((why for of, why in failed if of.begin < gap.end and of.end > gap.begin), ""))
            for gap in gaps
        ]

    def prune(self, keeping: Keeping, *, now: datetime) -> int:
        gone = 0
        for kept in self._samples.values():
            gone += _forget(kept, now - timedelta(days=keeping.raw_days))
        for step_s, days in ((HOUR_S, keeping.hour_days), (DAY_S, keeping.day_days)):
            for stretches in self._stretches[step_s].values():
                gone += _forget(stretches, now - timedelta(days=days))
        oldest = now - timedelta(days=keeping.day_days)
        for key in [key for key, (end, _) in self._readings.items() if end < oldest]:
            del self._readings[key]
            gone += 1
        return gone


def _forget(kept: dict[datetime, Any], oldest: datetime) -> int:
    old = [at for at in kept if at < oldest]
    for at in old:
        del kept[at]
    return len(old)
