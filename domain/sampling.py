"""Puts samples on a regular grid and refuses what can't be believed: wrong units, resets, clocks that jump.

Called by `domain.forecast` before anything is computed. It never guesses a correction of a unit: a wrong guess is a
false date. Whatever it changes or leaves out, it says.
"""

from dataclasses import dataclass

import numpy as np

from domain.series import DAY_S, Array, Kind, Remark, Series, Times, day_of

STEPS_MAX = {DAY_S: 392, 3600: 1344}
"""Older samples are left aside: 56 weeks of days, 8 weeks of hours."""
OBSERVED_MIN = {DAY_S: 14, 3600: 48}
STALE_DAYS = {DAY_S: 14, 3600: 7}
UNIT_FACTORS = (100.0, 1e3, 1024.0, 1e6, 1024.0**2, 1e9, 1024.0**3)
UNIT_SIDE = 5
"""So many samples on either side of a jump have to agree before it is taken for a change of unit."""
UNIT_JUMPS_MAX = 8
RATIO_MAX = 1.5
VALUE_MAX = 1e60
"""Nothing that is measured is larger, and squares of it would be infinite."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A series on its grid: `values[i]` belongs to `start + i * step_s`; NaN is a gap; the last value is observed."""

    start: np.datetime64
    step_s: int
    values: Array
    remarks: tuple[Remark, ...] = ()

    @property
    def end(self) -> np.datetime64:
        """The first step after the last observed one."""
        return self.start + np.timedelta64(len(self.values) * self.step_s, "s")


def lay_on_grid(series: Series, *, now: np.datetime64) -> Grid | Remark:
    """Clean one series and lay it on its grid; a Remark is the reason why it can't be forecast."""
    if len(series.times) != len(series.values):
        return Remark("forecast.refused_lengths", {"times": len(series.times), "values": len(series.values)})
    times, values = series.times.astype("datetime64[s]"), series.values.astype(float)
    times, values, remarks = drop_unusable(times, values, now=now, step_s=series.step_s)
    if refusal := too_little(values, series.step_s) or doubt_unit(values, times, series):
        return refusal
    if series.kind is Kind.COUNTER:
        values, more = undo_resets(values, times)
        remarks += more
    grid = average_steps(times, values, series)
    age_days = float((now - grid.end) / np.timedelta64(DAY_S, "s"))
    if age_days > STALE_DAYS[series.step_s]:
        return Remark("forecast.refused_stale", {"days": int(age_days), "date": day_of(times[-1])})
    observed = int((~np.isnan(grid.values)).sum())
    if observed < OBSERVED_MIN[series.step_s]:
        return Remark("forecast.refused_short", {"count": observed, "minimum": OBSERVED_MIN[series.step_s]})
    if observed < 0.9 * len(grid.values):
        share = round(100 * (1 - observed / len(grid.values)))
        remarks.append(Remark("forecast.gaps", {"percent": share}))
    return Grid(grid.start, grid.step_s, grid.values, tuple(remarks))


def drop_unusable(times: Times, values: Array, *, now: np.datetime64, step_s: int) -> tuple[Times, Array, list[Remark]]:
    """Sort, and leave out what no capacity can be: negative, infinite, from the future, twice; say so."""
    remarks: list[Remark] = []
    backwards = int((np.diff(times) < np.timedelta64(0, "s")).sum())
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    if backwards:
        remarks.append(Remark("forecast.unordered", {"count": backwards}))
    usable = times <= now + np.timedelta64(step_s, "s")
    finite = np.isfinite(values)
    negative, huge = finite & (values < 0), finite & (values > VALUE_MAX)
    for bad, key in ((~usable, "forecast.future"), (negative, "forecast.negative"), (huge, "forecast.huge")):
        if count := int(bad.sum()):
            remarks.append(Remark(key, {"count": count}))
    keep = (times < now) & finite & ~negative & ~huge
    times, values = times[keep], values[keep]
    if (np.diff(times) > np.timedelta64(0, "s")).all():
        return times, values, remarks
    distinct, first, counts = np.unique(times, return_index=True, return_counts=True)
    if len(distinct) < len(times):
        remarks.append(Remark("forecast.duplicates", {"count": len(times) - len(distinct)}))
        values = np.array([np.median(values[i : i + n]) for i, n in zip(first, counts, strict=True)])
    return distinct, values, remarks


