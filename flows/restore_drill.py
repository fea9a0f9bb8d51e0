"""`restore_drill`: proves that the backups can be restored, by restoring them, every day.

Thirteen steps, in order (docs/reference/restore-drill.md). The newest backup and a random older one are each
restored on a scratch server, recovered to the place that they name, compared row by row with what was backed up, and
destroyed.
Once a week copies are damaged on purpose: a drill that does not notice is broken. The result is signed; a failed one
opens an incident; a drill that did not run is one, too (`reconcile`).
"""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from domain.drill import Check, Damage, Objectives, Outcome, check_objectives, passed
from domain.errors import InvariantError
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

_WRONG_SHA256 = "0" * 64


@flow(name="restore_drill", persist_result=True)
def restore_drill(seed: str = "", tamper: bool = False, rto_s: int = 3600, rpo_s: int = 900) -> dict[str, Any]:
    """Restore the newest backup and a random older one, look at everything, and say what is proven.

    Args:
        seed: chooses the older backup; the same seed chooses the same. Empty: the run's own.
        tamper: prove now that damage is noticed; else once a week.
        rto_s: within how many seconds the service has to be back.
        rpo_s: how many seconds of work may be lost.
    """
    run = str(flow_run.id)
    objectives = Objectives(rto_s=rto_s, rpo_s=rpo_s)
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
    checks += check_objectives(figures.get("rto_s"), looked.rpo_s, objectives)
    figures |= {} if looked.rpo_s is None else {"rpo_s": max(0.0, looked.rpo_s)}
    if looked.newest and not any(check.outcome is Outcome.FAIL for check in checks):
        # damage proves something only where all is well without it
        checks += _prove_tamper(run, looked.newest, is_wanted=tamper)
    backups = tuple(one for one in (looked.newest, looked.older) if one)
    concluded = conclude_drill(run, begun_at, backups, tuple(checks), figures, findings, objectives)
    if concluded["verdict"] != "PASS":
        raise InvariantError(
            f"The drill is {concluded['verdict']}: {', '.join(concluded['checks'][:8])}. "
            "See its report, and docs/runbooks/restore_drill.md."
        )
    return concluded


def _prove_tamper(run: str, backup: str, *, is_wanted: bool) -> list[Check]:
    """Step 12: a damaged copy has to turn the drill red; each kind of damage is looked for by other checks."""
    if not is_wanted and (proven := read_tamper(run)):
        return [passed("tamper.recent", "tamper_recent", date=proven)]
    found = prove_objects(run, backup, _WRONG_SHA256)
    checks = [record_tamper(run, Damage.MANIFEST, f"manifest of {backup}", _name_if_bad(found))]
    for kind in (Damage.PAGE, Damage.TRUNCATED):
        damage, by = find_damage(run, backup, f"drill-{run[:8]}-{kind}", kind)
        checks.append(record_tamper(run, kind, damage or kind, by))
    return checks


def _name_if_bad(check: Check) -> str:
    return check.name if check.outcome is Outcome.FAIL else ""
