"""The page that says what is protected: a verdict, a table with what each thing lacks, figures, and a plot of growth.

A person reads it in the Prefect UI in a minute. Rendered from facts only; held by a golden test.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC

import numpy as np

from domain.backup import Backup, BackupKind, CopyPlace, WalState
from domain.backup_protection import Protection
from domain.catalogue import Language, say
from domain.chart import Labels, draw, write_value

POINTS_MAX = 400
KEPT_MAX = 60


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What the page tells. `backups` oldest first; the newest one is this run's where `is_new`. `kept`: by which rules
    each stays, by its id."""

    protections: tuple[Protection, ...]
    backups: tuple[Backup, ...]
    log: WalState
    place: CopyPlace
    expired: int = 0
    swept: int = 0
    is_new: bool = True
    rules: str = ""
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def render_report(report: BackupReport, *, language: Language = "en") -> str:
    """Write the page as markdown, below 60 KB."""
    parts = [
        f"# {say('backup.report_title', language=language)}",
        _verdict(report, language),
        *_table(report, language),
    ]
    done = [one for one in report.backups if one.is_done]
    if done and report.is_new:
        parts.append(_taken(done, language))
    parts += [*_figures(report, language), *_kept(report, language), _plot(done, language)]
    return "\n\n".join(part for part in parts if part)


def explain_protection(protection: Protection, *, language: Language = "en") -> str:
    """Name what a thing lacks, in words; empty where it is protected."""
    return ", ".join(say(f"backup.lacks_{one}", language=language) for one in protection.weaknesses)


def _verdict(report: BackupReport, language: Language) -> str:
    weak = sum(not one.is_protected for one in report.protections)
    if not weak:
        return say("backup.all_protected", language=language)
    return say("backup.not_protected", language=language, count=weak, total=len(report.protections))


def _table(report: BackupReport, language: Language) -> list[str]:
    lines = [say("backup.table_head", language=language), "| --- | --- | --- | --- | --- | --- |"]
    for one in report.protections:
        newest = f"{one.newest_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if one.newest_at else ""
        lines.append(
            f"| {one.name} | {say('backup.yes' if one.is_protected else 'backup.no', language=language)} "
            f"| {newest or say('backup.never', language=language)} | {write_value(one.stored_bytes, 'bytes')} "
            f"| {say(f'backup.encryption_{one.encryption}', language=language)} "
            f"| {explain_protection(one, language=language)} |"
        )
    return ["\n".join(lines)]


def _taken(done: Sequence[Backup], language: Language) -> str:
    one = done[-1]
    same = [other for other in done[:-1] if other.kind is one.kind and other.stored_bytes]
    change = say("backup.first", language=language)
    if same:
        percent = 100 * (one.stored_bytes / same[-1].stored_bytes - 1)
        change = say("backup.grown", language=language, percent=percent)
    return say(
        "backup.taken",
        language=language,
        kind=one.kind.value,
        id=one.id,
        engine=one.engine,
        version=one.engine_version,
        size=write_value(one.size_bytes, "bytes"),
        stored=write_value(one.stored_bytes, "bytes"),
        seconds=f"{one.seconds:.1f}",
        rate=write_value(one.size_bytes / max(one.seconds, 0.1), "bytes"),
        change=change,
        target=one.target_lsn,
    )


def _figures(report: BackupReport, language: Language) -> list[str]:
    log, place = report.log, report.place
    gaps = ", ".join(f"`{gap.first}` ({gap.count})" for gap in log.gaps[:5]) or say("backup.no_gap", language=language)
    told = say(
        "backup.log",
        language=language,
        segments=log.segments,
        newest=log.newest or "-",
        waiting=log.waiting,
        lag=f"{log.lag_s:.0f}",
        gaps=gaps,
    )
    where = f"`{place.where}`" if place.where else say("backup.no_place", language=language)
    reason = f" ({place.reason})" if place.reason else ""
    return [
        told,
        say("backup.place", language=language, where=where, reason=reason),
        say("backup.expired", language=language, count=report.expired, swept=report.swept),
    ]


def _kept(report: BackupReport, language: Language) -> list[str]:
    """What is kept, and why, newest first."""
    shown = [one for one in reversed(report.backups) if one.is_done][:KEPT_MAX]
    if not shown or not report.rules:
        return []
    lines = [say("backup.kept_head", language=language), "| --- | --- | --- | --- |"]
    for one in shown:
        reasons = ", ".join(explain_rule(rule, language=language) for rule in report.kept.get(one.id, ()))
        at = f"{one.begun_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        why = reasons or say("backup.kept_not", language=language)
        lines.append(f"| `{one.id}` | {one.kind.value} | {at} | {why} |")
    more = len([one for one in report.backups if one.is_done]) - len(shown)
    told = say("backup.kept_rules", language=language, rules=report.rules, more=more)
    return [f"## {say('backup.kept_title', language=language)}", told, "\n".join(lines)]


def explain_rule(rule: str, *, language: Language = "en") -> str:
    """Name a rule of retention in words; what somebody wrote of a hold stays as it is."""
    name, _, more = rule.partition(": ")
    if name == "hold":
        return say("backup.rule_hold", language=language, reason=" ".join(more.replace("|", "/").split())[:80])
    if name.startswith("parent of "):
        return say("backup.rule_parent", language=language, id=name.removeprefix("parent of "))
    return say(f"backup.rule_{name}", language=language)


def _plot(done: Sequence[Backup], language: Language) -> str:
    full = [one for one in done if one.kind is BackupKind.FULL][-POINTS_MAX:]
    if len(full) < 2:
        return ""
    times = np.array([np.datetime64(one.begun_at.astimezone(UTC).replace(tzinfo=None), "s") for one in full])
    values = np.array([float(one.stored_bytes) for one in full])
    title, history = (say(f"backup.{key}", language=language) for key in ("growth", "history"))
    labels = Labels(title=title, history=history, ahead="", limit="", threshold="")
    svg = draw(times, values, unit="bytes", labels=labels)
    return f"![{title}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
