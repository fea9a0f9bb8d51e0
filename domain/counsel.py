"""Which advice a resource gets: the formulae of `domain.advice` applied to what is known of it.

Called by `domain.outlook`. What `scale` can do carries its parameters; what a person has to do carries none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from domain.advice import (
    HEADROOM_DAYS,
    Advice,
    CleanUp,
    Move,
    advise_storage,
    autoscaler_bounds,
    autoscaler_target,
    cpu_request_cores,
    judge_waste,
    memory_request_bytes,
)
from domain.capacity import CapacityPlan, ServiceRule
from domain.cost import price_of_instance
from domain.forecast import Forecast
from domain.limits import Limit
from domain.series import Array, Remark
from domain.usage import Metric, Resource

INSTANCES_MAX = 64
MEMORY_BYTES_MIN = 32 * 2**20
"""What `scale` takes at most and at least."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What there is to advise on."""

    resource: Resource
    used: float
    limit: Limit | None
    ahead: Forecast
    days_left: float | None
    clean_ups: tuple[CleanUp, ...]
    plan: CapacityPlan
    instances: Mapping[tuple[str, str], int]


def advise(subject: Subject) -> Advice | None:
    """Advise on one resource; None where nothing is known to advise from."""
    service = subject.plan.service_of(subject.resource)
    if service is not None and subject.resource.metric is Metric.REQUESTS:
        return _advise_instances(subject, service)
    if service is not None and subject.resource.metric in (Metric.CPU, Metric.MEMORY):
        return _advise_size(subject, service)
    if subject.limit is None:
        return None
    if subject.resource.metric is Metric.GPU:
        return _advise_gpu(subject, subject.limit)
    advice = _advise_limit(subject, subject.limit)
    if subject.resource.metric is Metric.GPU_MEMORY and advice.move is Move.UP:  # nobody adds memory to a GPU
        cards = int(np.ceil(advice.wanted / subject.limit.value - 1e-9))
        return replace(advice, reason=Remark("advice.gpu_memory", {**advice.reason.values, "gpus": cards}))
    return advice


def _advise_gpu(subject: Subject, limit: Limit) -> Advice:
    """More GPUs where one gets too busy, for there is no larger share of one; or sharing one that is idle."""
    key = subject.resource.key
    peak = float(subject.ahead.hi80.max()) / limit.value
    needed = peak / limit.threshold_ratio
    price = subject.plan.price_of(subject.resource)
    values = {"resource": key, "percent": round(100 * peak), "days": HEADROOM_DAYS}
    if needed > 1:
        # of GPUs that pods have asked for the limit is all of a node's: a tenth more of them is something, too
        wanted = float(np.ceil(10 * needed) / 10) if subject.resource.name == "allocated" else float(np.ceil(needed))
        reason = Remark("advice.gpus", {**values, "wanted": f"{wanted:g}"})
        return Advice(key, Move.UP, "gpus", 1.0, wanted, reason, None if price is None else (wanted - 1) * price)
    if waste := judge_waste(subject.ahead.history, limit=limit.value):
        cost = None if price is None else (needed - 1) * price
        return Advice(key, Move.DOWN, "share", limit.value, needed * limit.value, waste, cost)
    return Advice(key, Move.KEEP, "gpus", 1.0, 1.0, Remark("advice.enough", values))


def _advise_limit(subject: Subject, limit: Limit) -> Advice:
    """More or less of what is limited, or a clean-up; a person does it, or the clean-up does."""
    key, unit = subject.resource.key, subject.resource.unit
    price = subject.plan.price_of(subject.resource)
    if not subject.ahead.piles_up and (waste := judge_waste(subject.ahead.history, limit=limit.value)):
        wanted = float(subject.ahead.hi80.max()) / limit.threshold_ratio
        cost = None if price is None else (wanted - limit.value) * price
        if wanted < limit.value:
            return Advice(key, Move.DOWN, "size", limit.value, wanted, waste, cost)
    advice = advise_storage(
        key,
        size=limit.value,
        upper=subject.ahead.hi80,
        threshold_ratio=limit.threshold_ratio,
        days_left=subject.days_left,
        lead_days=limit.lead_days,
        clean_ups=subject.clean_ups,
        price_per_month=price,
    )
    if advice.reason.key == "advice.soon" and subject.days_left is not None and subject.days_left <= 0:
        advice = replace(advice, reason=Remark("advice.now", advice.reason.values))
    if advice.reason.key == "advice.enough" and subject.days_left is not None:
        # the median crosses, though the next quarter's upper bound does not: further ahead than the forecast
        advice = replace(advice, reason=Remark("advice.watch", {**advice.reason.values, "left": subject.days_left}))
    told = replace(advice, reason=Remark(advice.reason.key, {**advice.reason.values, "unit": unit}))
    return told if told.move is Move.CLEAN_UP else replace(told, parameters={})


