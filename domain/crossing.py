"""Says when a limit is reached: a date with its bounds where one can honestly be had, else a probability.

Called by the `capacity` flow after `domain.forecast`. What piles up gets the first passage of bootstrapped futures,
made of the series' own weeks. What comes and goes with the load gets the probability of exceeding the limit within the
forecast and no date: no method that was tried predicts one. Draws come from a fixed seed, so equal input gives equal
answers.

Source: docs/explanation/how-capacity-is-forecast.md (errors of dates, false alarms, Brier scores).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from domain.bank import Array
from domain.forecast import Forecast
from domain.plans import Planned, amounts, load_factors, planned_for, with_plans
from domain.series import DAY_S, Remark

SEARCH_DAYS = 180
PATHS = 200
BLOCK_DAYS = 7
HALF_LIFE_DAYS = 60.0
WINDOWS_DAYS = (28, 56, 90, 180, 364)
MEAN_DAYS = 7
"""A limit counts as reached when the mean of so many days is there: one night's dump is no full disk."""
ODDS_SHIFT, ODDS_SLOPE = 0.6, 0.7
"""Bootstrapped futures know no regime that the past lacked; logits are drawn in and lifted by what came true."""
EARLIER = 0.87
"""Stores speed up more often than they slow down: passages came this much earlier than bootstrapped."""
RATIO_DAYS, RATIO_DAYS_MIN, RATIO_RISE_MIN, RATIO_FIT_MAX = 180, 60, 2.0, 0.1
"""A curve that doubles, and that a ratio describes ten times better than a line, is taken to grow by ratio."""
LIMIT_FAR = 1e4
NEVER = 10**6
EPOCH = np.datetime64("1970-01-01", "D")
NORMAL_90, NORMAL_975 = 1.2816, 1.9600


@dataclass(frozen=True, slots=True)
class Crossing:
    """When a limit is reached; a date that is None is not within the days searched."""

    limit: float
    days: int
    """How far ahead was searched."""
    probability: float
    """Of reaching the limit within `days`."""
    median: np.datetime64 | None
    lo80: np.datetime64 | None
    hi80: np.datetime64 | None
    lo95: np.datetime64 | None
    hi95: np.datetime64 | None
    remark: Remark


def find_crossing(
    forecast: Forecast, *, limit: float, days: int = SEARCH_DAYS, planned: Sequence[Planned] = ()
) -> Crossing:
    """Find when a forecast series reaches its limit from below.

    Args:
        limit: in the unit of the series; apply the threshold that matters (say 80 %) before.
        days: how far to search, for what piles up; what comes and goes is judged over its own forecast.
        planned: what is known to come; it changes every future alike.
    """
    concerned = planned_for(forecast.series.name, planned)
    unit = forecast.series.unit
    past = daily_values(forecast)
    if not math.isfinite(limit) or limit <= 0:
        return dateless(limit, days, 0.0, Remark("forecast.limit_unusable", {"limit": limit, "unit": unit}))
    now = float(past[-MEAN_DAYS:].mean())
    if now >= limit:
        remark = Remark("forecast.exceeded", {"value": now, "limit": limit, "unit": unit})
        today = forecast.start.astype("datetime64[D]")
        return Crossing(limit, days, 1.0, today, today, today, today, today, remark)
    if now > 0 and limit / now > LIMIT_FAR:
        return dateless(limit, days, 0.0, Remark("forecast.limit_far", {"factor": limit / now}))
    if not forecast.piles_up:
        return exceed(with_plans(forecast, concerned), limit=limit)
    return pass_first(forecast, past, limit=limit, days=days, planned=concerned)


def dateless(limit: float, days: int, probability: float, remark: Remark) -> Crossing:
    """Answer without a date."""
    return Crossing(limit, days, probability, None, None, None, None, None, remark)


def daily_values(forecast: Forecast) -> Array:
    """Take one value a day of the history: the newest of what piles up, the mean of what comes and goes."""
    per_day = DAY_S // forecast.series.step_s
    history = forecast.history
    if per_day == 1 or len(history) < per_day:
        return history
    cut = history[len(history) % per_day :].reshape(-1, per_day)
    return cut[:, -1] if forecast.piles_up else cut.mean(axis=1)


def pass_first(
    forecast: Forecast, past: Array, *, limit: float, days: int, planned: Sequence[Planned] = ()
) -> Crossing:
    """Bootstrap futures from the past's weeks and read when they first pass the limit."""
    lag_days = round(forecast.lag * forecast.series.step_s / DAY_S)
    first = forecast.start.astype("datetime64[D]") - np.timedelta64(lag_days, "D")
    passages = first_passages(past, limit=limit, days=days + lag_days, planned=planned, first=first)
    reached = np.sort(passages[passages < NEVER])
    probability = temper(len(reached) / len(passages))
    remark_values = {"limit": limit, "unit": forecast.series.unit, "days": days, "percent": round(100 * probability)}

    def by(quantile: float) -> np.datetime64 | None:
        return date_at(reached, quantile / probability, start=forecast.start, lag_days=lag_days, days=days)

    median, late = by(0.5), by(0.9)
    if median is None:
        remark = Remark("forecast.stays_below", remark_values)
    else:
        bounds = {"lo80": str(by(0.1)), "hi80": str(late) if late is not None else f"> {days} d"}
        remark = Remark("forecast.crosses", {**remark_values, "date": str(median), **bounds})
    return Crossing(limit, days, probability, median, by(0.1), late, by(0.025), by(0.975), remark)


