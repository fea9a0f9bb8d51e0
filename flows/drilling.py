"""A whole drill, from the choice of the backups to the signed result: what `restore_drill` does.

Apart from the flow, so that the fault corpus and the benchmark drill without an orchestrator.
"""

from typing import Any

from domain.drill import Check, Damage, Objectives, Outcome, check_objectives, passed
from flows.drilling_objects import drill_buckets, prove_object_damage
from flows.rehearsing import find_damage, rehearse
from tasks.drill import (
    conclude_drill,
    destroy_leftovers,
    look_at_backups,
    measure_time,
    prove_objects,
    read_tamper,
    record_tamper,
)
from tasks.drill_objects import ChosenCopies

_WRONG_SHA256 = "0" * 64


def drill_backups(run: str, objectives: Objectives, *, seed: str, is_tamper_wanted: bool) -> dict[str, Any]:
    """Drill the newest backup and a random older one; returns verdict, deciding checks and signature."""
    begun_at = measure_time(run)
    destroy_leftovers(run)
    looked = look_at_backups(run, seed or run, objectives)
    checks: list[Check] = [*looked.checks]
    figures: dict[str, float] = {}
    findings: tuple[str, ...] = ()
    if looked.newest:
        proven, figures, findings = rehearse(run, looked.newest, f"drill-{run[:8]}")
        checks += proven
    if looked.older:
        proven, _, _ = rehearse(run, looked.older, f"drill-{run[:8]}-older", suffix="@older", with_data=False)
        checks += proven
    bucket_checks, copies = drill_buckets(run, seed=seed or run)
    checks += bucket_checks
    checks += check_objectives(figures.get("rto_s"), looked.rpo_s, objectives)
    figures |= {} if looked.rpo_s is None else {"rpo_s": max(0.0, looked.rpo_s)}
    if looked.newest and not any(check.outcome is Outcome.FAIL for check in checks):
        # damage proves something only where all is well without it
        checks += _prove_tamper(run, looked.newest, copies, is_wanted=is_tamper_wanted)
    backups = tuple(one for one in (looked.newest, looked.older) if one)
    return conclude_drill(run, begun_at, backups, tuple(checks), figures, findings, objectives)


def _prove_tamper(run: str, backup: str, copies: list[ChosenCopies], *, is_wanted: bool) -> list[Check]:
    """Step 12: a damaged copy has to turn the drill red; each kind of damage is looked for by other checks."""
    if not is_wanted and (proven := read_tamper(run)):
        return [passed("tamper.recent", "tamper_recent", date=proven)]
    found = prove_objects(run, backup, _WRONG_SHA256)
    checks = [record_tamper(run, Damage.MANIFEST, f"manifest of {backup}", _name_if_bad(found))]
    for kind in (Damage.PAGE, Damage.TRUNCATED):
        damage, by = find_damage(run, backup, f"drill-{run[:8]}-{kind}", kind)
        checks.append(record_tamper(run, kind, damage or kind, by))
    return checks + prove_object_damage(run, copies)


def _name_if_bad(check: Check) -> str:
    return check.name if check.outcome is Outcome.FAIL else ""