def _parameters(service: ServiceRule, **values: Any) -> dict[str, Any]:
    return {"application": service.application, "environment": service.environment, **values}


def _advise_instances(subject: Subject, service: ServiceRule) -> Advice | None:
    """Instances for the load to come, and the bounds and the target of an autoscaler."""
    now = subject.instances.get((service.application, service.environment)) or service.instances
    if service.requests_per_s is None or not now:
        return None
    load = subject.ahead.history
    step_s = float(subject.ahead.series.step_s)
    target = autoscaler_target(load, step_s=step_s, startup_s=service.startup_s, ahead=subject.ahead.mean)
    peak = float(subject.ahead.hi80.max())
    least, most = autoscaler_bounds(
        load, capacity=service.requests_per_s, target_ratio=target, zones=service.zones, peak_forecast=peak
    )
    least, most = min(least, INSTANCES_MAX), min(most, INSTANCES_MAX)
    move = Move.OUT if most > now else Move.DOWN if most < now else Move.KEEP
    values = {"resource": subject.resource.key, "now": now, "wanted": most, "least": least, "most": most}
    told = values | {"peak": round(peak, 1), "each": service.requests_per_s, "target": round(100 * target)}
    price = price_of_instance(subject.plan, service)
    cost = None if price is None else (most - now) * price
    return Advice(
        subject.resource.key,
        move,
        "instances",
        float(now),
        float(most),
        Remark(f"advice.instances_{move}", told),
        cost,
        _parameters(service, instances=most) if move is not Move.KEEP else {},
    )


def _advise_size(subject: Subject, service: ServiceRule) -> Advice | None:
    """Processor or memory of one instance, by the rules of the vertical autoscaler.

    What is measured is of all instances together, as exporters and clusters add it up.
    """
    count = subject.instances.get((service.application, service.environment)) or service.instances or 1
    values, ages = _recent(subject.ahead)
    values = values / count
    peak = float(subject.ahead.hi80.max()) / count
    if subject.resource.metric is Metric.CPU:
        what, wanted = "cpu_share", round(cpu_request_cores(values, ages, peak_forecast=peak), 2)
    else:
        bytes_wanted = max(memory_request_bytes(values, peak_forecast=peak), MEMORY_BYTES_MIN)
        what, wanted = "memory_bytes", float(np.ceil(bytes_wanted / 2**20) * 2**20)
    now = subject.limit.value / count if subject.limit else 0.0
    move = Move.KEEP if now and abs(wanted - now) <= 0.1 * now else Move.UP if wanted > now else Move.DOWN
    told = {"resource": subject.resource.key, "size": now, "wanted": wanted, "unit": subject.resource.unit}
    reason = Remark(f"advice.size_{move}" if now else "advice.size_unlimited", told)
    parameters = _parameters(service, **{what: int(wanted) if what == "memory_bytes" else wanted})
    price = subject.plan.price_of(subject.resource)
    return Advice(
        subject.resource.key,
        move,
        what,
        now,
        wanted,
        reason,
        None if price is None else (wanted - now) * count * price,
        {} if move is Move.KEEP else parameters,
    )


def _recent(ahead: Forecast) -> tuple[Array, Array]:
    """History and the age of each value in seconds."""
    steps = len(ahead.history)
    return ahead.history, np.arange(steps, 0, -1, dtype=np.float64) * ahead.series.step_s
