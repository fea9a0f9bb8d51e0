"""Medians and quantiles of many short rows: the same figures as numpy's, several times as fast.

Forecasting takes tens of thousands of them; `numpy.median` spends most of its time on looking for NaN.
Rows here are complete (`domain.sampling` and `domain.trouble` see to that): with a NaN in them the result is void.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def median(values: Array, *, axis: int = -1) -> Array:
    """Median along one axis, which is then gone; the mean of the two middle values where their count is even."""
    moved = values if axis == -1 else np.moveaxis(values, axis, -1)
    rows = moved.copy(order="C")  # which may be put out of order
    count = rows.shape[-1]
    middle = count // 2
    rows.partition(middle, axis=-1)
    upper = rows[..., middle]
    return upper.copy() if count % 2 else (rows[..., :middle].max(axis=-1) + upper) / 2


def quantile(ordered: Array, share: float) -> Array:
    """Quantile of rows that are sorted along their last axis, which is then gone; between two values in proportion."""
    place = share * (ordered.shape[-1] - 1)
    below = int(place)
    above = min(below + 1, ordered.shape[-1] - 1)
    return ordered[..., below] + (place - below) * (ordered[..., above] - ordered[..., below])


def median_of_five(rows: Array) -> Array:
    """Median of each value, its two neighbours before and its two after, along the rows (n, t); edges are repeated."""
    padded = np.pad(rows, ((0, 0), (2, 2)), mode="edge")
    a, b, c, d, e = (padded[:, i : i + rows.shape[1]] for i in range(5))
    low = np.maximum(np.minimum(a, b), np.minimum(c, d))
    high = np.minimum(np.maximum(a, b), np.maximum(c, d))
    return np.maximum(np.minimum(low, high), np.minimum(np.maximum(low, high), e))
