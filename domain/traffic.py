"""Traffic as counted: cumulative counters of one release on one site, and what happened between two readings.

Read by adapters of the `TrafficMetrics` port, judged by `domain/judgement.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Counters:
    """Cumulative counts since the load balancer started; they fall to zero when it restarts.

    `failures` are answers of 500 and above, those that the load balancer gave itself included. `buckets` are
    cumulative counts of answers not slower than `bounds_s[i]` seconds, the last bound being infinity.
    """

    at: datetime
    requests: int
    failures: int
    bounds_s: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What every release's counters said at one moment, by the first 12 digits of the digest."""

    at: datetime
    counters: Mapping[str, Counters]


@dataclass(frozen=True, slots=True)
class Window:
    """What one release answered between two readings.

    `buckets[i]` counts answers in (bounds_s[i-1], bounds_s[i]]: not cumulative. `start_s` and `end_s` count from the
    beginning of the watch.
    """

    start_s: float
    end_s: float
    requests: int
    failures: int
    bounds_s: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()


def window_between(earlier: Counters | None, later: Counters, *, epoch: datetime) -> Window:
    """Subtract two readings; after a restart of the counter (a value fell) the later reading itself is the difference.

    Args:
        earlier: the reading before, or None where the release had answered nothing yet.
        later: the newer reading.
        epoch: the beginning of the watch, from which `start_s` and `end_s` count.
    """
    restarted = earlier is None or later.requests < earlier.requests or later.failures < earlier.failures
    base = None if restarted else earlier
    cumulative = [
        count - (base.buckets[index] if base and base.bounds_s == later.bounds_s else 0)
        for index, count in enumerate(later.buckets)
    ]
    return Window(
        start_s=((earlier.at if earlier else later.at) - epoch).total_seconds(),
        end_s=(later.at - epoch).total_seconds(),
        requests=later.requests - (base.requests if base else 0),
        failures=later.failures - (base.failures if base else 0),
        bounds_s=later.bounds_s,
        buckets=_per_bucket(cumulative),
    )


def _per_bucket(cumulative: Sequence[int]) -> tuple[int, ...]:
    previous = 0
    counts: list[int] = []
    for count in cumulative:
        counts.append(max(0, count - previous))
        previous = max(previous, count)
    return tuple(counts)
