"""What is used up, of what, and how it was measured: what collecting brings in and what is kept of it.

Sources (`domain.ports.UsageSource`) read it, the store keeps it, `domain.forecast` continues it. A resource is named by
its metric, by whose it is and by its own name, so that the same disk is the same series whoever measures it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np

from domain.errors import ConfigError
from domain.series import Array, Kind, Remark, Times


class Metric(StrEnum):
    """What is measured. The value is the word in keys, tables and settings."""

    CPU = "cpu"
    MEMORY = "memory"
    GPU = "gpu"
    GPU_MEMORY = "gpu_memory"
    DISK = "disk"
    DATABASE = "database"
    TABLE = "table"
    BUCKET = "bucket"
    OBJECTS = "objects"
    VECTORS = "vectors"
    CONNECTIONS = "connections"
    QUEUE = "queue"
    REQUESTS = "requests"


UNITS: dict[Metric, str] = {
    Metric.CPU: "cores",
    Metric.MEMORY: "bytes",
    Metric.GPU: "ratio",
    Metric.GPU_MEMORY: "bytes",
    Metric.DISK: "bytes",
    Metric.DATABASE: "bytes",
    Metric.TABLE: "bytes",
    Metric.BUCKET: "bytes",
    Metric.OBJECTS: "objects",
    Metric.VECTORS: "bytes",
    Metric.CONNECTIONS: "connections",
    Metric.QUEUE: "items",
    Metric.REQUESTS: "requests/s",
}
"""One unit for each metric, whatever the source counts in: sources convert, nobody else."""

PILING = frozenset({Metric.DISK, Metric.DATABASE, Metric.TABLE, Metric.BUCKET, Metric.OBJECTS, Metric.VECTORS})


@dataclass(frozen=True, slots=True, order=True)
class Resource:
    """Something that can run out.

    Args:
        owner: whose it is: a machine, a node, an environment, a server.
        name: its own name there: a mount point, a database, a table, a bucket and prefix; empty where there is one.
    """

    metric: Metric
    owner: str
    name: str = ""

    @property
    def key(self) -> str:
        """One line that names it: `disk:db1:/var`."""
        return f"{self.metric}:{self.owner}:{self.name}"

    @property
    def unit(self) -> str:
        return UNITS[self.metric]

    @property
    def kind(self) -> Kind:
        return Kind.GROWTH if self.metric in PILING else Kind.USAGE

    @classmethod
    def parse(cls, key: str) -> "Resource":
        """Read a key back.

        Raises: ConfigError that lists the metrics there are.
        """
        metric, _, rest = key.partition(":")
        owner, separator, name = rest.partition(":")
        if metric not in set(Metric) or not owner or not separator:
            known = ", ".join(sorted(Metric))
            raise ConfigError(f"'{key[:80]}' names no resource. Write METRIC:OWNER:NAME, METRIC being one of {known}.")
        return cls(Metric(metric), owner, name)


def as_name(text: str) -> str:
    """A name of the outside world as it may stand in a key: on one line, in characters that records take, not too long.

    Two names that differ in their first 200 characters stay two.
    """
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text[:200])
    return shown.encode(errors="backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Measured:
    """Samples of one resource, in its unit; shape t each. A gap is no sample."""

    resource: Resource
    times: Times
    values: Array


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source gave for an interval; `problems` say what it could not, each with what to do about it."""

    measured: tuple[Measured, ...] = ()
    problems: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time, from `begin` on and before `end`; both aware, UTC, on whole minutes."""

    begin: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long each resolution is kept, in days."""

    raw_days: int = 7
    hour_days: int = 70
    day_days: int = 800


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch in which a source gave nothing, and why where that is known."""

    source: str
    interval: Interval
    reason: str


def plan_intervals(
    newest: datetime | None,
    *,
    now: datetime,
    reach_back: timedelta,
    longest: timedelta,
    freshest: timedelta = timedelta(minutes=10),
) -> tuple[Interval, ...]:
    """Plan what to ask a source for: from where it was last read to the last whole minute, in pieces.

    Args:
        newest: the end of what was read before; None for a source that is new.
        reach_back: how far back at most: what is older than that is a gap for good.
        longest: of one piece, so that a long absence is no huge answer.
        freshest: of the last piece after an absence: what sees the present only must not stand for more.
    """
    end = now.astimezone(UTC).replace(second=0, microsecond=0)
    if newest is not None and newest > end:
        newest = end - freshest  # the clock jumped back: see `doubt_clock`
    begin = max(newest or end - reach_back, end - reach_back)
    pieces: list[Interval] = []
    while begin < end:
        until = min(begin + longest, end)
        if until == end and end - begin > 1.5 * freshest:
            until = end - freshest
        pieces.append(Interval(begin, until))
        begin = until
    return tuple(pieces)


def doubt_clock(source: str, newest: datetime | None, *, now: datetime) -> Remark | None:
    """Tell a source that was read up to a moment still to come: a clock has jumped."""
    if newest is None or newest <= now:
        return None
    return Remark("usage.clock", {"source": source, "newest": f"{newest:%Y-%m-%d %H:%M}"})


def rates(times: Times, counts: Array) -> tuple[Times, Array, int]:
    """Turn a counter into a rate per second; a fall is a restart of its process, and what it counted since is new.

    Returns: the times at which each step ends, the rates (shape t - 1), and how many restarts there were. Steps of no
    time are left out.
    """
    if len(counts) < 2:
        return times[:0], counts[:0], 0
    seconds = np.diff(times.astype("datetime64[ms]").astype(np.int64)) / 1000.0
    steps = np.diff(counts)
    restarts = steps < 0
    steps = np.where(restarts, counts[1:], steps)
    usable = seconds > 0
    return times[1:][usable], steps[usable] / seconds[usable], int(restarts.sum())


def believable(measured: Measured, interval: Interval) -> tuple[Measured, tuple[Remark, ...]]:
    """Leave out what cannot be: outside the interval that was asked for, not finite, negative, twice; and say so."""
    values = measured.values.astype(float)
    times = measured.times.astype("datetime64[s]")
    inside = (times >= as_time(interval.begin)) & (times < as_time(interval.end))
    finite = np.isfinite(values)
    negative = finite & (values < 0)
    remarks: list[Remark] = []
    for count, key in ((int((~inside).sum()), "usage.outside"), (int(negative.sum()), "usage.negative")):
        if count:
            remarks.append(Remark(key, {"resource": measured.resource.key, "count": count}))
    keep = inside & finite & ~negative
    times, values = times[keep], values[keep]
    distinct, first = np.unique(times[::-1], return_index=True)  # of two at one time the later answer counts
    if twice := len(times) - len(distinct):
        remarks.append(Remark("usage.duplicates", {"resource": measured.resource.key, "count": twice}))
    return Measured(measured.resource, distinct, values[::-1][first]), tuple(remarks)


def as_time(moment: datetime) -> np.datetime64:
    """Write an aware moment as numpy does, in UTC."""
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "s")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A down-sampled stretch: when it began, and what its samples were."""

    begin: datetime
    mean: float
    maximum: float
    last: float
    count: int


