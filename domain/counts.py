"""Counts of both arms, stretch by stretch: what the triggers compare.

Made from the windows that a balancer's metrics gave; used by `domain/triggers.py` and `domain/latency.py`.
"""

from collections.abc import Sequence

from domain.traffic import Window
from domain.verdict import numbers

SLICE_S = 2.0
"""Counts are compared in stretches of this length."""

Count = tuple[int, int, int, int]
"""Requests and events of the canary, requests and events of the live release, in one stretch of time."""


def slices(canary: Sequence[Window], live: Sequence[Window]) -> list[Count]:
    """Add both arms' requests and failures up in stretches of `SLICE_S`, oldest first; empty ones are left out."""
    first = min((_slice_of(arm[0]) for arm in (canary, live) if arm), default=0)
    size = max((_slice_of(arm[-1]) for arm in (canary, live) if arm), default=-1) - first + 1
    columns: list[list[int]] = []
    for arm in (canary, live):
        requests, failures = [0] * size, [0] * size
        for window in arm:
            index = int((window.start_s + window.end_s) / 2 // SLICE_S) - first
            requests[index] += window.requests
            failures[index] += window.failures
        columns += [requests, failures]
    return [(n1, min(n1, k1), n0, min(n0, k0)) for n1, k1, n0, k0 in zip(*columns, strict=True) if n1 or n0]


def _slice_of(window: Window) -> int:
    return int((window.start_s + window.end_s) / 2 // SLICE_S)


def stretch_length_s(windows: Sequence[Window]) -> float:
    """How long one stretch of `slices` is: `SLICE_S`, or as long as the windows where those are longer."""
    return max(SLICE_S, windows[-1].end_s - windows[-1].start_s) if windows else SLICE_S


def windows_since(windows: Sequence[Window], start_s: float) -> list[Window]:
    """The windows that lie, for the larger part, after `start_s`."""
    return [window for window in windows if (window.start_s + window.end_s) / 2 > start_s]


def newest_end_s(*arms: Sequence[Window]) -> float:
    """The end of the newest window of any arm; 0 where there is none."""
    return max((arm[-1].end_s for arm in arms if arm), default=0.0)


def total(counts: Sequence[Count]) -> Count:
    """Add all stretches up."""
    if not counts:
        return (0, 0, 0, 0)
    n1, k1, n0, k0 = map(sum, zip(*counts, strict=True))
    return (n1, k1, n0, k0)


def ratio(events: int, trials: int) -> float | None:
    """The share of events; None where nothing was tried."""
    return events / trials if trials else None


def excess(count: Count) -> float:
    """By how much the canary's share of events exceeds the live release's."""
    n1, k1, n0, k0 = count
    return (ratio(k1, n1) or 0.0) - (ratio(k0, n0) or 0.0)


def count_numbers(count: Count, *, events: str = "failures") -> dict[str, float]:
    """Both arms' requests, events and share of events as named figures."""
    n1, k1, n0, k0 = count
    figures: dict[str, float | None] = {
        "canary_requests": n1,
        f"canary_{events}": k1,
        "canary_ratio": ratio(k1, n1),
        "live_requests": n0,
        f"live_{events}": k0,
        "live_ratio": ratio(k0, n0),
    }
    return numbers(**figures)
