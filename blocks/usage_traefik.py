"""Requests of each service at the load balancers of one environment, from what Traefik counts.

Traefik counts since its start, so a rate takes two looks: the earlier one rests in a file of the state folder. Requests
of all releases of an application, on all sites, are added up: that is the load which its instances carry.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from blocks.installation import write_private
from blocks.traefik_api import TraefikApi
from blocks.traefik_config import application_of
from domain.errors import TransientError
from domain.limits import Limit
from domain.series import Remark
from domain.usage import Interval, Measured, Metric, Reading, Resource, as_time

PRESENT_S = 150
LOOKS_KEPT = 12
LOOK_AGE_MAX = timedelta(hours=1)
LOOK_AGE_MIN = timedelta(seconds=10)

_LINE = re.compile(r"traefik_service_requests_total\{(.*)\} ([0-9.e+]+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Counts = dict[str, float]


class TraefikUsage:
    """Fulfils `domain.ports.UsageSource` for the load balancers of one environment.

    Args:
        environment: its name in keys.
        sites: the load balancer of each site; all have to answer, half of the load would be a false fall.
        memory: the file with what was counted at earlier looks.
    """

    def __init__(self, environment: str, sites: Sequence[TraefikApi], memory: Path) -> None:
        self._environment, self._sites, self._memory = environment, sites, memory

    @property
    def name(self) -> str:
        return f"traefik:{self._environment}"

    def read(self, interval: Interval) -> Reading:
        """The mean rate of each service since the look before this interval's end; nothing at the very first.

        Effect: notes what was counted. Asked again for the same interval, it starts from the same look.
        Raises: TransientError where a load balancer does not answer.
        """
        now = datetime.now(UTC)
        if now - interval.end > timedelta(seconds=PRESENT_S):
            return Reading()
        counted: Counts = {}
        for site in self._sites:
            counted |= {f"{site.place} {service}": value for service, value in _counts(site).items()}
        looks = self._looks()
        self._remember([*looks, {"at": now.timestamp(), "counts": counted}])
        before = [look for look in looks if look["at"] < min(interval.end, now - LOOK_AGE_MIN).timestamp()]
        if not before or now.timestamp() - before[-1]["at"] > LOOK_AGE_MAX.total_seconds():
            return Reading()
        return self._rates(before[-1], counted, now=now, at=as_time(interval.end - timedelta(seconds=1)))

    def limits(self) -> list[Limit]:
        """None: what an instance carries is set under `services` of capacity.yaml."""
        return []

    def _rates(self, before: Mapping[str, Any], counted: Counts, *, now: datetime, at: np.datetime64) -> Reading:
        seconds = now.timestamp() - before["at"]
        totals: defaultdict[str, float] = defaultdict(float)
        restarts: defaultdict[str, int] = defaultdict(int)
        for key, value in counted.items():
            name = _name_of(key.partition(" ")[2])
            earlier = before["counts"].get(key, 0.0)
            restarts[name] += value < earlier
            totals[name] += value - earlier if value >= earlier else value
        measured = tuple(
            Measured(Resource(Metric.REQUESTS, self._environment, name), np.array([at]), np.array([total / seconds]))
            for name, total in sorted(totals.items())
        )
        keys = {name: Resource(Metric.REQUESTS, self._environment, name).key for name in totals}
        problems = [Remark("usage.restarts", {"resource": keys[n], "count": c}) for n, c in restarts.items() if c]
        return Reading(measured, tuple(problems))

    def _looks(self) -> list[dict[str, Any]]:
        """Earlier looks, oldest first; a file that can't be read is none: the next look has one again."""
        try:
            return list(json.loads(self._memory.read_text()))
        except (OSError, ValueError):
            return []

    def _remember(self, looks: Sequence[Mapping[str, Any]]) -> None:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        write_private(self._memory, json.dumps(list(looks)[-LOOKS_KEPT:]))


def _counts(site: TraefikApi) -> Counts:
    """Requests by service since the start, over methods, protocols and codes."""
    page = site.read_text("/metrics")
    if page is None:
        raise TransientError(f"Traefik of {site.place} has no metrics page. Run `slipway up`, which configures it.")
    sums: defaultdict[str, float] = defaultdict(float)
    for line in page.splitlines():
        if found := _LINE.match(line):
            labels = dict(_LABEL.findall(found[1]))
            sums[labels.get("service", "")] += float(found[2])
    return {service: value for service, value in sums.items() if service}


def _name_of(service: str) -> str:
    return application_of(service) or service.partition("@")[0]
