"""The bank: every simple way to continue a series, for many series at once.

A member is a weekly or daily profile plus a level plus a slope. No member is good everywhere; `domain.backtest` tries
all of them at earlier origins of the same series and lets the best ones speak. Called only from there. Each function
takes complete rows of equal length (no gaps: `domain.sampling` and `domain.forecast` fill them) and costs a few matrix
products, so that all origins of a thousand series take seconds.

Source: docs/explanation/how-capacity-is-forecast.md (which members stayed, and what they did).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from domain.middles import median, quantile

Array = NDArray[np.float64]

DAY_H = 24
WEEK_H = 168
WEEK_D = 7
PROFILE_WEEKS_MAX = 12
HALF_LIVES = {DAY_H: (2.0, 14.0), WEEK_H: (1.0, 8.0)}
"""Of hourly profiles, in cycles; logs take the longer one."""
DRIFT_WINDOWS_D = (7, 14, 28, 56, 90, 180, 365)
LOG_HEADROOM = 1.0
"""A member that works on logs may not pass e times the largest value seen: exponentials run away."""


def recent_mean(rows: Array, *, half_life: float, last: int | None = None) -> Array:
    """Average each row (shape n, t) with weights that halve every `half_life` steps back; returns shape n."""
    part = rows if last is None else rows[:, -last:]
    age = np.arange(part.shape[1])[::-1]
    weights = 0.5 ** (age / half_life)
    return part @ (weights / weights.sum())


def repeat_profile(profile: Array, *, steps: int) -> Array:
    """Continue a profile (n, m), whose first column is the first step to come, over `steps` steps."""
    return profile[:, np.arange(steps) % profile.shape[1]]


def remove_profile(rows: Array, profile: Array) -> Array:
    """Take a profile, aligned as in `repeat_profile`, off the past."""
    length = rows.shape[1]
    return rows - profile[:, (np.arange(length) - length) % profile.shape[1]]


def weekday_profile(rows: Array) -> Array:
    """Estimate the day-of-week profile of daily rows, shrunk to nothing where it is no larger than its own noise."""
    weeks = min(rows.shape[1] // WEEK_D, PROFILE_WEEKS_MAX)
    if weeks < 2:
        return np.zeros((len(rows), WEEK_D))
    cut = rows[:, -WEEK_D * weeks :].reshape(len(rows), weeks, WEEK_D)
    slope = (
        median(np.diff(cut, axis=1).reshape(len(rows), -1)) / WEEK_D
    )  # else steady growth would look like a weekly course
    centred = cut - median(cut)[:, :, None] - slope[:, None, None] * (np.arange(WEEK_D) - WEEK_D // 2)
    profile = median(centred, axis=1)
    profile -= profile.mean(axis=1, keepdims=True)
    noise = ((centred - profile[:, None]) ** 2).mean(axis=(1, 2)) / weeks
    size = (profile**2).mean(axis=1)
    share = np.divide(size - 2 * noise, size, out=np.zeros_like(size), where=size > 0)
    return profile * np.clip(share, 0, 1)[:, None]


def cycle_profiles(rows: Array, *, cycle: int, half_lives: Sequence[float]) -> list[Array]:
    """Estimate the profile over `cycle` hours, recent cycles first, once for each half-life in cycles."""
    cycles = rows.shape[1] // cycle
    cut = rows[:, -cycle * cycles :].reshape(len(rows), cycles, cycle)
    ramp: Array | float = 0.0
    if cycle == DAY_H and cycles > 1:
        # Else steady growth would look like a daily course. A week keeps its slope: part of what weeks repeat.
        change = median(np.diff(cut, axis=1).reshape(len(rows), -1))
        ramp = change[:, None] / cycle * np.arange(cycle)
    profiles: list[Array] = []
    for half_life in half_lives:
        weights = 0.5 ** (np.arange(cycles)[::-1] / half_life)
        profile = np.matmul(weights / weights.sum(), cut) - ramp
        profiles.append(profile - profile.mean(axis=1, keepdims=True))
    return profiles


def clipped_mean(ordered: Array) -> Array:
    """Average rows that are sorted, after pulling the outer 3 % on either side in."""
    low, high = quantile(ordered, 0.03)[:, None], quantile(ordered, 0.97)[:, None]
    return np.clip(ordered, low, high).mean(axis=1)


def daily_drifts(rows: Array) -> list[Array]:
    """List slopes per day (shape n each): plain, clipped and median, over windows from a week to a year."""
    increments = np.diff(rows, axis=1)
    windows = [min(w, increments.shape[1]) for w in DRIFT_WINDOWS_D]
    plain = [(rows[:, -1] - rows[:, -1 - w]) / w for w in windows]
    ordered = [np.sort(increments[:, -w:], axis=1) for w in windows[1:]]
    clipped = [clipped_mean(part) for part in ordered]
    typical = [quantile(part, 0.5) for part in ordered]
    consensus = [median(np.stack(plain[1:], axis=1)), median(np.stack(clipped, axis=1))]
    return [*plain, *clipped, *typical, *consensus]


def daily_bank(rows: Array, at: NDArray[np.int64]) -> Array:
    """Continue daily rows.

    Args:
        rows: shape (n, t), complete, t >= 14.
        at: the steps ahead wanted, 1 the first.

    Returns:
        shape (members, n, len(at)).
    """
    profile = weekday_profile(rows)
    season = profile[:, (at - 1) % WEEK_D]
    level_rows = remove_profile(rows, profile)
    newest, smooth = level_rows[:, -1], recent_mean(level_rows, half_life=3, last=42)
    long_run = {w: median(level_rows[:, -w:]) for w in (7, 28, 90, 365)}
    levels = [newest, smooth, recent_mean(level_rows, half_life=28), *long_run.values()]
    drifts = daily_drifts(level_rows)
    rising = [newest[:, None] + drift[:, None] * at for drift in drifts]
    rising += [smooth[:, None] + clipped[:, None] * at for clipped in (drifts[9], drifts[11])]
    returning = [
        long_run[window][:, None] + (smooth - long_run[window])[:, None] * np.exp(-at / days)
        for days, window in ((14, 90), (30, 365), (30, 90))
    ]
    flat = [np.broadcast_to(level[:, None], (len(rows), len(at))) for level in levels]
    return np.stack([*flat, *rising, *returning]) + season


YEAR_D = 364
"""52 weeks, so that weekdays meet."""
YEARLY_TRUST = 0.3


def yearly_pull(rows: Array, *, steps: int) -> Array:
    """Part of how the same days of last year differed from today's of last year: shape (n, steps).

    One year can't prove that it repeats, so only `YEARLY_TRUST` of it counts; nothing where the rows are shorter. What
    the whole year grew is taken off: the members continue that, and twice would be too much.
    """
    if rows.shape[1] < YEAR_D:
        return np.zeros((len(rows), steps))
    start = rows.shape[1] - YEAR_D
    padded = np.pad(rows[:, start:], ((0, 0), (7, 7)), mode="edge")
    smooth = np.lib.stride_tricks.sliding_window_view(padded, 15, axis=1).mean(axis=2)
    base = median(rows[:, max(start - 7, 0) : start + 7])
    ahead = np.minimum(np.arange(steps), YEAR_D - 1)
    growth = (median(rows[:, -14:]) - base) / (YEAR_D - 7)
    return YEARLY_TRUST * (smooth[:, ahead] - base[:, None] - growth[:, None] * ahead)


FAVOUR = 0.9
DAILY_HANDICAPS = np.array([FAVOUR, *[1.0] * 19, *[FAVOUR] * 8, *[1.0] * 5])
"""Per member of `daily_bank`: the newest level, the median drifts and the drifts' consensus shrug off single steps."""


