"""What runs out, when, and what to do: one `Outlook` for each resource, and their order by urgency.

Called by the tasks of `capacity` and `what_if` with what was collected. Usage is looked at by hours two weeks ahead and
by days a quarter ahead; what piles up by days, or by hours while it is young. Where the two disagree, the worse counts.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from domain.advice import Advice, CleanUp
from domain.capacity import CapacityPlan
from domain.counsel import Subject, advise
from domain.crossing import SEARCH_DAYS, Crossing, find_crossing
from domain.forecast import BackTest, Forecast, NoForecast, forecast_all
from domain.limits import Limit, doubt_limit
from domain.plans import Planned, planned_for, with_plans
from domain.sampling import OBSERVED_MIN
from domain.series import DAY_S, Array, Kind, Remark, Series
from domain.usage import Resource, as_time

DAYS_AHEAD, HOURS_AHEAD = 90, 336
_DOUBTED = ("forecast.limit_far", "forecast.limit_unusable")
SPARSE_PERCENT = 50
YOUNG_DAYS = 14
"""What has fewer days is forecast by hours."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What comes of one resource, as it is kept and shown.

    Args:
        band: mean, lo80, hi80, lo95, hi95 from `start` on, shape (5, h); None where there is no forecast.
        probability: of reaching the threshold within `days`; None without a limit or a forecast.
        median, lo80, hi80: the day of reaching it; None where none can honestly be had.
        answer: the sentence about the crossing, or why there is no forecast or no date.
        advice: with `is_settled` True it is given, else it waits for another run to agree.
    """

    resource: Resource
    at: datetime
    used: float
    answer: Remark
    limit: Limit | None = None
    step_s: int = DAY_S
    start: np.datetime64 | None = None
    band: Array | None = None
    back_test: BackTest | None = None
    probability: float | None = None
    days: int = 0
    median: np.datetime64 | None = None
    lo80: np.datetime64 | None = None
    hi80: np.datetime64 | None = None
    remarks: tuple[Remark, ...] = ()
    advice: Advice | None = None
    is_settled: bool = False

    @property
    def days_left(self) -> float | None:
        """To the likeliest day of reaching the threshold; None without one."""
        if self.median is None:
            return None
        return float((self.median.astype("datetime64[D]") - as_time(self.at).astype("datetime64[D]")).astype(int))

    @property
    def used_ratio(self) -> float | None:
        return None if self.limit is None or not math.isfinite(self.used) else self.used / self.limit.value


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around the series when they are looked at."""

    plan: CapacityPlan = field(default_factory=CapacityPlan)
    limits: Mapping[Resource, Limit] = field(default_factory=dict[Resource, Limit])
    clean_ups: Mapping[Resource, Sequence[CleanUp]] = field(default_factory=dict[Resource, Sequence[CleanUp]])
    instances: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """How many instances run, by application and environment."""
    extra: Sequence[Planned] = ()
    """What is asked on top of the plan, by `what_if`."""


def wants_hours(resource: Resource, days_known: int) -> bool:
    """Whether a resource is looked at by hours: load always, and what is too young for days."""
    return resource.kind is Kind.USAGE or days_known < YOUNG_DAYS


def look_ahead(
    daily: Sequence[Series], hourly: Sequence[Series], *, now: datetime, around: Surroundings
) -> list[Outlook]:
    """Look at every resource that one of the series is of; the most urgent first.

    Args:
        daily, hourly: as collected; a resource may be in one or in both.
        now: aware; today's unfinished day and this unfinished hour are not looked at.
    """
    day, hour = as_time(now).astype("datetime64[D]").astype("datetime64[s]"), as_time(now).astype("datetime64[h]")
    future = _remark_on_future([*hourly, *daily], as_time(now))
    daily, hourly = ([_until(one, as_time(now)) for one in some] for some in (daily, hourly))
    planned = [*around.plan.all_planned(), *around.extra]
    near = [one for one in hourly if not planned_for(one.name, planned)]
    far = [one for one in hourly if planned_for(one.name, planned)]  # what is planned lies further ahead than two weeks
    answers: defaultdict[str, list[Forecast | NoForecast]] = defaultdict(list)
    for answer in (
        *forecast_all(daily, first=day, horizon=DAYS_AHEAD),
        *forecast_all(near, first=hour.astype("datetime64[s]"), horizon=HOURS_AHEAD),
        *forecast_all(far, first=hour.astype("datetime64[s]"), horizon=DAYS_AHEAD * 24),
    ):
        answers[answer.series.name].append(answer)
    outlooks = [_look_at(Resource.parse(key), of, now=now, around=around) for key, of in answers.items()]
    told = [replace(one, remarks=(*one.remarks, *future.get(one.resource.key, ()))) for one in outlooks]
    return sorted(told, key=urgency)


def _remark_on_future(series: Sequence[Series], now: np.datetime64) -> dict[str, tuple[Remark]]:
    """Tell of samples that lie in the future, by the resource's key."""
    counts = {one.name: int((one.times > now).sum()) for one in series}
    return {key: (Remark("usage.future", {"resource": key, "count": count}),) for key, count in counts.items() if count}


def _until(series: Series, now: np.datetime64) -> Series:
    """A series without what lies in the future: samples from when a clock was wrong."""
    known = series.times <= now
    return series if known.all() else replace(series, times=series.times[known], values=series.values[known])


