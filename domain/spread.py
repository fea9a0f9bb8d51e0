"""The spread of a forecast: how far off its back-tests were, widened to what such series did afterwards.

The scale of a series is the size of its back-test errors as a power of the steps ahead. How many scales an 80 or 95 %
interval takes depends on the series (a store that grows in jumps errs upwards, a busy web site both ways): four linear
forms per frequency, fitted by quantile regression. Called by `domain.forecast`.

Source: docs/explanation/how-capacity-is-forecast.md (fit, coverage per group).
"""

from itertools import pairwise

import numpy as np

from domain.backtest import DAY_S, Projection, mean_where
from domain.bank import Array

SLOPE_PRIOR, SLOPE_TRUST = 0.4, 0.5
"""Errors grow like steps ** 0.4; a series' own slope is believed half, since far steps have few origins."""
CUTS = (0, 1 / 6, 1 / 3, 2 / 3, 1)
CUT_WEIGHTS = np.array([1, 1, 1, 0.5])
TINY = 1e-12
WIDTH_LOGS = (-3.0, 4.0)
# Rows: below and above the mean for 80 %, then for 95 %. Columns: the features of `describe_daily`/`describe_hourly`.
DAILY_WIDTHS = np.array(
    [
        [0.022, -0.751, -1.254, -0.595, 0.250, 0.076],
        [0.440, 1.033, -0.661, -0.376, 0.090, 0.315],
        [0.791, -0.007, -0.075, -0.097, 0.009, 0.185],
        [1.343, 0.486, -0.275, 0.060, 0.196, 0.220],
    ]
)
HOURLY_WIDTHS = np.array(
    [
        [0.440, -0.450, -0.101, 0.037, 0.178],
        [1.016, -0.020, -0.611, 0.024, 0.208],
        [1.606, -0.386, -0.289, 0.155, 0.241],
        [2.605, -0.292, -2.009, 0.095, 0.304],
    ]
)


def error_scale(projection: Projection, *, horizon: int, floor: Array) -> Array:
    """Estimate the size of errors by steps ahead: shape (n, horizon), at least `floor` (shape n) and rising."""
    misses = mean_where(np.abs(projection.errors), axis=1)
    edges = [round(cut * misses.shape[1]) for cut in CUTS]
    spans = [slice(a, max(b, a + 1)) for a, b in pairwise(edges)]
    sizes = np.stack([mean_where(misses[:, span], axis=1) for span in spans], axis=1)
    for i in range(1, len(spans)):  # steps that no origin reached err as the last ones that one did
        sizes[:, i] = np.where(np.isnan(sizes[:, i]), sizes[:, i - 1], sizes[:, i])
    logs = np.log(np.nan_to_num(sizes) + floor[:, None])
    where = np.log([projection.thinned[span].mean() for span in spans])
    weights = CUT_WEIGHTS / CUT_WEIGHTS.sum()
    centre, level = where @ weights, logs @ weights
    variance = ((where - centre) ** 2) @ weights
    slope = ((logs - level[:, None]) * (where - centre)) @ weights / variance if variance else np.zeros(len(logs))
    slope = np.clip(SLOPE_TRUST * slope + (1 - SLOPE_TRUST) * SLOPE_PRIOR, 0, 1)
    return np.exp(level[:, None] + slope[:, None] * (np.log(np.arange(1, horizon + 1)) - centre))


def describe_daily(rows: Array, scale: Array) -> Array:
    """Describe daily series and steps by what tells how wide an interval must be: shape (n, horizon, features).

    Shares of still and of falling steps, the largest step, errors against steps, and how far ahead.
    """
    moves = np.diff(rows, axis=1)
    sizes = np.abs(moves)
    typical = sizes.mean(axis=1, keepdims=True) + TINY
    still = sizes <= 1e-9 * np.abs(rows).max(axis=1, keepdims=True)
    return lay_out(
        scale,
        np.ones((len(rows), 1)),
        still.mean(axis=1, keepdims=True),
        (moves < 0).mean(axis=1, keepdims=True),
        np.log1p(sizes.max(axis=1, keepdims=True) / typical) - 3,
        np.clip(np.log((scale.mean(axis=1, keepdims=True) + TINY) / typical), -3, 4),
        np.log(np.arange(1, scale.shape[1] + 1) / scale.shape[1]) + 1,
    )


def describe_hourly(rows: Array, scale: Array, disagreement: Array) -> Array:
    """Describe hourly series and steps: the largest step, the length, how far ahead, how far members lie apart."""
    sizes = np.abs(np.diff(rows, axis=1))
    return lay_out(
        scale,
        np.ones((len(rows), 1)),
        np.log1p(sizes.max(axis=1, keepdims=True) / (sizes.mean(axis=1, keepdims=True) + TINY)) - 3,
        np.full((1, 1), np.clip(np.log(rows.shape[1] / 672), -1.7, 0.7)),
        np.log(np.arange(1, scale.shape[1] + 1) / scale.shape[1]) + 1,
        np.clip(np.log((disagreement + TINY) / (scale + TINY)), -4, 2),
    )


def lay_out(scale: Array, *features: Array) -> Array:
    """Stack features of a series (shape n, 1), of a step (horizon) or of both into (n, horizon, features)."""
    count, horizon = scale.shape
    return np.stack([np.broadcast_to(feature, (count, horizon)) for feature in features], axis=2)


def bounds(rows: Array, projection: Projection, *, step_s: int) -> tuple[Array, Array, Array, Array]:
    """Offsets from the mean to the 80 % bounds (low, high) and the 95 % bounds (low, high), shape (n, horizon) each."""
    moves = np.abs(np.diff(rows, axis=1)).mean(axis=1)
    tested = ~np.isnan(projection.errors).all(axis=(1, 2))
    floor = np.where(tested, 1e-3, 1.0) * moves + 1e-9 * np.abs(rows).mean(axis=1) + TINY
    scale = error_scale(projection, horizon=projection.mean.shape[1], floor=floor)
    constant = np.ptp(rows, axis=1) <= 1e-9 * np.abs(rows).max(axis=1)
    scale[constant] = 0.0
    if step_s == DAY_S:
        features, table = describe_daily(rows, np.where(constant[:, None], 1.0, scale)), DAILY_WIDTHS
    else:
        features, table = (
            describe_hourly(rows, np.where(constant[:, None], 1.0, scale), projection.disagreement),
            HOURLY_WIDTHS,
        )
    low80, high80, low95, high95 = (scale * np.exp(np.clip(features @ form, *WIDTH_LOGS)) for form in table)
    return -low80, high80, -np.maximum(low95, low80), np.maximum(high95, high80)
