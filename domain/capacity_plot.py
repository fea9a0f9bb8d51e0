"""One resource's plot, in the reader's language: what was measured, what comes, the limit, and the day it is reached.

Called by the tasks of `capacity`; `domain.chart` draws.
"""

import numpy as np

from domain.catalogue import Language, say
from domain.chart import Band, Labels, Mark, draw
from domain.outlook import Outlook
from domain.series import DAY_S, Array, Series, Times, day_of

SHOWN_STEPS = {DAY_S: 240, 3600: 504}
"""Of the past; more would press what comes into a corner."""
BAND_POINTS_MAX, HOURS_SHOWN_MAX = 112, 504


def plot_outlook(outlook: Outlook, series: Series, *, language: Language) -> str:
    """Draw one resource as SVG."""
    shown = slice(-SHOWN_STEPS[outlook.step_s], None)
    times, values = with_gaps(series)
    mark = None
    if outlook.median is not None:
        mark = Mark(outlook.median.astype("datetime64[s]"), day_of(outlook.median))
    return draw(
        times[shown],
        values[shown],
        unit=outlook.resource.unit,
        labels=Labels(
            title=outlook.resource.key,
            history=say("capacity.label_history", language=language),
            ahead=say("capacity.label_ahead", language=language),
            limit=say("capacity.label_limit", language=language),
            threshold=say("capacity.label_threshold", language=language),
        ),
        band=_band(outlook),
        limit=outlook.limit.value if outlook.limit else None,
        threshold=outlook.limit.threshold if outlook.limit else None,
        crossing=mark,
    )


def with_gaps(series: Series) -> tuple[Times, Array]:
    """Put NaN where a step has no value, so that a gap is drawn as one."""
    slots = series.times.astype("datetime64[s]").astype(np.int64) // series.step_s
    if not len(slots):
        return series.times, series.values
    grid = np.full(int(slots[-1] - slots[0]) + 1, np.nan)
    grid[slots - slots[0]] = series.values
    starts = (np.arange(len(grid)) + slots[0]) * series.step_s
    return starts.astype("datetime64[s]"), grid


def _band(outlook: Outlook) -> Band | None:
    if outlook.band is None or outlook.start is None:
        return None
    start, steps = outlook.start.astype("datetime64[s]"), outlook.band.shape[1]
    if outlook.step_s != DAY_S and steps > HOURS_SHOWN_MAX:
        return _by_days(start, outlook.band)
    # evenly: a course of the day that is met at uneven hours looks like another course
    chosen = np.arange(0, steps, -(-steps // BAND_POINTS_MAX))
    times = start + chosen * np.timedelta64(outlook.step_s, "s")
    return Band(times, *(row[chosen] for row in outlook.band))


def _by_days(start: np.datetime64, band: Array) -> Band:
    """A band of many hours as one of days: the mean, and the outermost bounds of each day."""
    days = band[:, : band.shape[1] // 24 * 24].reshape(len(band), -1, 24)
    mean, lo80, hi80, lo95, hi95 = days
    times = start + np.arange(days.shape[1]) * np.timedelta64(DAY_S, "s")
    bounds = (lo80.min(axis=1), hi80.max(axis=1), lo95.min(axis=1), hi95.max(axis=1))
    return Band(times, mean.mean(axis=1), *bounds)
