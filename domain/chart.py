"""Draws one resource as SVG: what was, what comes with its bounds, the limit, and the day it is reached.

Called by the `capacity` report. It has a background of its own, so that it reads the same on a light and a dark page;
a few kilobytes each, so that twenty fit an artifact. Text is text, not outlines: it stays crisp and can be searched.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from domain.amounts import binary_place, write_value
from domain.series import Array, Times

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT, TOP, BOTTOM = 78, 16, 44, 40
POINTS_MAX = 400

INK, MUTED, GRID, PAPER = "#1f2933", "#616e7c", "#e4e7eb", "#ffffff"
HISTORY, AHEAD, BAND80, BAND95, LIMIT, CROSSING = "#1f4e8c", "#c25700", "#f5b97a", "#fbe0c3", "#b00020", "#6b21a8"

_SHORT_UNITS = ("bytes", "ratio", "cores", "")
"""Written at each tick; a longer one stands once, above them."""
_HALO = f' paint-order="stroke" stroke="{PAPER}" stroke-width="4" stroke-linejoin="round"'
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Band:
    """A forecast, on the times of its steps; shape h each."""

    times: Times
    mean: Array
    lo80: Array
    hi80: Array
    lo95: Array
    hi95: Array


@dataclass(frozen=True, slots=True)
class Mark:
    """A day worth a line, with its words."""

    at: np.datetime64
    label: str


@dataclass(frozen=True, slots=True)
class Labels:
    """The words on a chart, in the reader's language."""

    title: str
    history: str
    ahead: str
    limit: str
    threshold: str


@dataclass(frozen=True, slots=True)
class _Frame:
    """From values to places on the page."""

    begin: float
    end: float
    top: float

    def x(self, at: float) -> float:
        return LEFT + (at - self.begin) / (self.end - self.begin) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)


def draw(
    times: Times,
    values: Array,
    *,
    unit: str,
    labels: Labels,
    band: Band | None = None,
    limit: float | None = None,
    threshold: float | None = None,
    crossing: Mark | None = None,
) -> str:
    """Draw a chart; returns SVG, 2 to 40 KB.

    Args:
        times, values: what was measured, sorted by time; shape t; NaN is a gap.
        unit: of the values; bytes are written in KiB to EiB.
    """
    frame = _frame(times, values, band, limit)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{PAPER}"/>',
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold" fill="{INK}">{escape(labels.title)}</text>',
        *_axes(frame, unit=unit),
    ]
    if band is not None and len(band.mean):
        parts += [
            _area(frame, band.times, band.lo95, band.hi95, BAND95),
            _area(frame, band.times, band.lo80, band.hi80, BAND80),
            *_line(frame, band.times, band.mean, AHEAD, dashes="5 3"),
        ]
    parts += _line(frame, times, values, HISTORY)
    parts += _levels(frame, limit=limit, threshold=threshold, labels=labels, unit=unit)
    parts += _mark(frame, crossing) if crossing is not None else []
    return "".join([*parts, *_legend(labels, has_band=band is not None), "</svg>"])


def _frame(times: Times, values: Array, band: Band | None, limit: float | None) -> _Frame:
    ends = [seconds(times)] if len(times) else []
    tops = [values[np.isfinite(values)]]
    if band is not None and len(band.mean):
        ends.append(seconds(band.times))
        tops.append(band.hi80)
    every = np.concatenate(ends) if ends else np.array([0.0, 1.0])
    highest = max((float(top.max()) for top in tops if len(top)), default=0.0)
    # a limit far above what is used would flatten the curve: its line is left to the words then
    if limit is not None and limit <= 4 * highest:
        highest = max(highest, limit)
    return _Frame(float(every.min()), max(float(every.max()), float(every.min()) + 1), 1.08 * highest or 1.0)


def seconds(times: Times) -> Array:
    """Times as seconds since 1970."""
    return times.astype("datetime64[s]").astype(np.int64).astype(float)


def ticks(top: float, *, unit: str, count: int = 5) -> list[float]:
    """Round values from 0 to `top` for an axis; round in powers of 1024 for bytes."""
    scale = 1024.0 ** binary_place(top) if unit == "bytes" else 1.0
    raw = top / scale / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(one for one in _STEPS if one * power >= raw * (1 - 1e-9)) * power * scale
    return [index * step for index in range(int(top / step * (1 + 1e-9)) + 1)]