def down_sample(times: Times, values: Array, *, step_s: int) -> list[Stretch]:
    """Sum samples up by stretches of `step_s` (an hour, a day); a stretch without a sample is not there."""
    if not len(values):
        return []
    order = np.argsort(times, kind="stable")
    slots = times[order].astype("datetime64[s]").astype(np.int64) // step_s
    values = values[order]
    begins = np.flatnonzero(np.r_[True, np.diff(slots) > 0])
    ends = np.r_[begins[1:], len(values)]
    return [
        Stretch(
            datetime.fromtimestamp(int(slots[begin]) * step_s, UTC),
            float(values[begin:end].mean()),
            float(values[begin:end].max()),
            float(values[end - 1]),
            int(end - begin),
        )
        for begin, end in zip(begins, ends, strict=True)
    ]


def find_gaps(read: Sequence[Interval], *, begin: datetime, end: datetime) -> list[Interval]:
    """Find what of a stretch no interval covers."""
    gaps: list[Interval] = []
    reached = begin
    for interval in sorted(read, key=lambda one: one.begin):
        if interval.begin > reached:
            gaps.append(Interval(reached, min(interval.begin, end)))
        reached = max(reached, interval.end)
    gaps.append(Interval(reached, end))
    return [gap for gap in gaps if gap.seconds > 0]