def too_little(values: Array, step_s: int) -> Remark | None:
    """Refuse no data and too little data."""
    if not len(values):
        return Remark("forecast.refused_empty")
    if len(values) < OBSERVED_MIN[step_s]:
        return Remark("forecast.refused_short", {"count": len(values), "minimum": OBSERVED_MIN[step_s]})
    return None


def doubt_unit(values: Array, times: Times, series: Series) -> Remark | None:
    """Refuse values that can't be in their unit, or that change it on the way (bytes, then kibibytes)."""
    if series.unit == "ratio" and float(values.max()) > RATIO_MAX:
        return Remark("forecast.refused_ratio", {"largest": float(values.max())})
    if series.kind is Kind.COUNTER:
        return None  # a reset falls by any factor
    logs = np.log(np.where(values > 0, values, np.nan))
    jumps = np.flatnonzero(np.abs(np.diff(logs)) > np.log(UNIT_FACTORS[0] / 2)) + 1
    if len(jumps) > UNIT_JUMPS_MAX:
        return None  # on and off all the time: a load, not a unit
    for i in jumps:
        factor = unit_factor(logs[max(i - UNIT_SIDE, 0) : i], logs[i : i + UNIT_SIDE])
        if factor:
            return Remark("forecast.refused_units", {"factor": factor, "date": day_of(times[i])})
    return None


def unit_factor(before: Array, after: Array) -> int | None:
    """Find the unit factor that separates two calm stretches of logs, within a tenth."""
    if len(before) < UNIT_SIDE or len(after) < UNIT_SIDE or np.isnan([*before, *after]).any():
        return None
    spreads = sorted((float(np.ptp(before)), float(np.ptp(after))))
    if spreads[1] > 0.5 or spreads[1] > 4 * spreads[0] + 0.01:
        return None  # a unit changes the size of values, not how much they vary
    ratio = float(np.exp(abs(np.median(after) - np.median(before))))
    fitting = [factor for factor in UNIT_FACTORS if abs(np.log(ratio / factor)) < 0.1]
    return round(min(fitting, key=lambda factor: abs(np.log(ratio / factor)))) if fitting else None


def undo_resets(values: Array, times: Times) -> tuple[Array, list[Remark]]:
    """Add to a counter what it had counted before each reset."""
    steps = np.diff(values)
    resets = np.flatnonzero(steps < 0)
    if not len(resets):
        return values, []
    lost = np.zeros(len(values))
    lost[resets + 1] = values[resets]
    return values + lost.cumsum(), [
        Remark("forecast.resets", {"count": len(resets), "date": day_of(times[int(resets[-1]) + 1])})
    ]


def average_steps(times: Times, values: Array, series: Series) -> Grid:
    """Take the mean of each step (the newest sample for what piles up), with NaN where a step has none."""
    step = series.step_s
    slots = times.astype(np.int64) // step
    end = int(slots[-1])
    start = max(int(slots[0]), end - STEPS_MAX[step] + 1)
    inside = slots >= start
    slots, values = slots[inside] - start, values[inside]
    grid = np.full(end - start + 1, np.nan)
    if series.kind is Kind.USAGE:
        counts = np.bincount(slots, minlength=len(grid))
        sums = np.bincount(slots, weights=values, minlength=len(grid))
        np.divide(sums, counts, out=grid, where=counts > 0)
    else:
        grid[slots] = values  # sorted by time: the last assignment of a step is its newest sample
    return Grid(np.datetime64(start * step, "s"), step, grid)


def find_resets(grid: Grid) -> Remark | None:
    """Tell a fall to almost nothing, in what piles up, that grew again: an emptied store or a counter in disguise."""
    values = grid.values[~np.isnan(grid.values)]
    falls = np.flatnonzero((values[:-1] > 0) & (values[1:] < 0.1 * values[:-1]))
    if not len(falls):
        return None
    where = np.flatnonzero(~np.isnan(grid.values))[falls[-1] + 1]
    return Remark("forecast.fell", {"date": day_of(grid.start + np.timedelta64(int(where) * grid.step_s, "s"))})
