"""What people read of a restore: the page before, the question at the gate, and the report afterwards.

Short ones first: at three in the morning somebody reads what is lost, what comes back, and what each answer does. Used
by `flows/restore.py` and `tasks/restore.py`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from domain.approval import escape
from domain.catalogue import Language, say
from domain.drill import Outcome, say_bytes, say_seconds
from domain.drill_report import explain_check
from domain.release import short
from domain.restore import Comparison, Database, RestoreShown, TableChange, kept_name

ASKED_TABLES_MAX, LISTED_TABLES_MAX = 10, 200
_FINDINGS_MAX = 40


def explain_request(shown: RestoreShown, *, deadline: str, refusal: str = "", language: Language = "en") -> str:
    """Render the form's description: what is lost, what comes back, what was proven, what each answer does."""
    parts = [f"## {_heading(shown, language)}"]
    if refusal:
        parts.append(f"> **{say('approval.asked_again', language=language)}** {refusal}")
    parts += [
        f"**{_summary(shown, language)}**",
        _warnings(shown, language),
        _tables(shown.prepared.comparison, ASKED_TABLES_MAX, language),
        _facts(shown, language, deadline),
        say(f"restore.consequences_{shown.act}", language=language, **_place(shown), deadline=deadline),
    ]
    return "\n\n".join(part for part in parts if part)