@lru_cache(maxsize=64)
def hourly_weights(length: int) -> Array:
    """Weights over rows of one length, shape (length, 7): four levels, then three slopes per hour.

    The levels reach from the last hour's to that of the whole window; the slopes go over everything, within the last
    week, and week over week.
    """
    ago = np.arange(length)[::-1]
    levels = [
        np.where(ago < last, 0.5 ** (ago / half_life), 0.0)
        for half_life, last in ((1, DAY_H), (6, 3 * DAY_H), (24, WEEK_H), (96, length))
    ]
    week = min(WEEK_H, length // 3)
    lines = [np.where(ago < last, (last - 1) / 2 - ago, 0.0) for last in (length, week)]
    against = (np.where(ago < week, 1.0, 0.0) - np.where((ago >= week) & (ago < 2 * week), 1.0, 0.0)) / week**2
    slopes = [*(line / (line @ line) for line in lines), against]
    return np.stack([*(level / level.sum() for level in levels), *slopes], axis=1)


def hourly_family(rows: Array, at: NDArray[np.int64], profile: Array, *, slopes: bool) -> list[Array]:
    """Continue hourly rows from one profile: levels, levels that return to the long run, and slopes."""
    season = profile[:, (at - 1) % profile.shape[1]]
    level_rows = remove_profile(rows, profile)
    measured = (level_rows @ hourly_weights(rows.shape[1])).T
    typical = median(level_rows)
    smooth, slow = measured[1], measured[3]
    lines = [level[:, None] + season for level in (*measured[:4], typical)]
    for base, hours in ((typical, 24), (typical, 96), (slow, 24)):
        lines.append(base[:, None] + (smooth - base)[:, None] * np.exp(-at / hours) + season)
    if slopes:
        # The smoothed level is about eight hours old.
        lines += [smooth[:, None] + slope[:, None] * (at + 8) + season for slope in measured[4:]]
    return lines


def hourly_log_families(rows: Array, at: NDArray[np.int64], *, cycles: Sequence[int]) -> list[Array]:
    """Continue rows on the log scale; rows that are not positive everywhere get NaN, which no weight ever chooses."""
    positive = rows.min(axis=1) > 0
    logs = np.log(np.where(positive[:, None], rows, 1.0))
    ceiling = logs.max(axis=1, keepdims=True) + LOG_HEADROOM
    lines: list[Array] = []
    for cycle in cycles:
        profile = cycle_profiles(logs, cycle=cycle, half_lives=HALF_LIVES[cycle][1:])[0]
        lines += hourly_family(logs, at, profile, slopes=False)
    return [np.where(positive[:, None], np.exp(np.minimum(line, ceiling)), np.nan) for line in lines]


def hourly_bank(rows: Array, at: NDArray[np.int64], *, weekly: bool) -> Array:
    """Continue hourly rows.

    Args:
        rows: shape (n, t), complete, t >= 48.
        at: the steps ahead wanted, 1 the first.
        weekly: whether the earliest origin to be compared holds two weeks, so that weekly profiles can be had.

    Returns:
        shape (members, n, len(at)).
    """
    cycles = (DAY_H, WEEK_H) if weekly else (DAY_H,)
    lines: list[Array] = []
    for cycle in cycles:
        for profile in cycle_profiles(rows, cycle=cycle, half_lives=HALF_LIVES[cycle]):
            lines += hourly_family(rows, at, profile, slopes=True)
    lines += hourly_log_families(rows, at, cycles=cycles)
    for cycle in cycles:
        lines.append(rows[:, -cycle:][:, (at - 1) % cycle])
    return np.stack(lines)
