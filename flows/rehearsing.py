"""Restoring one backup on a scratch server, and looking at all of it: the middle of `restore_drill`.

The order matters: what needs the server at work comes first, side by side; then it is stopped in good order and its
pages are read. It is destroyed at the end, whatever happened. A step that falls over is a check that failed: a drill
without a result would say less than a red one.
"""

import contextvars
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from domain.drill import Check, Outcome, failed, unavailable
from domain.errors import TransientError
from tasks.drill import (
    Restored,
    await_data,
    destroy_scratch,
    prove_content,
    prove_data,
    prove_indexes,
    prove_objects,
    prove_pages,
    prove_rules,
    restore_scratch,
)
from tasks.drill_objects import prove_references

Look = Callable[[], Check | Iterable[Check]]


def looked(name: str, look: Look) -> list[Check]:
    """What a step found. One that got no answer is unavailable, one that fell over failed, under the step's name."""
    begun = time.monotonic()
    try:
        found = look()
    except TransientError as exc:
        return [unavailable(name, str(exc), seconds=time.monotonic() - begun)]
    except Exception as exc:  # noqa: BLE001 - whatever a damaged backup makes of our code is a finding about the backup
        words = f"{type(exc).__name__}: {str(exc)[:240]}"
        return [failed(name, "step_broke", seconds=time.monotonic() - begun, error=words)]
    return [found] if isinstance(found, Check) else [*found]


def look_side_by_side(looks: Mapping[str, Look]) -> list[Check]:
    """Take several looks at once, and give what they found in their own order."""
    with ThreadPoolExecutor(max(1, len(looks))) as pool:
        # each in a copy of this context: that is how tasks know whose they are
        found = [pool.submit(contextvars.copy_context().run, looked, name, look) for name, look in looks.items()]
        return [check for one in found for check in one.result()]


def rehearse(
    run: str, backup: str, name: str, *, suffix: str = "", with_data: bool = True
) -> tuple[tuple[Check, ...], dict[str, float], tuple[str, ...]]:
    """Restore a backup, prove it, destroy it; returns checks, figures and findings.

    Args:
        suffix: goes behind the checks' names, so that those of two backups can be told apart.
        with_data: also let Great Expectations judge it.
    """
    findings: list[str] = []
    try:
        if with_data:
            looked("expectations.suites", lambda: await_data(run, name))
        restored, checks = _restore(run, backup, name)
        begun = time.monotonic()
        checks += looked("integrity.objects", lambda: prove_objects(run, backup, known=restored.evidence))
        checks = _settle(checks)
        if restored.is_running:
            checks += look_side_by_side(
                {
                    "fingerprint.content": lambda: prove_content(run, backup, name),
                    "pages.indexes": lambda: prove_indexes(run, name),
                    "expectations.rules": lambda: prove_rules(run, name),
                    **(_looks_at_data(run, backup, name, findings) if with_data else {}),
                }
            )
            checks += looked("pages.checksums", lambda: prove_pages(run, name))
        figures = {**restored.figures, "checks_s": time.monotonic() - begun}
    finally:
        destroyed = looked("destruction.server", lambda: destroy_scratch(run, name))
    checks += destroyed
    return tuple(replace(check, name=check.name + suffix) for check in checks), figures, tuple(findings)


def find_damage(run: str, backup: str, name: str, damage: str) -> tuple[str, str]:
    """Damage a copy of a backup on purpose, and drill it; returns what was damaged, and which check noticed."""
    try:
        restored, checks = _restore(run, backup, name, damage)
        if restored.is_running:
            checks += looked("fingerprint.content", lambda: prove_content(run, backup, name))
            checks += looked("pages.checksums", lambda: prove_pages(run, name))
    finally:
        looked("destruction.server", lambda: destroy_scratch(run, name))
    bad = [check.name for check in checks if check.outcome is Outcome.FAIL]
    # a copy that could not even be made was not damaged: nothing is proven then
    return (restored.damage, bad[0] if bad and restored.damage else "")


def _restore(run: str, backup: str, name: str, damage: str = "") -> tuple[Restored, list[Check]]:
    kept: list[Restored] = []

    def look() -> Iterable[Check]:
        kept.append(restore_scratch(run, backup, name, damage))
        return kept[0].checks

    checks = looked("restore.files", look)
    return (kept[0] if kept else Restored(tuple(checks))), checks


def _settle(checks: list[Check]) -> list[Check]:
    """A restore that gave no answer although the store gave every object, whole: it is the backup that is no good."""
    is_whole = any(one.name == "integrity.objects" and one.outcome is Outcome.PASS for one in checks)
    settled: list[Check] = []
    for one in checks:
        if is_whole and one.name == "restore.files" and one.outcome is Outcome.UNAVAILABLE:
            one = failed(one.name, "step_broke", seconds=one.seconds, error=one.values.get("reason", ""))
        settled.append(one)
    return settled


def _looks_at_data(run: str, backup: str, name: str, findings: list[Any]) -> dict[str, Look]:
    return {
        "expectations.data": lambda: _prove_data(run, name, findings),
        "expectations.references": lambda: prove_references(run, backup, name),
    }


def _prove_data(run: str, name: str, findings: list[Any]) -> Iterable[Check]:
    checks, lines = prove_data(run, name)
    findings += lines
    return checks
