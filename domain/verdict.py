"""A judgement as a fact: the verdict, what each trigger found, and how people read it.

Made by `domain/judgement.py`, recorded in the ledger, shown in artifacts and forms.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from domain.catalogue import Language, say


class Verdict(StrEnum):
    """The result of judging; unclear neither passes nor fails."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNCLEAR = "UNCLEAR"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one trigger says: `unavailability`, `errors`, `latency` or `tail`.

    `verdict` is None while nothing is decided. `figures` are named numbers, units in their names; those that could not
    be measured are missing. `evidence` and `threshold` are logarithms: FAIL at `evidence >= threshold`.
    """

    trigger: str
    verdict: Verdict | None
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer at one moment. `verdict` None: go on watching. `cause` is the key of the text that says why."""

    verdict: Verdict | None
    findings: tuple[Finding, ...]
    cause: str
    watched_s: float

    def figures(self, trigger: str) -> Mapping[str, float]:
        """The figures of one trigger; empty where it was not looked at."""
        return next((finding.figures for finding in self.findings if finding.trigger == trigger), {})

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, for the ledger."""
        return {
            "verdict": self.verdict.value if self.verdict else None,
            "cause": self.cause,
            "watched_s": self.watched_s,
            "findings": [
                {
                    "trigger": finding.trigger,
                    "verdict": finding.verdict.value if finding.verdict else None,
                    "figures": dict(finding.figures),
                }
                for finding in self.findings
            ],
        }


def read_judgement(value: Mapping[str, Any]) -> Judgement:
    """Rebuild a judgement from what `as_dict` wrote."""
    findings = tuple(
        Finding(part["trigger"], Verdict(part["verdict"]) if part["verdict"] else None, dict(part["figures"]))
        for part in value["findings"]
    )
    verdict = Verdict(value["verdict"]) if value["verdict"] else None
    return Judgement(verdict, findings, cause=value["cause"], watched_s=value["watched_s"])


def first_failed(findings: Sequence[Finding]) -> Finding | None:
    """The first trigger that failed; None where none did."""
    return next((finding for finding in findings if finding.verdict is Verdict.FAIL), None)


def numbers(**values: float | None) -> dict[str, float]:
    """Keep what was measured, to six digits: figures go into the ledger, whose hash needs finite numbers."""
    return {
        name: value if isinstance(value, int) else float(f"{value:.6g}")
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    }


def explain_judgement(judgement: Judgement, *, language: Language = "en") -> str:
    """Write the verdict, its cause with the figure that decided, and a table of all figures, as markdown."""
    verdict = say(f"judgement.verdict_{judgement.verdict or 'none'}".lower(), language=language)
    head = say("judgement.head", language=language, verdict=verdict, watched=_plain(judgement.watched_s))
    cause = say(judgement.cause, language=language, **_said_figures(judgement))
    columns = say("judgement.columns", language=language)
    lines = [f"**{head}** {cause}", "", f"| {columns} |", "| --- | --- | --- | --- | --- |"]
    lines += [_row(finding, language=language) for finding in judgement.findings]
    return "\n".join(lines)


def _said_figures(judgement: Judgement) -> dict[str, str]:
    """The figures that a cause may name, of the trigger that decided; `–` where it was not measured."""
    deciding = first_failed(judgement.findings)
    figures = dict(deciding.figures if deciding else judgement.figures("traffic"))
    if not deciding:
        figures |= {
            key: value for key, value in judgement.figures("latency").items() if key.endswith("ratio")
        } | figures
    return {name: _figure(name, figures.get(name)) for name in _SAID}


_SAID = (
    "canary_requests",
    "canary_failures",
    "canary_ratio",
    "live_requests",
    "live_ratio",
    "before_ratio",
    "limit",
    "canary_latency_s",
    "live_latency_s",
    "latency_ratio",
    "visible_ratio",
    "bound_s",
)


def _figure(name: str, value: float | None) -> str:
    """Write a number as its name says: shares in percent, seconds in milliseconds, the rest as it is."""
    if value is None:
        return "–"
    if name in ("canary_ratio", "live_ratio", "before_ratio", "limit"):
        return f"{100 * value:.3g} %"
    if name.endswith("_s"):
        return f"{1000 * value:.3g} ms"
    return _plain(value)


def _plain(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _row(finding: Finding, *, language: Language) -> str:
    figures = finding.figures
    verdict = say(f"judgement.verdict_{finding.verdict or 'none'}".lower(), language=language)
    evidence = "–"
    if "evidence" in figures:
        evidence = f"{figures['evidence']:.1f} / {figures['threshold']:.1f}"
    name = say(f"judgement.trigger_{finding.trigger}", language=language)
    return f"| {name} | {verdict} | {_arm('canary', figures)} | {_arm('live', figures)} | {evidence} |"


def _arm(arm: str, figures: Mapping[str, float]) -> str:
    """One arm's cell: its share or its typical latency with what it was counted from."""
    requests = figures.get(f"{arm}_requests")
    if requests is None:
        before = figures.get("before_ratio") if arm == "live" else None
        return "–" if before is None else _figure("before_ratio", before)
    if (latency_s := figures.get(f"{arm}_latency_s")) is not None:
        return f"{_figure('latency_s', latency_s)} ({_plain(requests)})"
    events = figures.get(f"{arm}_failures", figures.get(f"{arm}_slow"))
    if events is None:
        return _plain(requests)
    share = figures.get(f"{arm}_ratio")
    return f"{_plain(events)} / {_plain(requests)}" + ("" if share is None else f" = {_figure('canary_ratio', share)}")