def temper(share: float) -> float:
    """Turn the share of futures that pass into a probability that came true as often as it says."""
    odds = math.log((share + 0.01) / (1.01 - share))
    return 1 / (1 + math.exp(-(ODDS_SHIFT + ODDS_SLOPE * odds)))


def date_at(
    reached: NDArray[np.int64], share: float, *, start: np.datetime64, lag_days: int, days: int
) -> np.datetime64 | None:
    """Read the day by which `share` of the passing futures have passed; None beyond all of them."""
    if share > 1 or not len(reached):
        return None
    day = EARLIER * float(np.quantile(reached, share)) - lag_days
    if day > days:
        return None
    return start.astype("datetime64[D]") + np.timedelta64(max(round(day), 1) - 1, "D")


@lru_cache(maxsize=64)
def draw_days(increments: int, days: int) -> NDArray[np.int64]:
    """Draw which past increment each future day repeats: shape (PATHS, days).

    Whole weeks are drawn. Half of the futures prefer recent ones; the other half keep to one window each, from a month
    to a year, because nobody knows which past will last.
    """
    generator = np.random.default_rng(20260)
    block = min(BLOCK_DAYS, increments)
    blocks = -(-days // block)
    half = PATHS // 2
    starts = np.arange(increments - block + 1)
    weights = 0.5 ** ((increments - block - starts) / HALF_LIFE_DAYS)
    recent = np.searchsorted(weights.cumsum() / weights.sum(), generator.random((half, blocks)))
    window = np.minimum(generator.choice(WINDOWS_DAYS, (PATHS - half, 1)), increments)
    within = np.floor(generator.random((PATHS - half, blocks)) * (window - block + 1)).astype(np.int64)
    first = np.concatenate([np.minimum(recent, starts[-1]), increments - window + within])
    return (first[:, :, None] + np.arange(block)).reshape(PATHS, -1)[:, :days]


def grows_by_ratio(past: Array) -> bool:
    """Whether a series clearly grows by a share of itself: then its next steps are larger than all it ever took."""
    recent = past[-RATIO_DAYS:]
    if len(recent) < RATIO_DAYS_MIN or recent.min() <= 0 or recent[-1] < RATIO_RISE_MIN * recent[0]:
        return False
    days = np.arange(len(recent), dtype=float)
    line = np.polyval(np.polyfit(days, recent, 1), days)
    curve = np.exp(np.polyval(np.polyfit(days, np.log(recent), 1), days))
    return float(((recent - curve) ** 2).sum()) < RATIO_FIT_MAX * float(((recent - line) ** 2).sum())


def first_passages(
    past: Array, *, limit: float, days: int, planned: Sequence[Planned] = (), first: np.datetime64 = EPOCH
) -> NDArray[np.int64]:
    """Bootstrap futures of daily values and return the day (1 the first) on which each reaches the limit, or NEVER.

    Args:
        planned: what is known to come, counted from the day `first`, the first future one.
    """
    days_drawn = draw_days(len(past) - 1, days)
    factors = load_factors(planned, start=first, steps=days)
    if grows_by_ratio(past):
        paths = past[-1] * (1 + (past[1:] / past[:-1] - 1)[days_drawn] * factors).cumprod(axis=1)
    else:
        paths = past[-1] + (np.diff(past)[days_drawn] * factors).cumsum(axis=1)
    paths = paths + amounts(planned, start=first, steps=days).cumsum()
    before = np.broadcast_to(past[-(MEAN_DAYS - 1) :], (len(paths), min(MEAN_DAYS - 1, len(past))))
    sums = np.concatenate([np.zeros((len(paths), 1)), before, paths], axis=1).cumsum(axis=1)
    hits = sums[:, MEAN_DAYS:] - sums[:, :-MEAN_DAYS] >= MEAN_DAYS * limit
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, NEVER)


def exceed(forecast: Forecast, *, limit: float) -> Crossing:
    """Judge the probability that what comes and goes exceeds the limit at the worst step of its forecast."""
    days = round(len(forecast.mean) * forecast.series.step_s / DAY_S)
    probability = chance_of(float(scores_above(forecast, limit).min(initial=np.inf)))
    values = {"limit": limit, "unit": forecast.series.unit, "days": days, "percent": round(100 * probability)}
    return dateless(limit, days, probability, Remark("forecast.may_exceed", values))


def chance_of(score: float) -> float:
    """Chance that what is normal lies above so many standard deviations."""
    return 0.5 * math.erfc(score / math.sqrt(2))


def scores_above(forecast: Forecast, limit: float) -> Array:
    """Standard deviations by which a value lies above each step, as if normal between the mean and the bounds."""
    knots = [
        (forecast.lo95, -NORMAL_975),
        (forecast.lo80, -NORMAL_90),
        (forecast.mean, 0.0),
        (forecast.hi80, NORMAL_90),
        (forecast.hi95, NORMAL_975),
    ]
    score = np.where(limit > forecast.hi95, np.inf, -np.inf)
    for (low, low_score), (high, high_score) in pairwise(knots):
        inside = (limit > low) & (limit <= high)
        width = np.where(high > low, high - low, 1.0)
        score = np.where(inside, low_score + (high_score - low_score) * (limit - low) / width, score)
    tail = forecast.hi95 - forecast.mean
    beyond = np.divide(limit - forecast.mean, tail, out=np.full(tail.shape, np.inf), where=tail > 0) * NORMAL_975
    return np.where(limit > forecast.hi95, beyond, score)
