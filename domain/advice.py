"""What to do about capacity: out, up, down, or clean up instead; how much, why, and when to believe it.

Called by the `capacity` flow with usage, forecast and limit of one resource. Every advice holds the parameters that
`scale` takes. Formulae are those of the Kubernetes Vertical Pod Autoscaler (requests), the Horizontal Pod Autoscaler
(instances) and of site capacity planning (spare zones); docs/explanation/how-capacity-is-advised.md names them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np

from domain.errors import ConfigError
from domain.series import Array, Remark

MARGIN = 1.15
CPU_PERCENTILE, MEMORY_PERCENTILE, LOAD_PERCENTILE = 90.0, 98.0, 95.0
HALF_LIFE_S = 86_400.0
OOM_FACTOR, OOM_BYTES = 1.2, 100 * 1024.0**2
CHANGE_MIN = 0.10
RUNS_STABLE = 2
DOWN_AFTER = timedelta(days=3)
INSTANCES_MIN = 2
TOLERANCE = 0.10
TARGET_MIN, TARGET_MAX = 0.4, 0.8
IDLE_RATIO, OVERSIZED_RATIO = 0.05, 0.4
HEADROOM_DAYS = 90


class Move(StrEnum):
    """Which way."""

    OUT = "out"
    UP = "up"
    DOWN = "down"
    CLEAN_UP = "clean_up"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Advice:
    """One advice on one resource.

    Args:
        resource: its key.
        what: what is changed: `instances`, `cpu_request_cores`, `memory_limit_bytes`, `disk_size_bytes`, ….
        now, wanted: how much of that there is, and should be.
        reason: in a sentence.
        cost_per_month: what the change costs, below 0 what it saves; None without a price.
        parameters: what `scale` takes to do it; empty where a person has to.
    """

    resource: str
    move: Move
    what: str
    now: float
    wanted: float
    reason: Remark
    cost_per_month: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def change_ratio(self) -> float:
        """How much it changes, of what there is."""
        return abs(self.wanted - self.now) / self.now if self.now else math.inf


def decayed_percentile(values: Array, ages_s: Array, percentile: float, *, weights: Array | None = None) -> float:
    """A percentile in which a sample counts half for each day of its age.

    Args:
        values, ages_s: shape t, at least one; ages in seconds.
        weights: besides age; CPU samples are weighed by themselves, as busy seconds matter more than idle ones.
    """
    if not len(values):
        raise ConfigError("There are no samples to advise from. Collect usage first.")
    weight = 0.5 ** (ages_s / HALF_LIFE_S) * (1.0 if weights is None else weights)
    if not weight.sum() > 0:
        return float(values.max())
    order = np.argsort(values, kind="stable")
    share = weight[order].cumsum() / weight.sum()
    return float(values[order][np.searchsorted(share, percentile / 100 - 1e-12)])


def cpu_request_cores(values: Array, ages_s: Array, *, peak_forecast: float | None = None) -> float:
    """Request 15 % above the decayed, load-weighted 90th percentile, lifted by the peak to come over today's."""
    base = decayed_percentile(values, ages_s, CPU_PERCENTILE, weights=np.maximum(values, 1e-9))
    return MARGIN * base * _lift(float(values.max()), peak_forecast)


def _lift(peak: float, peak_forecast: float | None) -> float:
    return max(1.0, peak_forecast / peak) if peak_forecast is not None and peak > 0 else 1.0


def memory_request_bytes(
    values: Array, *, peak_forecast: float | None = None, killed_at_bytes: float | None = None
) -> float:
    """Request 15 % above the 98th percentile or the peak to come; after a kill for want of memory, above that."""
    wanted = MARGIN * max(float(np.percentile(values, MEMORY_PERCENTILE)), peak_forecast or 0.0)
    if killed_at_bytes is not None:
        wanted = max(wanted, killed_at_bytes * OOM_FACTOR, killed_at_bytes + OOM_BYTES)
    return wanted


def instances_for(load: float, *, capacity: float, target_ratio: float, zones: int = 1) -> int:
    """Instances that carry a load at a target share of their capacity, also without one of the zones."""
    if capacity <= 0 or not 0 < target_ratio <= 1 or zones < 1:
        raise ConfigError("Capacity must be above 0, the target a share up to 1, and zones at least 1.")
    needed = math.ceil(load / (target_ratio * capacity) - 1e-9)
    return math.ceil(needed * zones / (zones - 1) - 1e-9) if zones > 1 else needed


def autoscaler_bounds(
    load: Array, *, capacity: float, target_ratio: float, zones: int = 1, peak_forecast: float | None = None
) -> tuple[int, int]:
    """Least and most instances for an autoscaler: from the trough of the load, and from its peak.

    Args:
        load: in the unit of `capacity`, such as requests per second; shape t.
        peak_forecast: the upper bound of what is to come.
    """
    peak = max(float(np.percentile(load, LOAD_PERCENTILE)), peak_forecast or 0.0)
    trough = float(np.percentile(load, 100 - LOAD_PERCENTILE))
    most = instances_for(peak, capacity=capacity, target_ratio=target_ratio, zones=zones)
    least = max(INSTANCES_MIN, instances_for(trough, capacity=capacity, target_ratio=target_ratio, zones=zones))
    return least, max(least, most)


