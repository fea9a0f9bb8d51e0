"""Finds what would fool a forecast: outages at the end, single outliers, shifts of the level.

Called by `domain.forecast` on complete rows of equal length, many series at once. It decides nothing about units or
clocks (`domain.sampling` does) and forecasts nothing.

Source: docs/explanation/how-capacity-is-forecast.md (thresholds, how often they fire on clean series).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.bank import Array
from domain.middles import median, median_of_five, quantile
from domain.series import DAY_S

GATE_DAYS = 4
"""A change older than this is taken for the new normal."""
FALLING_SHARE = 0.25
"""Series of which a quarter of all steps falls come and go with the load; the rest piles up."""
NOTHING = 0.05
"""Below this share of the usual level a series counts as gone."""
BEYOND = 1.5
RATIO_BEYOND, RATIO_MAX = 0.7, 0.6
"""A step is strange this far beyond the worst that the series ever showed."""
OUTLIER_SIGMAS = 12.0
SIGMA_OF_MAD = 1.4826
_HUGE = 1e300


@dataclass(frozen=True, slots=True)
class Shift:
    """A lasting change of the level."""

    step: int
    """Where in the row it begins."""
    amount: float


def fluctuates(rows: Array) -> NDArray[np.bool_]:
    """Tell series that come and go from those that pile up."""
    return (np.diff(rows, axis=1) < 0).mean(axis=1) >= FALLING_SHARE


def season_of(length: int, step_s: int) -> int:
    """Choose the cycle whose typical course is no trouble: a week, or a day where three weeks of hours are lacking."""
    if step_s == DAY_S:
        return 7
    return 168 if length >= 3 * 168 else 24


def typical_course(rows: Array, cycle: int) -> Array:
    """Median course over the cycle, continued over every step of the rows (n, t); the level is left out."""
    length = rows.shape[1]
    cycles = length // cycle
    if cycles < 2:
        return np.zeros_like(rows)
    cut = rows[:, -cycles * cycle :].reshape(len(rows), cycles, cycle)
    slope = median(np.diff(cut, axis=1).reshape(len(rows), -1)) / cycle  # steady growth is no course
    centred = cut - median(cut)[:, :, None] - slope[:, None, None] * (np.arange(cycle) - (cycle - 1) / 2)
    course = median(centred, axis=1)
    return course[:, (np.arange(length) - length) % cycle]


def fill_gaps(row: Array, *, step_s: int) -> Array:
    """Fill the gaps of one row (shape t, first and last observed): a straight line plus the usual course."""
    seen = np.flatnonzero(~np.isnan(row))
    if len(seen) == len(row):
        return row
    straight = np.interp(np.arange(len(row)), seen, row[seen])
    course = typical_course(straight[None], season_of(len(row), step_s))[0]
    return np.interp(np.arange(len(row)), seen, (row - course)[seen]) + course


def replace_outliers(rows: Array, *, step_s: int) -> tuple[Array, NDArray[np.bool_]]:
    """Pull lonely, extreme samples back to their neighbours.

    Returns:
        the rows, and where they were changed. What comes back every week, or lasts three steps, is no outlier.
    """
    course = typical_course(rows, season_of(rows.shape[1], step_s))
    level = rows - course
    around = median_of_five(level)
    off = np.abs(level - around)
    steps = np.sort(np.abs(np.diff(rows, axis=1)), axis=1)
    usual = np.maximum(SIGMA_OF_MAD * median(off), quantile(steps, 0.9))
    outlying = off > OUTLIER_SIGMAS * (usual + 1e-3 * np.abs(rows).mean(axis=1))[:, None]
    outlying[:, -2:] = False  # too new to call lonely; an outage gate looks at them
    return np.where(outlying, around + course, rows), outlying


@dataclass(frozen=True, slots=True)
class Deviations:
    """How far steps lie from the usual level and course of the time before them: shape (n, steps) each."""

    apart: Array
    ratio: Array
    """Value over expectation; NaN where nothing positive was to be expected."""


def deviate(rows: Array, course: Array, origin: int, steps: int, base_steps: int) -> Deviations:
    """Hold the steps from `origin` on against the usual level of the `base_steps` before."""
    before = slice(origin - base_steps, origin)
    base = median(rows[:, before] - course[:, before])
    part = slice(origin, origin + steps)
    expected = base[:, None] + course[:, part]
    with np.errstate(over="ignore"):  # a value over next to nothing is infinitely many times that
        ratio = np.divide(rows[:, part], expected, out=np.full(expected.shape, np.nan), where=expected > 0)
    return Deviations(rows[:, part] - expected, ratio)


def count_outage(rows: Array, *, step_s: int) -> NDArray[np.int64]:
    """Count the steps at the end of each row that nothing before prepared for: an outage, or a shift not yet confirmed.

    The last days are held against the worst deviations from the week before that the series ever showed. For what piles
    up only a fall by half counts: clean-ups and jumps are its nature.
    """
    day = DAY_S // step_s
    gate, week = GATE_DAYS * day, 7 * day
    start = rows.shape[1] - gate
    base_steps = min(week, start // 2)
    if base_steps < 2 * day:
        return np.zeros(len(rows), dtype=np.int64)
    cycle = season_of(start, step_s)
    past_course = typical_course(rows[:, :start], cycle)
    course = np.concatenate([past_course, past_course[:, -cycle:][:, np.arange(gate) % cycle]], axis=1)
    spacing = max(day, (start - base_steps) // 40)
    origins = range(start - spacing, base_steps, -spacing)
    seen = [deviate(rows, course, origin, min(gate, start - origin), base_steps) for origin in origins]
    if not seen:
        return np.zeros(len(rows), dtype=np.int64)
    past = Deviations(np.hstack([part.apart for part in seen]), np.hstack([part.ratio for part in seen]))
    return longest_tail(is_strange(rows, deviate(rows, course, start, gate, base_steps), past, start))


def is_strange(rows: Array, newest: Deviations, past: Deviations, start: int) -> NDArray[np.bool_]:
    """Judge each of the newest deviations (n, gate) against those of the past (n, many)."""
    noise = SIGMA_OF_MAD * median(np.abs(past.apart))
    lowest = np.minimum(past.apart.min(axis=1), -3 * noise)[:, None]
    highest = np.maximum(past.apart.max(axis=1), 3 * noise)[:, None]
    ratios = np.sort(np.nan_to_num(past.ratio, nan=1.0, posinf=_HUGE, neginf=-_HUGE), axis=1)
    usual_ratios = quantile(ratios, 0.005)[:, None]
    usual = median(rows[:, :start])[:, None]
    recent = median(rows[:, max(start - 28, 0) : start])[:, None]
    tail = rows[:, start:]
    gone = (tail <= NOTHING * np.minimum(usual, recent)) & (usual > 0)
    gone &= (rows[:, :start] <= NOTHING * usual).mean(axis=1, keepdims=True) < 0.002
    shrunk = newest.ratio < np.minimum(RATIO_BEYOND * usual_ratios, RATIO_MAX)
    beyond = np.where(newest.apart < 0, newest.apart < BEYOND * lowest, newest.apart > BEYOND * highest)
    fell_by_half = (shrunk | beyond) & (tail < 0.5 * recent)
    return gone | np.where(fluctuates(rows[:, :start])[:, None], shrunk | beyond, fell_by_half)


def longest_tail(strange: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Find the longest run up to the end of which four in five steps are strange, its first among them."""
    backwards = strange[:, ::-1]
    shares = backwards.cumsum(axis=1) / np.arange(1, strange.shape[1] + 1)
    fits = backwards & (shares >= 0.8)
    longest = strange.shape[1] - fits[:, ::-1].argmax(axis=1)
    return np.where(fits.any(axis=1), longest, 0).astype(np.int64)


def find_shift(row: Array, *, step_s: int) -> Shift | None:
    """Find the newest lasting change of level in one row that is out of all proportion to its other changes."""
    block = 7 if step_s == DAY_S else 24
    blocks = len(row) // block
    if blocks < 6:
        return None
    medians = median(row[-blocks * block :].reshape(blocks, block))
    changes = np.diff(medians)
    usual = SIGMA_OF_MAD * float(median(np.abs(changes - median(changes))))
    enough = max(8 * usual, 0.1 * float(median(np.abs(medians))))
    for i in np.flatnonzero(np.abs(changes) > enough)[::-1]:
        if i == 0 or i + 2 >= blocks:
            continue
        lasting = float(median(medians[i + 1 :]) - median(medians[max(i - 3, 0) : i + 1]))
        if abs(lasting) > 0.7 * abs(changes[i]) and np.sign(lasting) == np.sign(changes[i]):
            return Shift(len(row) - (blocks - int(i) - 1) * block, lasting)
    return None
