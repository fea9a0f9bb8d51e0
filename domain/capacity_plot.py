"""One resource's plot, in the reader's language: what was measured, what comes, the limit, and the day it is reached.

Called by the tasks of `capacity`; `domain.chart` draws.
"""

import numpy as np

from domain.catalogue import Language, say
from domain.chart import Band, Labels, Mark, draw
from domain.outlook import Outlook
from domain.series import DAY_S, Series, day_of

SHOWN_STEPS = {DAY_S: 240, 3600: 504}
"""Of the past; more would press what comes into a corner."""
BAND_POINTS_MAX = 112


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


def with_gaps(series: Series) -> tuple[np.ndarray, np.ndarray]:
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
    steps = outlook.band.shape[1]
    # evenly: a course of the day that is met at uneven hours looks like another course
    chosen = np.arange(0, steps, -(-steps // BAND_POINTS_MAX))
    times = outlook.start.astype("datetime64[s]") + chosen * np.timedelta64(outlook.step_s, "s")
    return Band(times, *(row[chosen] for row in outlook.band))
