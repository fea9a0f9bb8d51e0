"""Forecasts series: what comes, between which bounds, how well that worked before; or the reason why not.

Called by the `capacity` flow and by `benchmarks.forecast`, many series at once. No data is no forecast: a refusal is a
value (`NoForecast`) whose reason people can read. Deterministic: the same samples give the same figures, whatever else
is forecast beside them.

Source: docs/explanation/how-capacity-is-forecast.md (method, what was measured, known holes).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from domain.backtest import Projection, mean_where, project
from domain.bank import Array, yearly_pull
from domain.sampling import Grid, find_resets, lay_on_grid
from domain.series import DAY_S, Kind, Remark, Series, day_of
from domain.spread import bounds
from domain.trouble import count_outage, fill_gaps, find_shift, fluctuates, replace_outliers

COMFORTABLE = {DAY_S: 56, 3600: 336}
"""Fewer steps than this are forecast, but called short."""
GAPS_NAMED_STEPS = 2


@dataclass(frozen=True, slots=True)
class BackTest:
    """How the same forecast did at earlier origins of the same series."""

    mae: float
    """Mean absolute error, in the unit of the series; NaN where no origin could be tried."""
    relative: float
    """The error over that of the seasonal naive forecast at the same origins; below 1 is better than naive."""
    origins: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of one series; arrays have one value a step, from `start` on."""

    series: Series
    start: np.datetime64
    mean: Array
    lo80: Array
    hi80: Array
    lo95: Array
    hi95: Array
    back_test: BackTest
    history: Array
    """The complete, cleaned row that was continued: gaps filled, an outage at its end cut off."""
    lag: int
    """Steps between the end of `history` and `start`."""
    piles_up: bool
    """Whether a date of crossing can be had; what comes and goes has a probability only."""
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class NoForecast:
    """Why a series has no forecast."""

    series: Series
    reason: Remark


@dataclass(slots=True)
class Prepared:
    """A series on its way: its row and what was remarked so far."""

    place: int
    series: Series
    first: np.datetime64
    row: Array
    lag: int
    remarks: list[Remark] = field(default_factory=list[Remark])


def forecast_all(
    series: Sequence[Series], *, first: np.datetime64 | Sequence[np.datetime64], horizon: int
) -> list[Forecast | NoForecast]:
    """Forecast many series, from one moment on or each from its own.

    Args:
        series: any mixture of steps, lengths and kinds.
        first: the first moment to forecast (UTC), one for all or one each; what was measured then or later is not
            looked at.
        horizon: steps ahead, of each series' own step.

    Returns:
        one answer per series, in their order.
    """
    answers: list[Forecast | NoForecast | None] = [None] * len(series)
    groups: defaultdict[tuple[int, int, int], list[Prepared]] = defaultdict(list)
    firsts = [first] * len(series) if isinstance(first, np.datetime64) else first
    for place, (one, own_first) in enumerate(zip(series, firsts, strict=True)):
        prepared = prepare(place, one, first=own_first)
        if isinstance(prepared, Remark):
            answers[place] = NoForecast(one, prepared)
        else:
            groups[one.step_s, len(prepared.row), prepared.lag].append(prepared)
    for (step_s, _, lag), group in groups.items():
        for place, answer in forecast_group(group, step_s=step_s, lag=lag, horizon=horizon):
            answers[place] = answer
    return [answer for answer in answers if answer is not None]


def prepare(place: int, series: Series, *, first: np.datetime64) -> Prepared | Remark:
    """Clean one series and cut it to whole weeks or days, so that equal series stand in equal rows."""
    step = np.timedelta64(series.step_s, "s")
    start = first.astype("datetime64[s]")
    grid = lay_on_grid(series, now=start)
    if isinstance(grid, Remark):
        return grid
    whole = 7 if series.step_s == DAY_S else 24
    values = grid.values
    if len(values) >= 8 * whole:
        values = values[len(values) % whole :]
    while np.isnan(values[0]):
        values = values[1:]
    remarks = list(grid.remarks)
    if len(values) < COMFORTABLE[series.step_s]:
        remarks.append(Remark("forecast.short", {"count": len(values)}))
    if series.kind is not Kind.USAGE and (
        fell := find_resets(Grid(grid.end - len(values) * step, grid.step_s, values))
    ):
        remarks.append(fell)
    lag = int((start - grid.end) / step)
    if lag > GAPS_NAMED_STEPS:
        remarks.append(Remark("forecast.silent", {"date": day_of(grid.end)}))
    return Prepared(place, series, start, values, lag, remarks)