def explain_preview(shown: RestoreShown, *, dry_run: bool, language: Language = "en") -> str:
    """Render the page before: the same, every table and every check."""
    usable = shown.prepared.is_usable
    said = "dry" if dry_run else "asks" if usable else "bad"
    parts = [
        f"# {_heading(shown, language)}",
        f"**{_summary(shown, language)}** {say(f'restore.preview_{said}', language=language)}",
        _warnings(shown, language),
        _tables(shown.prepared.comparison, LISTED_TABLES_MAX, language),
        _facts(shown, language, ""),
        _checks(shown, language),
        _findings(shown, language),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def explain_restored(
    shown: RestoreShown,
    ended: Mapping[str, Any],
    *,
    kept: Mapping[str, Database],
    key: str,
    now: datetime,
    language: Language = "en",
) -> str:
    """Render the report: how it ended, the figures, what was lost, the way back, and what is kept."""
    outcome = str(ended["outcome"])
    problem = str(ended.get("health") or ended.get("migrated") or ended.get("cause") or "")
    parts = [
        f"# {_heading(shown, language)}",
        f"**{say(f'restore.ended_{outcome}', language=language, **_place(shown))}**",
        f"> {escape(problem[:800])}" if problem else "",
        _figures(shown, ended, language),
        _way_back(shown, key if key in kept else "", language),
        _kept(shown, kept, now, language),
        f"## {say('restore.lost_and_back', language=language)}",
        _tables(shown.prepared.comparison, LISTED_TABLES_MAX, language),
        _facts(shown, language, ""),
        _checks(shown, language),
        _findings(shown, language),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _place(shown: RestoreShown) -> dict[str, str]:
    return {"application": shown.application, "environment": shown.environment, "kept": shown.kept}


def _heading(shown: RestoreShown, language: Language) -> str:
    to = escape(shown.prepared.course.asked)
    return say(f"restore.heading_{shown.act}", language=language, **_place(shown), to=to)


def _summary(shown: RestoreShown, language: Language) -> str:
    """One sentence with the two figures that count."""
    comparison = shown.prepared.comparison
    if shown.act == "remove":
        return say("restore.summary_remove", language=language, rows=shown.prepared.rows)
    if not shown.prepared.digest:
        return say("restore.summary_nothing", language=language)
    if comparison.problem:
        return say("restore.summary_no_live", language=language, problem=escape(comparison.problem))
    key = "restore.summary" if comparison.is_counted else "restore.summary_at_least"
    return say(key, language=language, lost=comparison.lost, back=comparison.back)


def _warnings(shown: RestoreShown, language: Language) -> str:
    lines: list[str] = []
    prepared = shown.prepared
    bad = [one.name for one in prepared.checks if one.outcome is Outcome.FAIL]
    if bad:
        lines.append(say("restore.warn_failed", language=language, checks=", ".join(bad)))
    if shown.unfit:
        lines.append(say("restore.warn_unfit", language=language, reason=escape(shown.unfit)))
    if shown.migrations:
        names = ", ".join(escape(name) for name in shown.migrations)
        lines.append(say("restore.warn_migrations", language=language, names=names))
    if shown.act != "remove":
        lines.append(say("restore.warn_writing", language=language))
    return "\n".join(f"- {line}" for line in lines)


def _tables(comparison: Comparison, most: int, language: Language) -> str:
    changed = [one for one in comparison.tables if not one.is_same]
    changed.sort(key=lambda one: -((one.lost or 0) + (one.changed or 0) + (one.back or 0)))
    same = len(comparison.tables) - len(changed)
    if not changed:
        return say("restore.tables_same", language=language, count=same) if same else ""
    lines = [
        f"| {say('restore.table_columns', language=language)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    lines += [_row(one, language) for one in changed[:most]]
    more = say("restore.tables_more", language=language, more=max(0, len(changed) - most), same=same)
    return "\n".join(lines) + f"\n\n{more}"


def _row(one: TableChange, language: Language) -> str:
    def count(value: int | None) -> str:
        return "?" if value is None else str(value)

    def rows(value: int | None) -> str:
        return "–" if value is None else str(value)

    notes = [escape(one.problem)] if one.problem else []
    notes += [say("restore.other_columns", language=language)] if one.has_other_columns else []
    if one.newest_now or one.newest_then:
        none = say("restore.none", language=language)
        now, then = (_say_time(moment) or none for moment in (one.newest_now, one.newest_then))
        notes.append(say("restore.newest", language=language, now=now, then=then))
    cells = [f"`{escape(one.name)}`", rows(one.rows_now), rows(one.rows_then)]
    cells += [f"**{count(one.lost)}**" if one.lost else count(one.lost), count(one.changed), count(one.back)]
    return f"| {' | '.join(cells)} | {'; '.join(notes)} |"


def _facts(shown: RestoreShown, language: Language, deadline: str) -> str:
    prepared, comparison = shown.prepared, shown.prepared.comparison
    passed = sum(1 for one in prepared.checks if one.outcome is Outcome.PASS)
    lacking = [one.name for one in prepared.checks if one.outcome is Outcome.UNAVAILABLE]
    none = say("restore.none", language=language)
    rows: list[tuple[str, str]] = [("restore.reason", escape(shown.reason))]
    rows.append(("scale.asked_by", escape(shown.requester) or say("scale.nobody", language=language)))
    if shown.act == "restore":
        rows.append(("restore.from", f"`{escape(prepared.course.backup)}` → {escape(prepared.course.words)}"))
        rows.append(("restore.last_commit", _say_time(prepared.moment) or none))
        log = say_bytes(shown.log_bytes) if shown.log_bytes else none
        rows.append(("restore.log_since", log))
        proofs = say("restore.proofs", language=language, passed=passed, lacking=", ".join(lacking) or none)
        rows.append(("restore.proven", proofs))
    elif prepared.moment:
        rows.append(("restore.kept_since", _say_time(prepared.moment)))
    sizes = f"{say_bytes(comparison.size_now)} → {say_bytes(comparison.size_then)}"
    rows.append(("restore.size", sizes))
    rows.append(("approval.live", f"`{short(shown.live)}`" if shown.live else none))
    if deadline:
        rows.append(("approval.deadline", deadline))
    return "| | |\n| --- | --- |\n" + "\n".join(f"| {say(key, language=language)} | {value} |" for key, value in rows)


def _checks(shown: RestoreShown, language: Language) -> str:
    if not shown.prepared.checks:
        return ""
    lines = [
        f"## {say('restore.checks', language=language)}",
        "",
        f"| {say('restore.check_columns', language=language)} |",
    ]
    lines.append("| --- | --- | --- | ---: |")
    for one in sorted(shown.prepared.checks, key=lambda check: check.outcome is Outcome.PASS):
        outcome = say(f"drill.outcome_{one.outcome}", language=language)
        lines.append(f"| `{one.name}` | {outcome} | {explain_check(one, language=language)} | {one.seconds:.1f} |")
    return "\n".join(lines)


def _findings(shown: RestoreShown, language: Language) -> str:
    ordered = sorted(shown.prepared.findings, key=lambda line: ": ✗" not in line)[:_FINDINGS_MAX]
    lines = [f"- {line[:240]}".replace("<", "‹") for line in ordered]
    return "\n".join([f"## {say('drill.expectations', language=language)}", "", *lines]) if lines else ""


def _figures(shown: RestoreShown, ended: Mapping[str, Any], language: Language) -> str:
    figures = {**shown.prepared.figures}
    if "seconds" in ended:
        figures["whole_s"] = float(ended["seconds"])
    if "exchange_s" in ended:
        figures["exchange_s"] = float(ended["exchange_s"])
    if not figures:
        return ""
    lines = [f"| {say('restore.figure_columns', language=language)} |", "| --- | ---: |"]
    for name, value in figures.items():
        words = say_bytes(int(value)) if name.endswith("_bytes") else say_seconds(value)
        lines.append(f"| {say(f'restore.figure_{name}', language=language)} | {words} |")
    if ended.get("incident"):
        lines.append(f"| {say('restore.incident', language=language)} | #{ended['incident']} |")
    return "\n".join(lines)


def _way_back(shown: RestoreShown, key: str, language: Language) -> str:
    if not key:
        return ""
    return say("restore.way_back", language=language, **{**_place(shown), "kept": key})


def _kept(shown: RestoreShown, kept: Mapping[str, Database], now: datetime, language: Language) -> str:
    if not kept:
        return ""
    lines = [
        f"## {say('restore.kept_heading', language=language)}",
        "",
        f"| {say('restore.kept_columns', language=language)} |",
    ]
    lines.append("| --- | --- | ---: | ---: |")
    for key, one in kept.items():
        name = kept_name(shown.application, shown.environment, key)
        lines.append(f"| `{key}` | `{name}` | {say_bytes(one.size_bytes)} | {say_age(one, now)} |")
    return "\n".join([*lines, "", say("restore.kept_words", language=language, **_place(shown))])


def say_age(one: Database, now: datetime) -> str:
    """How long ago a database was put aside; a dash where nobody knows."""
    at = str(one.facts.get("kept_at", ""))
    return say_seconds(max(0.0, (now - datetime.fromisoformat(at)).total_seconds())) if at else "–"


def _say_time(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else ""
