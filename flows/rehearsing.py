"""Restoring one backup on a scratch server, and looking at all of it: the middle of `restore_drill`.

The order matters: what needs the server at work comes first, then it is stopped in good order and its pages are read.
It is destroyed at the end, whatever happened.
"""

from dataclasses import replace
from typing import Any

from domain.drill import Check, Outcome
from tasks.drill import (
    destroy_scratch,
    prove_content,
    prove_data,
    prove_indexes,
    prove_objects,
    prove_pages,
    restore_scratch,
)
from tasks.drill_objects import prove_references


def rehearse(
    run: str, backup: str, name: str, *, suffix: str = "", with_data: bool = True
) -> tuple[tuple[Check, ...], dict[str, float], tuple[str, ...]]:
    """Restore a backup, prove it, destroy it; returns checks, figures and findings.

    Args:
        suffix: goes behind the checks' names, so that those of two backups can be told apart.
        with_data: also let Great Expectations judge it.
    """
    findings: tuple[str, ...] = ()
    try:
        restored = restore_scratch(run, backup, name)
        checks = [*restored.checks, prove_objects(run, backup)]
        if restored.is_running:
            checks += [prove_content(run, backup, name), prove_indexes(run, name)]
            if with_data:
                judged, findings = prove_data(run, name)
                checks += [*judged, *prove_references(run, backup, name)]
            checks.append(prove_pages(run, name))
        figures = dict(restored.figures)
    finally:
        destroyed = destroy_scratch(run, name)
    checks.append(destroyed)
    figures["checks_s"] = sum(check.seconds for check in checks if check.step not in ("restore", "recovery"))
    return tuple(replace(check, name=check.name + suffix) for check in checks), figures, findings


def find_damage(run: str, backup: str, name: str, damage: str) -> tuple[str, str]:
    """Damage a copy of a backup on purpose, and drill it; returns what was damaged, and which check noticed."""
    try:
        restored = restore_scratch(run, backup, name, damage)
        checks: list[Any] = [*restored.checks]
        if restored.is_running:
            checks += [prove_content(run, backup, name), prove_pages(run, name)]
    finally:
        destroy_scratch(run, name)
    bad = [check.name for check in checks if check.outcome is Outcome.FAIL]
    # a copy that could not even be made was not damaged: nothing is proven then
    return (restored.damage, bad[0] if bad and restored.damage else "")