def autoscaler_target(load: Array, *, step_s: float, startup_s: float, ahead: Array | None = None) -> float:
    """The share of capacity to work at, so that an instance has started before the steepest rise overruns the rest.

    Args:
        load: what was, by steps; `ahead`: what is expected; the steeper rise of both counts.
    """
    rises = np.concatenate([np.diff(load), np.diff(load[:0] if ahead is None else ahead)]) / step_s
    steepest = float(rises.max(initial=0.0))
    level = float(np.percentile(load, LOAD_PERCENTILE))
    if level <= 0:
        return TARGET_MAX
    return min(TARGET_MAX, max(TARGET_MIN, 1 - startup_s * steepest / level))


def follow_load(
    instances: int, *, used_ratio: float, target_ratio: float, least: int, most: int, recent: Sequence[int] = ()
) -> int:
    """How many instances there should be now: proportional, inside a tolerance unchanged, down only when it lasts.

    Args:
        used_ratio: of the capacity of the instances there are.
        recent: what was wanted at the looks within the scale-down window; the largest of them counts for going down.
    """
    ratio = used_ratio / target_ratio
    wanted = instances if abs(ratio - 1) <= TOLERANCE else math.ceil(instances * ratio - 1e-9)
    wanted = min(max(wanted, least), most)
    if wanted < instances:
        wanted = min(instances, max([wanted, *recent]))
    return min(max(wanted, least), most)


def wanted_size(upper: Array, *, threshold_ratio: float) -> float:
    """A size at which the upper bound of what is to come stays below the threshold, rounded up to two digits."""
    needed = float(upper.max()) / threshold_ratio
    if needed <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(needed)) - 1)
    return math.ceil(needed / unit - 1e-9) * unit


@dataclass(frozen=True, slots=True)
class CleanUp:
    """What a clean-up policy would free of a resource."""

    policy: str
    frees: float


def advise_storage(
    resource: str,
    *,
    size: float,
    upper: Array,
    threshold_ratio: float,
    days_left: float | None,
    lead_days: float,
    clean_ups: Sequence[CleanUp] = (),
    price_per_month: float | None = None,
) -> Advice:
    """Advise on what piles up: clean up where that is enough, else a larger size, or nothing.

    Args:
        upper: the forecast's upper bound over the next quarter, in the unit of `size`.
        days_left: to the threshold, by the median; None where it is not reached.
        price_per_month: of one unit of size.
    """
    needed = wanted_size(upper, threshold_ratio=threshold_ratio)
    values: dict[str, Any] = {"resource": resource, "size": size, "wanted": needed, "days": HEADROOM_DAYS}
    if needed <= size:
        if needed < OVERSIZED_RATIO * size:
            cost = (needed - size) * price_per_month if price_per_month is not None else None
            return Advice(resource, Move.DOWN, "size", size, needed, Remark("advice.oversized", values), cost)
        return Advice(resource, Move.KEEP, "size", size, size, Remark("advice.enough", values))
    when = "advice.soon" if days_left is not None and days_left <= lead_days else "advice.later"
    best = max(clean_ups, key=lambda one: one.frees, default=None)
    if best is not None and wanted_size(upper - best.frees, threshold_ratio=threshold_ratio) <= size:
        told = values | {"policy": best.policy, "frees": best.frees}
        parameters = {"policy": best.policy}
        return Advice(resource, Move.CLEAN_UP, "size", size, size, Remark("advice.clean_up", told), 0.0, parameters)
    cost = (needed - size) * price_per_month if price_per_month is not None else None
    told = values | {"left": -1 if days_left is None else round(days_left), "lead": lead_days}
    return Advice(resource, Move.UP, "size", size, needed, Remark(when, told), cost, {"size": needed})


def judge_waste(values: Array, *, limit: float) -> Remark | None:
    """Tell what is idle or far too large by its 98th percentile over the whole stretch given."""
    used = float(np.percentile(values, MEMORY_PERCENTILE)) / limit
    if used < IDLE_RATIO:
        return Remark("advice.idle", {"percent": 100 * used})
    if used < OVERSIZED_RATIO:
        return Remark("advice.hardly_used", {"percent": 100 * used})
    return None


@dataclass(frozen=True, slots=True)
class Earlier:
    """An advice of an earlier run on the same resource and thing."""

    at: datetime
    wanted: float


def is_settled(advice: Advice, earlier: Sequence[Earlier], *, now: datetime) -> bool:
    """Whether to give an advice: more than 10 % of a change, wanted by two runs; down only after the most of 3 days.

    Args:
        earlier: of the same resource and thing, newest last.
    """
    if advice.move is Move.KEEP or (advice.change_ratio <= CHANGE_MIN and advice.move is not Move.CLEAN_UP):
        return False
    agreeing = [one for one in earlier if (one.wanted > advice.now) == (advice.wanted > advice.now)]
    if advice.move is Move.DOWN:
        recent = [one for one in earlier if one.at >= now - DOWN_AFTER]
        lasted = any(one.at <= now - DOWN_AFTER for one in earlier)
        return lasted and all(one.wanted < advice.now * (1 - CHANGE_MIN) for one in recent)
    return len(agreeing) + 1 >= RUNS_STABLE or advice.wanted >= advice.now * 2
