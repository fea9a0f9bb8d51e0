"""The report of the drill of the whole: one page that a person reads in a minute.

Verdict first, then the ten steps, the figures, and the trend as a chart. Published by `recovery_drill` as one artifact.
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from domain.catalogue import Language, say
from domain.chart import Labels, draw
from domain.drill import say_seconds
from domain.drill_report import name_verdict, render_steps
from domain.recovery_drill import OPTIONAL, STEPS, RecoveryDrill
from domain.verdict import Verdict

_TREND_MAX = 60


def explain_recovery_drill(
    drill: RecoveryDrill, *, trend: Sequence[tuple[datetime, float]] = (), digest: str = "", language: Language = "en"
) -> str:
    """Write the report as markdown.

    Args:
        trend: when earlier drills were, and after how many seconds all was back; oldest first, this one included.
        digest: of the signed result.
    """
    heading = say("recovery_drill.heading", language=language, verdict=name_verdict(drill.verdict, language=language))
    begun = f"{drill.begun_at.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    facts = {"begun": begun, "seconds": say_seconds(drill.seconds), "digest": f"`{digest[:12] or '–'}`"}
    parts = [
        f"# {heading}",
        f"**{summarise(drill, language=language)}**",
        say("recovery_drill.facts", language=language, **facts),
        render_steps(drill.checks, STEPS, names="recovery_drill.step_", language=language, optional=OPTIONAL),
        _figures(drill, language),
        _trend(drill, trend, language),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def summarise(drill: RecoveryDrill, *, language: Language) -> str:
    """Say in one sentence what was proven, or which checks stand in the way."""
    if drill.verdict is Verdict.PASS:
        return say("recovery_drill.said_pass", language=language, point=drill.point)
    words = f"recovery_drill.said_{drill.verdict.lower()}"
    return say(words, language=language, checks=", ".join(drill.deciding))


def _figures(drill: RecoveryDrill, language: Language) -> str:
    known = [name for name in ("rto", "rpo") if f"{name}_s" in drill.figures]
    if not known:
        return ""
    lines = [f"| {say('drill.figure_columns', language=language)} |", "| --- | --- |"]
    for name in known:
        value = say_seconds(drill.figures[f"{name}_s"])
        lines.append(f"| {say(f'recovery_drill.figure_{name}', language=language)} | {value} |")
    return "\n".join([f"## {say('drill.figures', language=language)}", "", *lines])


def _trend(drill: RecoveryDrill, trend: Sequence[tuple[datetime, float]], language: Language) -> str:
    points = [*trend][-_TREND_MAX:]
    if len(points) < 2:
        return ""
    title = say("recovery_drill.trend", language=language)
    labels = Labels(
        title=title,
        history=say("drill.trend_history", language=language),
        ahead="",
        limit=say("drill.trend_limit", language=language),
        threshold="",
    )
    times = np.array([at.astimezone(UTC).replace(tzinfo=None) for at, _ in points], dtype="datetime64[s]")
    values = np.array([seconds for _, seconds in points], dtype=float)
    svg = draw(times, values, unit="s", labels=labels, limit=float(drill.objectives.rto_s))
    data = base64.b64encode(svg.encode()).decode()
    return f"## {title}\n\n![{title}](data:image/svg+xml;base64,{data})"
