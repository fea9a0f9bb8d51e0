"""The report of a restore drill: one page that a person reads in a minute.

Verdict first, then what was proven, the thirteen steps, figures, what Great Expectations found, and the trends as
charts. Published by `restore_drill` as one artifact; held by a golden test.
"""

import base64
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import numpy as np

from domain.catalogue import Language, say
from domain.chart import Labels, draw
from domain.drill import OPTIONAL, STEPS, Check, Drill, Outcome, say_bytes, say_seconds, step_outcome
from domain.verdict import Verdict

BYTES_MAX = 200_000
FINDINGS_MAX = 60
_TREND_MAX = 120
_NEAR = 5


def explain_drill(
    drill: Drill,
    *,
    trend: Sequence[tuple[datetime, float]] = (),
    lost: Sequence[tuple[datetime, float]] = (),
    digest: str = "",
    language: Language = "en",
) -> str:
    """Write the report as markdown, below 200 KB.

    Args:
        trend: when earlier drills were, and after how many seconds the restored server was back; oldest first.
        lost: likewise, and how many seconds of work would have been lost.
        digest: of the signed result.
    """
    parts = [
        f"# {say('drill.heading', language=language, verdict=name_verdict(drill.verdict, language=language))}",
        f"**{summarise(drill, language=language)}**",
        _facts(drill, digest, language),
        render_steps(drill.checks, STEPS, names="drill.step_", language=language),
        _figures(drill, language),
        _findings(drill, language),
        _trends(drill, trend, lost, language),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def name_verdict(verdict: Verdict, *, language: Language) -> str:
    """The verdict as people read it."""
    return say(f"drill.verdict_{verdict.lower()}", language=language)


def summarise(drill: Drill, *, language: Language) -> str:
    """Say in one sentence what was proven, or which checks stand in the way."""
    verdict = drill.verdict
    if verdict is Verdict.PASS:
        return say("drill.said_pass", language=language, backups=", ".join(drill.backups))
    return say(f"drill.said_{verdict.lower()}", language=language, checks=", ".join(deciding_checks(drill)))


def deciding_checks(drill: Drill) -> list[str]:
    """Name the checks that failed; where none did, those that were needed and unavailable."""
    bad = [check.name for check in drill.checks if check.outcome is Outcome.FAIL]
    lacking = [check.name for check in drill.checks if check.outcome is Outcome.UNAVAILABLE and check.is_needed]
    return bad or lacking


def explain_check(check: Check, *, language: Language) -> str:
    """The sentence about one check, fit for a cell of a table."""
    words = say(f"drill.{check.text}", language=language, **check.values)
    return words.replace("|", "¦").replace("\n", " ").replace("<", "‹")


def _facts(drill: Drill, digest: str, language: Language) -> str:
    begun = f"{drill.begun_at.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    values = {"engine": drill.engine, "begun": begun, "seconds": say_seconds(drill.seconds)}
    return say("drill.facts", language=language, **values, digest=f"`{digest[:12] or '–'}`")


def render_steps(
    checks: Sequence[Check],
    steps: Sequence[str],
    *,
    names: str,
    language: Language,
    optional: Collection[str] = OPTIONAL,
) -> str:
    """A row for each step, with what its checks found. `names` stands before a step's own name in the catalogue."""
    lines = [f"| {say('drill.columns', language=language)} |", "| --- | --- | --- | --- | --- |"]
    for number, step in enumerate(steps, start=1):
        own = [check for check in checks if check.step == step]
        # what did not pass comes first: it is what a person looks for
        own.sort(key=lambda check: check.outcome is Outcome.PASS)
        outcome = say(f"drill.outcome_{step_outcome(own, step, optional=optional)}", language=language)
        words = "<br>".join(_cell(check, language) for check in own)
        seconds = sum(check.seconds for check in own)
        lines.append(f"| {number} | {say(names + step, language=language)} | {outcome} | {words} | {seconds:.1f} |")
    return "\n".join(lines)


def _cell(check: Check, language: Language) -> str:
    words = explain_check(check, language=language)
    if check.outcome is Outcome.PASS:
        return words
    return f"`{check.name}` {say(f'drill.outcome_{check.outcome}', language=language)}: {words}"


def _figures(drill: Drill, language: Language) -> str:
    lines = [
        f"## {say('drill.figures', language=language)}",
        "",
        f"| {say('drill.figure_columns', language=language)} |",
    ]
    lines += ["| --- | --- |"]
    for name, value in drill.figures.items():
        words = say_bytes(int(value)) if name.endswith("_bytes") else say_seconds(value)
        lines.append(f"| {say(f'drill.figure_{name}', language=language)} | {words} |")
    return "\n".join(lines) if drill.figures else ""


def _findings(drill: Drill, language: Language) -> str:
    if not drill.findings:
        return ""
    # what was not met first, so that a long list hides nothing
    ordered = sorted(drill.findings, key=lambda line: ": ✗" not in line)
    more = [f"- … {len(ordered) - FINDINGS_MAX}"] if len(ordered) > FINDINGS_MAX else []
    lines = [f"- {line[:240]}".replace("<", "‹") for line in ordered[:FINDINGS_MAX]]
    return "\n".join([f"## {say('drill.expectations', language=language)}", "", *lines, *more])


def _trends(
    drill: Drill,
    trend: Sequence[tuple[datetime, float]],
    lost: Sequence[tuple[datetime, float]],
    language: Language,
) -> str:
    limits = drill.objectives
    charts = [_chart("rto", trend, limits.rto_s, language), _chart("rpo", lost, limits.rpo_s, language)]
    shown = [chart for chart in charts if chart]
    return "\n\n".join([f"## {say('drill.trend', language=language)}", *shown]) if shown else ""


def _chart(name: str, trend: Sequence[tuple[datetime, float]], limit_s: float, language: Language) -> str:
    points = [*trend][-_TREND_MAX:]
    if len(points) < 2:
        return ""
    title = say(f"drill.trend_{name}", language=language, limit=say_seconds(limit_s))
    labels = Labels(
        title=title,
        history=say("drill.trend_history", language=language),
        ahead="",
        limit=say("drill.trend_limit", language=language),
        threshold="",
    )
    times = np.array([at.astimezone(UTC).replace(tzinfo=None) for at, _ in points], dtype="datetime64[s]")
    values = np.array([seconds for _, seconds in points], dtype=float)
    # a promise far above would press what was measured into a line at the bottom; the title has it anyway
    limit = float(limit_s) if values.max() * _NEAR >= limit_s else None
    svg = draw(times, values, unit="s", labels=labels, limit=limit)
    data = base64.b64encode(svg.encode()).decode()
    return f"![{title}](data:image/svg+xml;base64,{data})"
