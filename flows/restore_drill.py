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

from domain.drill import Objectives
from domain.errors import InvariantError
from flows.drilling import drill_backups


@flow(name="restore_drill", persist_result=True)
def restore_drill(seed: str = "", tamper: bool = False, rto_s: int = 3600, rpo_s: int = 900) -> dict[str, Any]:
    """Restore the newest backup and a random older one, look at everything, and say what is proven.

    Args:
        seed: chooses the older backup; the same seed chooses the same. Empty: the run's own.
        tamper: prove now that damage is noticed; else once a week.
        rto_s: within how many seconds the service has to be back.
        rpo_s: how many seconds of work may be lost.
    """
    concluded = drill_backups(
        str(flow_run.id), Objectives(rto_s=rto_s, rpo_s=rpo_s), seed=seed, is_tamper_wanted=tamper
    )
    if concluded["verdict"] != "PASS":
        raise InvariantError(
            f"The drill is {concluded['verdict']}: {', '.join(concluded['checks'][:8])}. "
            "See its report, and docs/runbooks/restore_drill.md."
        )
    return concluded