def forecast_group(group: list[Prepared], *, step_s: int, lag: int, horizon: int) -> list[tuple[int, Forecast]]:
    """Forecast series of one step, length and lag: gate outages, then project those with equal gates together."""
    rows = np.stack([fill_gaps(one.row, step_s=step_s) for one in group])
    outage = count_outage(rows, step_s=step_s)
    answers: list[tuple[int, Forecast]] = []
    for cut in np.unique(outage):
        chosen = np.flatnonzero(outage == cut)
        members = [group[i] for i in chosen]
        end = rows.shape[1] - int(cut)
        if cut:
            for one in members:
                since = one.first - np.timedelta64((int(cut) + lag) * step_s, "s")
                one.remarks.append(Remark("forecast.outage", {"date": day_of(since), "moment": str(since)}))
        part = [one.row[:end] for one in members]
        answers += forecast_rows(members, rows[chosen, :end], np.stack(part), lag=lag + int(cut), horizon=horizon)
    return answers


def forecast_rows(
    group: list[Prepared], rows: Array, observed: Array, *, lag: int, horizon: int
) -> list[tuple[int, Forecast]]:
    """Project complete rows and make each one's answer; `observed` has NaN where a sample lacked."""
    step_s = group[0].series.step_s
    rows, outlying = replace_outliers(rows, step_s=step_s)
    observed = np.where(outlying, np.nan, observed)
    projection = project(rows, observed, step_s=step_s, horizon=lag + horizon)
    comes_and_goes = fluctuates(rows)
    mean = projection.mean
    if step_s == DAY_S:
        mean = mean + np.where(comes_and_goes[:, None], yearly_pull(rows, steps=lag + horizon), 0.0)
    spread = bounds(rows, projection, step_s=step_s)
    lines = np.stack([mean, *(mean + offset for offset in spread)])
    lines = np.maximum(lines, smallest_possible(rows))[:, :, lag:]
    answers: list[tuple[int, Forecast]] = []
    for i, one in enumerate(group):
        answer = Forecast(
            one.series,
            one.first,
            mean=lines[0, i],
            lo80=lines[1, i],
            hi80=lines[2, i],
            lo95=lines[3, i],
            hi95=lines[4, i],
            back_test=back_test_of(projection, i),
            history=rows[i],
            lag=lag,
            piles_up=one.series.kind is not Kind.USAGE and not comes_and_goes[i],
            remarks=(*one.remarks, *remark_on(rows[i], outlying[i], one.series, end=one.first, lag=lag)),
        )
        answers.append((one.place, answer))
    return answers


def smallest_possible(rows: Array) -> Array:
    """Bound forecasts from below: what never fell won't, and nothing measured is negative; shape (n, 1)."""
    never_fell = (np.diff(rows, axis=1) >= 0).all(axis=1)
    return np.where(never_fell, rows[:, -1], 0.0)[:, None]


def back_test_of(projection: Projection, i: int) -> BackTest:
    """Sum up the errors of one series at its earlier origins."""
    mae, naive = (
        float(mean_where(np.abs(e[i]).reshape(1, -1), axis=1)[0]) for e in (projection.errors, projection.naive_errors)
    )
    relative = mae / naive if naive > 0 else float("nan") if np.isnan(mae) or mae > 0 else 1.0
    return BackTest(mae, relative, projection.errors.shape[1])


def remark_on(row: Array, outlying: NDArray[np.bool_], series: Series, *, end: np.datetime64, lag: int) -> list[Remark]:
    """Remark on what people should know of the row: constant, outliers, a shifted level."""
    remarks: list[Remark] = []
    if np.ptp(row) <= 1e-9 * np.abs(row).max(initial=0):
        return [Remark("forecast.constant", {"count": len(row)})]
    if outlying.any():
        remarks.append(Remark("forecast.outliers", {"count": int(outlying.sum())}))
    if shift := find_shift(row, step_s=series.step_s):
        back = (lag + len(row) - shift.step) * series.step_s
        when = end - np.timedelta64(back, "s")
        remarks.append(Remark("forecast.shifted", {"date": day_of(when), "amount": shift.amount, "unit": series.unit}))
    return remarks
