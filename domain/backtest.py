"""Back-tests: which members of the bank to believe for each series, and how far off they were.

Each member is tried at earlier origins of the same series; one pass over many series gives every origin. Weights fall
with a high power of the member's own loss, so a series chooses its own handful. The same origins give the signed errors
of the combination, from which `domain.forecast` makes intervals. Pure arithmetic on complete rows of equal length.

Source: docs/explanation/how-capacity-is-forecast.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.bank import DAILY_HANDICAPS, WEEK_H, Array, daily_bank, hourly_bank
from domain.series import DAY_S

ORIGINS_MAX = 8
CHUNK = 64
"""Series at a time: keeps the working set near 30 MB without costing speed."""
FEW, MANY = 12, 24
"""Members of two councils that speak for one series: a narrow one, where losses weigh much, and a broad one."""
MANY_POWER = 2.0
STILL_SHARE = 0.3
"""Daily series that stand still on more days than this are left to the few: the many would blur their steps."""
SHORT_HOURS = 2 * WEEK_H


@dataclass(frozen=True, slots=True)
class Plan:
    """How series of one step, length and horizon are tried."""

    step_s: int
    bank: Callable[[Array, NDArray[np.int64]], Array]
    origins: tuple[int, ...]
    """Rows are cut after so many steps and continued from there."""
    thinned: NDArray[np.int64]
    """Steps ahead that are compared; the rest says the same again."""
    power: float
    """Weights of the narrow council fall with this power of a member's loss."""
    handicaps: Array
    """What each member's loss is multiplied by: members that are hard to fool win what is nearly a tie."""
    takes_median: bool
    """Daily series step, so the middle member is right more often than the average of all; short ones prove little."""
    trust: float
    """Share of the broad council in the answer."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What the combination says of n series, and what it got wrong before."""

    mean: Array
    """Shape (n, horizon)."""
    errors: Array
    """Actual minus said at earlier origins, shape (n, origins, compared steps); NaN where nothing was observed."""
    thinned: NDArray[np.int64]
    naive_errors: Array
    """The same for the seasonal naive forecast."""
    disagreement: Array
    """How far the believed members lie apart, shape (n, horizon)."""


