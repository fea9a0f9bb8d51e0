"""The end of the demo: figures, claims and links, for a person and for `summary.json`."""

from pathlib import Path

from rich.text import Text

from deployments.demo.summary import Summary
from deployments.demo.timeline import Timeline


def close_demo(timeline: Timeline, summary: Summary, *, file: Path, desk: str) -> None:
    """Print what happened, what held, and where to look next."""
    timeline.print()
    timeline.print(Text(timeline.text("summary_title"), style="bold"))
    for key, value in _rows(timeline, summary):
        timeline.print(f"  {timeline.text(key):<48} {value}")
    timeline.print()
    timeline.print(timeline.text("links"))
    for name, url in summary.runs.items():
        timeline.print(f"  {name.replace('_', ' '):<14} {url}")
    timeline.print()
    newest = summary.releases.get("bad") or summary.releases.get("good") or summary.releases.get("before", "")
    timeline.print(timeline.text("look", desk=desk, release=newest[:12], file=str(file)))
    timeline.print()
    broken = [name.replace("_", " ") for name, holds in summary.claims.items() if not holds]
    if summary.passed:
        timeline.print(Text(timeline.text("passed"), style="bold green"))
    if summary.problem:
        timeline.print(Text(summary.problem, style="bold red"))
    if broken:
        timeline.print(Text(timeline.text("not_passed", claims=", ".join(broken)), style="bold red"))


def _rows(timeline: Timeline, summary: Summary) -> list[tuple[str, str]]:
    """Name each figure and write it; those that the demo did not get to are a dash."""
    requests = timeline.text(
        "summary_requests_value",
        requests=f"{summary.requests:,}",
        rate=f"{summary.requests_per_s:.0f}",
        p50=f"{summary.latency_ms_p50:.1f}",
        p99=f"{summary.latency_ms_p99:.1f}",
    )
    harmed = timeline.text(
        "summary_harmed_value",
        harmed=summary.harmed_by_canary,
        requests=summary.canary_requests,
        failed=summary.harmed_failed,
        slow=summary.harmed_slow,
    )
    holds = timeline.text("yes" if summary.claims.get("ledger_chain_holds") else "no")
    ledger = timeline.text("summary_ledger_value", entries=summary.ledger_entries, holds=holds)
    return [
        ("summary_requests", requests),
        ("summary_outside", str(summary.failed_outside_canary)),
        ("summary_harmed", harmed),
        ("summary_push", _seconds(timeline, summary.push_to_live_s)),
        ("summary_verdict", _seconds(timeline, summary.verdict_s)),
        ("summary_rollback", _seconds(timeline, summary.rollback_s)),
        ("summary_manual", _seconds(timeline, summary.manual_rollback_s)),
        ("summary_ledger", ledger),
        ("summary_seconds", _seconds(timeline, summary.seconds)),
    ]


def _seconds(timeline: Timeline, value: float | None) -> str:
    return "–" if value is None else timeline.text("seconds", seconds=f"{value:.1f}")
