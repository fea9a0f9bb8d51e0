"""A whole drill, from the choice of the backups to the signed result: what `restore_drill` does.

Apart from the flow, so that the fault corpus and the benchmark drill without an orchestrator.
"""

from collections.abc import Iterable
from typing import Any

from domain.drill import Check, Damage, Objectives, Outcome, check_objectives, passed
from flows.drilling_objects import drill_buckets, prove_object_damage
from flows.rehearsing import find_damage, looked, rehearse
from tasks.drill import (
    Looked,
    conclude_drill,
    destroy_leftovers,
    look_at_archive,
    look_at_backups,
    measure_time,
    prove_last_result,
    prove_ledger,
    prove_log,
    prove_objects,
    read_tamper,
    record_tamper,
)
from tasks.drill_objects import ChosenCopies

_WRONG_SHA256 = "0" * 64


def drill_backups(run: str, objectives: Objectives, *, seed: str, is_tamper_wanted: bool) -> dict[str, Any]:
    """Drill the newest backup and a random older one; returns verdict, deciding checks and signature."""
    begun_at = measure_time(run)
    seed = seed or run
    checks = looked("destruction.leftovers", lambda: destroy_leftovers(run))
    chosen, rpo = Looked(()), None

    def choose() -> Iterable[Check]:
        nonlocal chosen
        chosen = look_at_backups(run, seed, objectives)
        return chosen.checks

    def look_at_log() -> Iterable[Check]:
        nonlocal rpo
        found, rpo = look_at_archive(run, chosen.since, objectives)
        return found

    checks += looked("choice.newest", choose)
    checks += looked("integrity.ledger", lambda: prove_ledger(run))
    figures: dict[str, float] = {}
    findings: tuple[str, ...] = ()
    if chosen.newest:
        checks += looked("archive.gaps", look_at_log)
        checks += looked("archive.content", lambda: prove_log(run, seed))
        proven, figures, findings = rehearse(run, chosen.newest, f"drill-{run[:8]}")
        checks += proven
    if chosen.older:
        proven, _, _ = rehearse(run, chosen.older, f"drill-{run[:8]}-older", suffix="@older", with_data=False)
        checks += proven
    bucket_checks, copies = drill_buckets(run, seed=seed)
    checks += bucket_checks
    checks += check_objectives(figures.get("rto_s"), rpo, objectives)
    figures |= {} if rpo is None else {"rpo_s": max(0.0, rpo)}
    checks += looked("tamper.result", lambda: prove_last_result(run))
    if chosen.newest and not any(check.outcome is Outcome.FAIL for check in checks):
        # damage proves something only where all is well without it
        checks += looked("tamper.proof", lambda: _prove_tamper(run, chosen.newest, copies, is_wanted=is_tamper_wanted))
    backups = tuple(one for one in (chosen.newest, chosen.older) if one)
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
