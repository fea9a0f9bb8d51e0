"""Draws how the load was and what was done about it, as SVG: load and capacity above, instances and changes below.

Called by `follow_load`'s report. It has a background of its own, as the other charts (`domain/chart.py`), and its own
time axis, since it shows hours and not weeks.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from html import escape

from domain.chart import (
    AHEAD,
    CROSSING,
    GRID,
    HEIGHT,
    HISTORY,
    INK,
    LEFT,
    MUTED,
    PAPER,
    RIGHT,
    WIDTH,
    ticks,
)
from domain.load_policy import LoadPolicy, Look

UPPER = (44, 200)
LOWER = (226, HEIGHT - 40)
CHANGES = ("out", "in", "bounds")

Place = Callable[[float], float]


def draw_load(looks: Sequence[Look], policy: LoadPolicy, *, title: str, words: tuple[str, str, str], unit: str) -> str:
    """Draw the looks; returns SVG, a few kilobytes.

    Args:
        looks: oldest first, at least one; a load that is not known is a gap.
        words: load, capacity at the target, instances; in the reader's language.
        unit: of load and capacity, in the reader's language.
    """
    begin, end = looks[0].at.timestamp(), max(looks[-1].at.timestamp(), looks[0].at.timestamp() + 60)
    capacity = [policy.capacity * policy.target_ratio * look.instances for look in looks]
    top = 1.1 * max(*capacity, *(look.load for look in looks if math.isfinite(look.load)), 0.001)
    most = max(policy.most, *(look.instances for look in looks)) + 0.5

    def x(at: datetime) -> float:
        return LEFT + (at.timestamp() - begin) / (end - begin) * (WIDTH - LEFT - RIGHT)

    upper, lower = _scale(UPPER, top), _scale(LOWER, most)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{PAPER}"/>',
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold" fill="{INK}">{escape(title)}</text>',
        *_levels(upper, ticks(top, unit="", count=4), lambda value: f"{value:g}"),
        *_levels(
            lower, [float(one) for one in range(0, policy.most + 1, max(1, policy.most // 4))], lambda v: f"{v:g}"
        ),
        *_hours(looks[0].at, looks[-1].at, x),
        _steps([(x(look.at), upper(value)) for look, value in zip(looks, capacity, strict=True)], AHEAD, dashes="5 3"),
        _line([(x(look.at), look.load) for look in looks], upper, HISTORY),
        _steps([(x(look.at), lower(look.instances)) for look in looks], INK),
        *(_change(x(look.at), lower(look.instances), look) for look in looks if look.decided in CHANGES),
        *_legend([(HISTORY, f"{words[0]} ({unit})"), (AHEAD, words[1]), (INK, words[2])]),
    ]
    return "".join([*parts, "</svg>"])


def _scale(panel: tuple[int, int], top: float) -> Place:
    return lambda value: panel[1] - value / top * (panel[1] - panel[0])


def _levels(y: Place, values: Sequence[float], write: Callable[[float], str]) -> Iterator[str]:
    for value in values:
        yield f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>'
        yield _text(LEFT - 6, y(value) + 4, write(value), anchor="end")


def _text(x: float, y: float, words: str, *, anchor: str = "start", fill: str = MUTED) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(words)}</text>'


def _hours(first: datetime, last: datetime, x: Callable[[datetime], float]) -> Iterator[str]:
    span = last - first
    for part in range(5):
        at = first + span * part / 4
        anchor = ("start", "middle", "middle", "middle", "end")[part]
        yield _text(x(at), LOWER[1] + 17, f"{at:%H:%M}" if part else f"{at:%m-%d %H:%M} UTC", anchor=anchor)


def _line(points: Sequence[tuple[float, float]], y: Place, colour: str) -> str:
    path, is_down = "", False
    for at, value in points:
        if math.isfinite(value):
            path += f"{'L' if is_down else 'M'}{at:.1f} {y(value):.1f}"
        is_down = math.isfinite(value)
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>' if path else ""


def _steps(points: Sequence[tuple[float, float]], colour: str, *, dashes: str = "") -> str:
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}" + "".join(f"H{at:.1f}V{value:.1f}" for at, value in points[1:])
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dashed}/>'


def _change(x: float, y: float, look: Look) -> str:
    """A mark at a change, with the number of instances from then on."""
    mark = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{CROSSING}"/>'
    return mark + _text(x, y - 7, f"→ {look.detail}", anchor="end" if x > WIDTH / 2 else "start", fill=CROSSING)


def _legend(entries: Sequence[tuple[str, str]]) -> Iterator[str]:
    x = LEFT
    for colour, words in entries:
        yield f'<path d="M{x} 32h18" stroke="{colour}" stroke-width="3"/>'
        yield _text(x + 23, 36, words)
        x += 40 + 7 * len(words)
