"""`recovery_drill`: once a month everything, on an empty folder, from the recovery kit and the bucket alone.

Slipway itself (ledger, Prefect's database, blocks) and the applications of production, with database and objects at one
point in time, which then pass their acceptance tests (docs/reference/restore-drill.md#the-whole). What was recovered is
destroyed, whatever happened, and after a kill by `reconcile`. The result is signed; a failed one opens an incident;
a drill that did not run is one, too (`reconcile`).
"""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from domain.errors import InvariantError
from domain.recovery_drill import RecoveryObjectives
from tasks.drill import measure_time
from tasks.recovery_drill import conclude_recovery_drill, destroy_recoveries, destroy_recovery, rehearse_recovery


@flow(name="recovery_drill", persist_result=True)
def recovery_drill(rto_s: int = 7200, rpo_s: int = 900) -> dict[str, Any]:
    """Recover everything into a scratch folder, let the applications' acceptance tests judge it, and destroy it.

    Args:
        rto_s: within how many seconds everything has to be back and accepted.
        rpo_s: how many seconds of work may be lost.
    """
    run = str(flow_run.id)
    begun_at = measure_time(run)
    destroy_recoveries(run)
    name = f"recovery-{run[:8]}"
    try:
        found = rehearse_recovery(run, name)
    finally:
        destroyed = destroy_recovery(run, name)
    concluded = conclude_recovery_drill(run, begun_at, found, destroyed, RecoveryObjectives(rto_s=rto_s, rpo_s=rpo_s))
    if concluded["verdict"] != "PASS":
        raise InvariantError(
            f"The recovery drill is {concluded['verdict']}: {', '.join(concluded['checks'][:8])}. "
            "See its report, and docs/runbooks/recovery_drill.md."
        )
    return concluded
