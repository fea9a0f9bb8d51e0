"""What others do, on the same streams: thresholds with a count of failed checks, a rank test, a test at every look.

The first is the shape of Flagger's analysis (an interval of 60 s, rollback at the fifth failed check); the second that
of Kayenta's (Mann-Whitney over the points of the whole watch, once, at its end); the third is what a team writes that
takes a two-sample test from a library and runs it at each look, without paying for looking often.
"""

import math
from collections.abc import Callable, Sequence

from domain.traffic import Window

INTERVAL_S = 60
FAILED_CHECKS_MAX = 5
P99_RATIO_MAX = 1.2
SUCCESS_MIN = 0.99
Z_MAX = 2.576
"""Two-sided 1 %."""

POINT_S = 10
EFFECT_MIN = 1.05
RANK_Z_MAX = 2.326
"""The 98 % interval that Kayenta takes."""


def thresholds_fail_at(canary: Sequence[Window], live: Sequence[Window]) -> float | None:
    """When five checks of 60 s have failed: success below 99 %, or the 99th percentile 1.2 times the live one's."""
    failed = 0
    for end in range(INTERVAL_S, len(canary) + 1, INTERVAL_S):
        ours, theirs = canary[end - INTERVAL_S : end], live[end - INTERVAL_S : end]
        requests = sum(window.requests for window in ours)
        if not requests:
            continue
        success = 1 - sum(window.failures for window in ours) / requests
        slow = _percentile(ours, 0.99) > P99_RATIO_MAX * _percentile(theirs, 0.99)
        failed += success < SUCCESS_MIN or slow
        if failed >= FAILED_CHECKS_MAX:
            return float(end)
    return None


def end_test_fails_at(canary: Sequence[Window], live: Sequence[Window]) -> float | None:
    """At the end of the watch, where error shares or latencies of 10 s points rank higher, by 5 % at least."""
    for measure in (_error_share, _mean_latency, _slow_latency):
        ours, theirs = _points(canary, measure), _points(live, measure)
        larger = sum(ours) / len(ours) > EFFECT_MIN * sum(theirs) / len(theirs)
        if larger and _rank_z(ours, theirs) > RANK_Z_MAX:
            return float(len(canary))
    return None


def _points(windows: Sequence[Window], measure: Callable[[Sequence[Window]], float]) -> list[float]:
    return [measure(windows[start : start + POINT_S]) for start in range(0, len(windows), POINT_S)]


def _error_share(windows: Sequence[Window]) -> float:
    return sum(window.failures for window in windows) / max(1, sum(window.requests for window in windows))


def _mean_latency(windows: Sequence[Window]) -> float:
    total = sum(_log_moments(window)[0] for window in windows)
    return math.exp(total / max(1, sum(window.requests for window in windows)))


def _slow_latency(windows: Sequence[Window]) -> float:
    return _percentile(windows, 0.99)


def _rank_z(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Mann-Whitney's statistic in standard deviations, ties shared."""
    wins = sum((mine > other) + 0.5 * (mine == other) for mine in ours for other in theirs)
    n, m = len(ours), len(theirs)
    return (wins - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)


def repeated_test_fails_at(canary: Sequence[Window], live: Sequence[Window], *, look_s: int) -> float | None:
    """When a z test of error shares, or of mean log latencies, first says 1 %, looking every `look_s`."""
    sums = [0.0] * 8
    for second, (ours, theirs) in enumerate(zip(canary, live, strict=True), start=1):
        for place, window in ((0, ours), (4, theirs)):
            mean, square = _log_moments(window)
            sums[place] += window.requests
            sums[place + 1] += window.failures
            sums[place + 2] += mean
            sums[place + 3] += square
        if second % look_s == 0 and (_errors_differ(sums) or _latencies_differ(sums)):
            return float(second)
    return None


def _errors_differ(sums: Sequence[float]) -> bool:
    n1, k1, n0, k0 = sums[0], sums[1], sums[4], sums[5]
    if not n1 or not n0 or not k1 + k0:
        return False
    pooled = (k1 + k0) / (n1 + n0)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0))
    return deviation > 0 and (k1 / n1 - k0 / n0) / deviation > Z_MAX


def _latencies_differ(sums: Sequence[float]) -> bool:
    n1, n0 = sums[0], sums[4]
    if n1 < 30 or n0 < 30:
        return False
    mean1, mean0 = sums[2] / n1, sums[6] / n0
    variance = (sums[3] / n1 - mean1**2) / n1 + (sums[7] / n0 - mean0**2) / n0
    return variance > 0 and (mean1 - mean0) / math.sqrt(variance) > Z_MAX


def _log_moments(window: Window) -> tuple[float, float]:
    """Sum and sum of squares of log latencies, by the middles of buckets."""
    mean = square = 0.0
    lower = window.bounds_s[0] / 2
    for bound, count in zip(window.bounds_s, window.buckets, strict=True):
        middle = math.log(math.sqrt(lower * (bound if math.isfinite(bound) else lower * 2)))
        mean, square, lower = mean + count * middle, square + count * middle**2, bound
    return mean, square


def _percentile(windows: Sequence[Window], share: float) -> float:
    bounds = windows[0].bounds_s
    totals = [sum(window.buckets[index] for window in windows) for index in range(len(bounds))]
    wanted, seen = share * sum(totals), 0
    for bound, count in zip(bounds, totals, strict=True):
        seen += count
        if seen >= wanted:
            return bound
    return bounds[-1]