def urgency(outlook: Outlook) -> tuple[float, ...]:
    """A key that sorts by urgency: what is full, by date, by probability, by share used; unlimited last."""
    if outlook.limit is None:
        return (3, 0.0, 0.0)
    ratio = outlook.used_ratio or 0.0
    left = outlook.days_left
    if ratio > 1 and outlook.probability is None:
        return (0, -ratio, 0.0)
    if left is not None:
        return (0, left, -ratio)
    return (1, -(outlook.probability or 0.0), -ratio)


def _look_at(
    resource: Resource, answers: Sequence[Forecast | NoForecast], *, now: datetime, around: Surroundings
) -> Outlook:
    """Judge one resource by its forecasts; without one, say why."""
    # in a day's first hour both its day and its hour begin at midnight: the hour is the nearer to a forecast
    newest = max(
        (answer.series for answer in answers),
        key=lambda one: (len(one.values) > 0, one.times.max(initial=0), -one.step_s),
    )
    used = float(newest.values[-1]) if len(newest.values) else math.nan
    limit = around.plan.limit_of(resource, around.limits.get(resource))
    known = Outlook(resource, now, used, Remark("usage.no_limit", {"resource": resource.key}), limit)
    forecasts = [answer for answer in answers if isinstance(answer, Forecast)]
    forecasts = [one for one in forecasts if not _is_sparse(one)] or forecasts
    if not forecasts:
        refusals = [answer.reason for answer in answers if isinstance(answer, NoForecast)]
        return replace(known, answer=_explain_refusal(refusals, newest))
    planned = [*around.plan.all_planned(), *around.extra]
    ahead, crossing = _worst([(one, _cross(one, limit, used, planned)) for one in forecasts])
    changed = with_plans(ahead, planned)
    subject = Subject(
        resource,
        used,
        limit,
        with_plans(_by_peaks(forecasts, ahead), planned),
        _days_left(crossing, now),
        tuple(around.clean_ups.get(resource, ())),
        around.plan,
        around.instances,
    )
    return _fill(known, changed, crossing, advise(subject))


def _explain_refusal(refusals: Sequence[Remark], newest: Series) -> Remark:
    """The first reason; what was collected within this unfinished hour only is young, and not without samples."""
    if refusals[0].key == "forecast.refused_empty" and len(newest.values):
        return Remark("forecast.refused_short", {"count": 0, "minimum": OBSERVED_MIN[newest.step_s]})
    return refusals[0]


def _cross(
    forecast: Forecast, limit: Limit | None, used: float, planned: Sequence[Planned]
) -> Crossing | Remark | None:
    """When the threshold is reached; a remark where the limit itself can't be believed."""
    if limit is None:
        return None
    if doubt := doubt_limit(limit, used=used):
        return doubt
    crossing = find_crossing(forecast, limit=limit.threshold, days=SEARCH_DAYS, planned=planned)
    return crossing.remark if crossing.remark.key in _DOUBTED else crossing


def _worst(
    views: Sequence[tuple[Forecast, Crossing | Remark | None]],
) -> tuple[Forecast, Crossing | Remark | None]:
    """The view with the likeliest crossing; of equals the one by hours for load, whose peaks count, else by days."""

    def key(view: tuple[Forecast, Crossing | Remark | None]) -> tuple[float, int]:
        ahead, crossing = view
        probability = crossing.probability if isinstance(crossing, Crossing) else 0.0
        return round(
            probability, 2
        ), ahead.series.step_s if ahead.series.kind is not Kind.USAGE else -ahead.series.step_s

    return max(views, key=key)


def _is_sparse(forecast: Forecast) -> bool:
    """Whether most steps had no sample: a view by hours of what is measured once a day."""
    return any(one.key == "forecast.gaps" and one.values["percent"] > SPARSE_PERCENT for one in forecast.remarks)


def _by_peaks(forecasts: Sequence[Forecast], shown: Forecast) -> Forecast:
    """The view to advise from: of load the one by hours, since a day's mean hides its peak."""
    if shown.series.kind is not Kind.USAGE:
        return shown
    return min(forecasts, key=lambda one: one.series.step_s)


def _days_left(crossing: Crossing | Remark | None, now: datetime) -> float | None:
    if not isinstance(crossing, Crossing) or crossing.median is None:
        return None
    return float((crossing.median - as_time(now).astype("datetime64[D]")).astype(int))


def _fill(known: Outlook, ahead: Forecast, crossing: Crossing | Remark | None, advice: Advice | None) -> Outlook:
    filled = replace(
        known,
        step_s=ahead.series.step_s,
        start=ahead.start,
        band=np.stack([ahead.mean, ahead.lo80, ahead.hi80, ahead.lo95, ahead.hi95]),
        back_test=ahead.back_test,
        remarks=ahead.remarks,
        advice=advice,
    )
    if isinstance(crossing, Remark):
        return replace(filled, answer=crossing, advice=None)
    if crossing is None:
        return filled
    return replace(
        filled,
        answer=crossing.remark,
        probability=crossing.probability,
        days=crossing.days,
        median=crossing.median,
        lo80=crossing.lo80,
        hi80=crossing.hi80,
    )