def plan_daily(length: int, horizon: int) -> Plan:
    """Plan for daily series: an origin each fortnight while 100 days (or half of a short series) stay before it."""
    earliest = min(100, max(length // 2, 7))
    spacing = 14 if length >= 115 else max((length - earliest) // 6, 1)
    origins = tuple(range(length - min(spacing, 14), earliest, -spacing)) or (earliest,)
    return Plan(
        DAY_S, daily_bank, origins, np.arange(1, horizon + 1, 3), 6, DAILY_HANDICAPS, takes_median=True, trust=0.5
    )


def plan_hourly(length: int, horizon: int) -> Plan:
    """Plan for hourly series: an origin each third day or rarer, never weekly, so that each weekday gets its turn."""
    earliest = max(length - 2 * horizon - 1, length // 3, 48)
    days = min(day for day in (3, 4, 5, 6, 8, 9, 10) if day * 24 * ORIGINS_MAX >= length - 24 - earliest or day == 10)
    origins = tuple(range(length - 24, earliest, -24 * days)) or (max(length - 24, length // 2),)
    weekly = origins[-1] >= WEEK_H

    def bank(rows: Array, at: NDArray[np.int64]) -> Array:
        return hourly_bank(rows, at, weekly=weekly)

    is_short = length < SHORT_HOURS
    trust = 1.0 if is_short else 0.5
    return Plan(3600, bank, origins, np.arange(1, horizon + 1, 5), 16, np.ones(1), takes_median=is_short, trust=trust)


@dataclass(frozen=True, slots=True)
class Voices:
    """Who speaks for each of n series: members, best first, with their weights in both councils."""

    chosen: NDArray[np.intp]
    """Shape (MANY or fewer, n)."""
    few: Array
    """The same shape; sums to one over members, nought from the thirteenth on."""
    many: Array
    trust: Array
    """Share of the many in each series' answer, shape n."""
    takes_median: bool


def weighted_median(ordered: Array, order: NDArray[np.intp], weights: Array) -> Array:
    """Take the middle of lines (k, n, h), sorted by `order`, under weights (k, n): half of them lies at or below it."""
    gathered = np.take_along_axis(np.broadcast_to(weights[:, :, None], order.shape), order, axis=0).cumsum(axis=0)
    middle = (gathered >= gathered[-1] / 2).argmax(axis=0)
    return np.take_along_axis(ordered, middle[None], axis=0)[0]


def combine(lines: Array, voices: Voices) -> Array:
    """Combine the chosen members' lines (k, n, h): what the few say, and what the many say, by trust."""
    trust = voices.trust
    if not voices.takes_median:
        return np.einsum("knh,kn->nh", lines, voices.few + trust * (voices.many - voices.few))
    order = np.argsort(lines, axis=0)
    ordered = np.take_along_axis(lines, order, axis=0)
    many = weighted_median(ordered, order, voices.many)
    if (trust == 1).all():
        return many
    few = weighted_median(ordered, order, voices.few)
    return few + trust[:, None] * (many - few)


def mean_where(values: Array, *, axis: int) -> Array:
    """Average what is not NaN; NaN where nothing is."""
    seen = ~np.isnan(values)
    counts = seen.sum(axis=axis)
    return np.divide(
        np.where(seen, values, 0).sum(axis=axis), counts, out=np.full(counts.shape, np.nan), where=counts > 0
    )


def try_members(rows: Array, actual: Array, plan: Plan) -> tuple[list[Array], Array]:
    """Run the bank at each origin.

    Returns:
        the lines of each origin, (members, n, compared steps that lie inside), and each member's mean absolute error
        (members, n): over origins first, then over steps, so that far steps weigh as much as near ones.
    """
    tried: list[Array] = []
    total = np.zeros(0)
    counts = np.zeros(0)
    for origin in plan.origins:
        at = plan.thinned[plan.thinned <= rows.shape[1] - origin]
        lines = plan.bank(rows[:, :origin], at)
        tried.append(lines)
        truth = actual[:, origin + at - 1]
        unseen = np.isnan(truth)
        misses = lines - truth
        np.abs(misses, out=misses)
        if not total.size:
            total = np.zeros((*lines.shape[:2], len(plan.thinned)))
            counts = np.zeros((lines.shape[1], len(plan.thinned)))
        if unseen.any():
            misses[:, unseen] = 0
        total[:, :, : len(at)] += misses
        counts[:, : len(at)] += ~unseen
    per_step = np.divide(total, counts, out=np.full_like(total, np.nan), where=counts > 0)
    # A NaN of a member that refuses stays NaN; one of a step that was never observed is left out of the average.
    per_step[:, counts == 0] = np.nan
    refuses = np.isnan(total).any(axis=2)
    return tried, np.where(refuses, np.inf, mean_where(per_step, axis=2))


def believe(losses: Array, rows: Array, plan: Plan) -> Voices:
    """Choose each series' members by their losses (members, n).

    Losses below a thousandth of the series' own movement count as equal, so that a lucky zero doesn't rule alone.
    """
    cycle = cycle_of(rows.shape[1], step_s=plan.step_s)
    floor = 1e-3 * np.abs(rows[:, cycle:] - rows[:, :-cycle]).mean(axis=1) + 1e-300
    losses = np.where(np.isnan(losses), 0.0, losses)  # nothing observed: all members are equal
    relative = np.log(losses + floor) - np.log(losses.min(axis=0) + floor)
    chosen = np.argsort(relative, axis=0, kind="stable")[:MANY]
    behind = np.take_along_axis(relative, chosen, axis=0)
    few, many = np.exp(-plan.power * behind), np.exp(-MANY_POWER * behind)
    few[FEW:] = 0
    still = (np.diff(rows, axis=1) == 0).mean(axis=1) > STILL_SHARE
    trust = np.where(still & (plan.step_s == DAY_S), 0.0, plan.trust)
    return Voices(chosen, few / few.sum(axis=0), many / many.sum(axis=0), trust, plan.takes_median)


def speak(lines: Array, voices: Voices) -> Array:
    """Let the chosen members of each series say their combined line."""
    picked = np.take_along_axis(lines, voices.chosen[:, :, None], axis=0)
    return combine(np.where(voices.many[:, :, None] > 0, picked, 0.0), voices)


def project(rows: Array, actual: Array, *, step_s: int, horizon: int) -> Projection:
    """Continue many series of one length.

    Args:
        rows: complete, shape (n, t).
        actual: the same with NaN where nothing was observed; only this is compared.
        step_s: 3600 or 86400.
        horizon: steps ahead.
    """
    plan = (plan_daily if step_s == DAY_S else plan_hourly)(rows.shape[1], horizon)
    parts = [
        project_chunk(rows[i : i + CHUNK], actual[i : i + CHUNK], plan, horizon) for i in range(0, len(rows), CHUNK)
    ]
    return Projection(
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.errors for part in parts]),
        plan.thinned,
        np.concatenate([part.naive_errors for part in parts]),
        np.concatenate([part.disagreement for part in parts]),
    )


def project_chunk(rows: Array, actual: Array, plan: Plan, horizon: int) -> Projection:
    """Continue one chunk; see `project`."""
    tried, losses = try_members(rows, actual, plan)
    lines = plan.bank(rows, np.arange(1, horizon + 1))
    losses[np.isnan(lines).any(axis=2)] = np.inf  # a log member that worked until the row touched nought
    voices = believe(losses * plan.handicaps[:, None], rows, plan)
    mean = speak(lines, voices)
    apart = np.abs(np.take_along_axis(lines, voices.chosen[:, :, None], axis=0) - mean)
    disagreement = np.einsum("knh,kn->nh", np.nan_to_num(apart), voices.few)
    cycle = cycle_of(rows.shape[1], step_s=plan.step_s)
    errors = np.full((len(rows), len(plan.origins), len(plan.thinned)), np.nan)
    naive_errors = errors.copy()
    for i, (origin, lines) in enumerate(zip(plan.origins, tried, strict=True)):
        at = plan.thinned[: lines.shape[2]]
        truth = actual[:, origin + at - 1]
        errors[:, i, : len(at)] = truth - speak(lines, voices)
        naive_errors[:, i, : len(at)] = truth - rows[:, :origin][:, -cycle:][:, (at - 1) % cycle]
    return Projection(mean, errors, plan.thinned, naive_errors, disagreement)


def cycle_of(length: int, *, step_s: int) -> int:
    """Choose the season that the naive yardstick repeats: a week, or a day where two weeks of hours are lacking."""
    if step_s == DAY_S:
        return 7
    return WEEK_H if length >= SHORT_HOURS else 24
