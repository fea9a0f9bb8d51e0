"""A load balancer and its counters in memory: the twins of the Traefik adapters, for tests.

They keep the same promises about shares, refusals and counting; requests are told to them instead of sent.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from domain.errors import TransientError
from domain.release import short
from domain.service import Arm, check_arms
from domain.traffic import Counters

BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, math.inf)


@dataclass(slots=True)
class MemoryBalancer:
    """Fulfils `domain.ports.Balancer`. `is_away` makes every call a `TransientError`."""

    url: str = "http://127.0.0.1:1"
    is_away: bool = False
    _arms: dict[str, tuple[Arm, ...]] = field(default_factory=dict[str, tuple[Arm, ...]])
    _due: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))

    def route(self, application: str, arms: Sequence[Arm]) -> None:
        check_arms(arms)
        self._refuse_when_away()
        self._arms[application] = tuple(sorted(arms, key=lambda arm: (-arm.weight_percent, arm.release)))

    def routes(self, application: str) -> list[Arm]:
        self._refuse_when_away()
        return list(self._arms.get(application, ()))

    def entry(self, application: str) -> tuple[str, str]:
        return self.url, f"{application}.localhost"

    def send(self, application: str, *, times: int = 1) -> Counter[str]:
        """Send requests through it: who would have answered how many, by digest, as evenly as shares allow."""
        answered: Counter[str] = Counter()
        arms = [arm for arm in self._arms.get(application, ()) if arm.weight_percent]
        for _ in range(times if arms else 0):
            for arm in arms:
                self._due[application, arm.release] += arm.weight_percent / 100
            chosen = max(arms, key=lambda arm: self._due[application, arm.release]).release
            self._due[application, chosen] -= 1
            answered[chosen] += 1
        return answered

    def _refuse_when_away(self) -> None:
        if self.is_away:
            raise TransientError("The load balancer does not answer. Start it.")


@dataclass(slots=True)
class MemoryMetrics:
    """Fulfils `domain.ports.TrafficMetrics`; `observe` feeds it. `is_away` makes every reading a `TransientError`."""

    is_away: bool = False
    _counters: dict[str, dict[str, Counters]] = field(default_factory=lambda: defaultdict(dict))

    def read(self, application: str) -> dict[str, Counters]:
        if self.is_away:
            raise TransientError("The load balancer does not answer. Start it.")
        return dict(self._counters[application])

    def observe(
        self, application: str, release: str, *, status: int = 200, seconds: float = 0.004, times: int = 1
    ) -> None:
        """Count some answers of a release; the time of the reading is now."""
        none = Counters(at=datetime.now(UTC), requests=0, failures=0, buckets=(0,) * len(BOUNDS_S))
        before = self._counters[application].get(short(release), none)
        self._counters[application][short(release)] = Counters(
            at=datetime.now(UTC),
            requests=before.requests + times,
            failures=before.failures + (times if status >= 500 else 0),
            bounds_s=BOUNDS_S,
            buckets=tuple(
                count + (times if seconds <= bound else 0)
                for bound, count in zip(BOUNDS_S, before.buckets, strict=True)
            ),
        )

    def restart(self) -> None:
        """Forget all counts, as a load balancer does that starts anew."""
        self._counters.clear()