def _axes(frame: _Frame, *, unit: str) -> Iterator[str]:
    bottom = HEIGHT - BOTTOM
    for value in ticks(frame.top, unit=unit):
        y = frame.y(value)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>'
        yield _text(LEFT - 6, y + 4, write_value(value, unit if unit in _SHORT_UNITS else ""), anchor="end")
    if unit not in _SHORT_UNITS:
        yield _text(LEFT - 6, TOP - 8, unit, anchor="end")
    for at, label in _days(frame):
        x = frame.x(at)
        yield f'<path d="M{x:.1f} {bottom}v4" stroke="{MUTED}"/>'
        if x <= WIDTH - RIGHT - 20:  # one further right would be cut off
            yield _text(x, bottom + 17, label, anchor="middle")
    yield f'<path d="M{LEFT} {bottom}H{WIDTH - RIGHT}" stroke="{MUTED}"/>'


def _text(x: float, y: float, words: str, *, anchor: str = "start", fill: str = MUTED, halo: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}"{halo}>{escape(words)}</text>'


def _days(frame: _Frame) -> Iterator[tuple[float, str]]:
    """Days for the axis: at most seven, evenly spaced, at midnight."""
    days = (frame.end - frame.begin) / 86_400
    step = max(1, math.ceil(days / 7)) * 86_400
    at = math.ceil(frame.begin / 86_400) * 86_400
    while at <= frame.end:
        yield float(at), str(np.datetime64(int(at), "s").astype("datetime64[D]"))
        at += step


def _thin(x: Array, y: Array) -> tuple[Array, Array]:
    """Leave out points that a screen can't show, never a gap's edge or an extreme."""
    if len(x) <= POINTS_MAX:
        return x, y
    kept: list[int] = []
    for piece in np.array_split(np.arange(len(x)), POINTS_MAX // 2):
        known = piece[np.isfinite(y[piece])]
        gap = piece[~np.isfinite(y[piece])][:1]
        ends = [known[np.argmin(y[known])], known[np.argmax(y[known])]] if len(known) else []
        kept += sorted({*(int(one) for one in ends), *(int(one) for one in gap)})
    return x[kept], y[kept]


def _line(frame: _Frame, times: Times, values: Array, colour: str, *, dashes: str = "") -> list[str]:
    x, y = _thin(seconds(times), values.astype(float))
    path, is_down = [], False
    for at, value in zip(x, y, strict=True):
        if math.isfinite(value):
            path.append(f"{'L' if is_down else 'M'}{frame.x(at):.1f} {frame.y(max(value, 0.0)):.1f}")
        is_down = math.isfinite(value)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return [f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="1.8"{dashed}/>'] if path else []


def _area(frame: _Frame, times: Times, low: Array, high: Array, colour: str) -> str:
    x = seconds(times)
    there = [f"{frame.x(a):.1f} {frame.y(min(v, frame.top)):.1f}" for a, v in zip(x, high, strict=True)]
    back = [f"{frame.x(a):.1f} {frame.y(min(max(v, 0), frame.top)):.1f}" for a, v in zip(x, low, strict=True)]
    return f'<path d="M{"L".join([*there, *reversed(back)])}Z" fill="{colour}"/>'


def _levels(frame: _Frame, *, limit: float | None, threshold: float | None, labels: Labels, unit: str) -> Iterator[str]:
    for value, words, dashes in ((limit, labels.limit, ""), (threshold, labels.threshold, "2 3")):
        if value is None:
            continue
        told = f"{words} {write_value(value, unit)}"
        if value > frame.top:
            if value == limit:
                yield _text(WIDTH - RIGHT, TOP - 4, f"{told} ↑", anchor="end", fill=LIMIT)
            continue
        y = frame.y(value)
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{LIMIT}"{dashed}/>'
        yield _text(LEFT + 6, y - 4, told, fill=LIMIT, halo=_HALO)


def _mark(frame: _Frame, mark: Mark) -> list[str]:
    at = float(seconds(np.array([mark.at]))[0])
    if at > frame.end:
        return [
            _text(WIDTH - RIGHT - 4, HEIGHT - BOTTOM - 8, f"{mark.label} →", anchor="end", fill=CROSSING, halo=_HALO)
        ]
    if at < frame.begin:
        return []
    x = frame.x(at)
    anchor = "end" if x > WIDTH / 2 else "start"
    return [
        f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{CROSSING}" stroke-width="1.5" stroke-dasharray="6 3"/>',
        _text(
            x + (-5 if anchor == "end" else 5),
            HEIGHT - BOTTOM - 8,
            mark.label,
            anchor=anchor,
            fill=CROSSING,
            halo=_HALO,
        ),
    ]


def _legend(labels: Labels, *, has_band: bool) -> Iterator[str]:
    entries: Sequence[tuple[str, str]] = [(HISTORY, labels.history), *([(AHEAD, labels.ahead)] if has_band else [])]
    x = LEFT
    for colour, words in entries:
        yield f'<path d="M{x} 32h18" stroke="{colour}" stroke-width="3"/>'
        yield _text(x + 23, 36, words)
        x += 40 + 7 * len(words)
