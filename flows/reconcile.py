"""`reconcile`: settles what a run that died has left, and says aloud what nobody else says.

Started by an automation whenever a run fails or crashes, and on a schedule, because automations can be lost. It closes
gates whose time is over (Prefect ends such a run without a process), brings environments that a dead run left midway
back to the release they were on, closes runs of `cd` in the ledger with the reason, and opens incidents for crashed and
missed runs. What still runs or waits is left alone.
"""

from prefect import flow
from prefect.runtime import flow_run

from blocks.world import open_world
from domain.catalogue import say
from domain.errors import TransientError
from domain.ports import RunRecord
from domain.release import short
from domain.revision import release_of
from domain.rollout import OpenGate, OpenRollout, OpenRun
from flows.break_glass import settle_journals
from flows.resizing import settle_scales
from flows.restoring import restore_release
from flows.taking_over import settle_restore
from tasks.anchor import anchor_release
from tasks.approval import expire_gate
from tasks.break_glass import keep_copies
from tasks.drill import open_overdue_drill
from tasks.incident import block_digest, open_incident
from tasks.instances import find_manifest
from tasks.lease import environment_lease, held_lease
from tasks.question import expire_question, list_open_questions
from tasks.recovery_drill import destroy_recoveries, open_overdue_recovery_drill
from tasks.restore import list_open_restores, sweep_restores
from tasks.rollout import list_open_gates, list_open_rollouts, list_open_runs, record_rollout
from tasks.runs import crash_stuck_runs, list_crashed_runs, list_late_runs, read_run
from tasks.scaling import list_open_scales
from tasks.superseding import close_waiting, read_newer


@flow(name="reconcile", persist_result=True)
def reconcile(run: str = "") -> dict[str, int]:
    """Settle what dead runs have left.

    Args:
        run: the id of the run that ended, for the record; everything unsettled is looked at in any case.
    """
    journals = _take_over_journals()
    gates = [gate for gate in list_open_gates() if _has_ended(gate.run)]
    for gate in gates:
        _close_gate(gate)
    superseded = [gate for gate in list_open_gates() if _supersede(gate)]
    rollouts = [rollout for rollout in list_open_rollouts() if _has_ended(rollout.run)]
    for rollout in rollouts:
        _settle(rollout)
    scales = [scale for scale in list_open_scales() if _has_ended(scale.run)]
    for place in dict.fromkeys((scale.application, scale.environment) for scale in scales):
        with held_lease(environment_lease(*place), owner=str(flow_run.id)) as keeper:
            settle_scales(str(flow_run.id), *place, keeper)
    restores = [one for one in list_open_restores() if _has_ended(one.run)]
    for one in restores:
        settle_restore(str(flow_run.id), one, _state_of(one.run))
    for question in list_open_questions():
        if _has_ended(question.run):
            asked = (question.run, question.application, question.environment, question.noun, question.gate)
            expire_question(*asked, "nobody answered in time, or its run ended")
    runs = [opened for opened in list_open_runs() if _has_ended(opened.run)]
    for opened in runs:
        _close_run(opened)
    crashed, late = list_crashed_runs(), list_late_runs()
    for record in crashed:
        _tell(record, "incident.run_died", state=record.state)
    for record in late:
        _tell(record, "incident.run_missed", since=f"{record.since:%Y-%m-%d %H:%M} UTC")
    crash_stuck_runs()
    sweep_restores()
    open_overdue_drill()
    open_overdue_recovery_drill()
    destroy_recoveries(str(flow_run.id))
    keep_copies()
    return {
        "journals": journals,
        "gates": len(gates),
        "superseded": len(superseded),
        "rollouts": len(rollouts),
        "scales": len(scales),
        "restores": len(restores),
        "runs": len(runs),
        "crashed": len(crashed),
        "late": len(late),
    }


def _take_over_journals() -> int:
    """Make acts by hand known to the ledger, before anything is settled that they may have settled already."""
    try:
        return len(settle_journals())
    except TransientError:
        return 0  # the act is still under way; whatever is in its way is refused until it has ended


def _supersede(gate: OpenGate) -> bool:
    """Close a run that still waits for its approval although something newer was pushed."""
    record = read_run(gate.run)
    if record is None or record.state != "paused":
        return False
    commit = find_manifest(gate.application, gate.release).commit
    newer = read_newer(gate.run, gate.application, commit, release_of(gate.release))
    if newer:
        close_waiting(gate, newer)
    return bool(newer)


def _has_ended(run: str) -> bool:
    """Whether a run is over. One that Prefect no longer knows (its history was vacuumed) is over, too."""
    record = read_run(run)
    return record is None or record.has_ended


def _state_of(run: str) -> str:
    record = read_run(run)
    return record.state if record else "forgotten"


def _close_gate(gate: OpenGate) -> None:
    record = read_run(gate.run)
    ended = "nobody answered in time" if record is None or record.state == "failed" else f"its run was {record.state}"
    expire_gate(gate.run, gate.application, gate.environment, gate.release, gate.gate, gate.deadline, ended)
    data = {"outcome": "expired", "cause": f"gate {gate.gate}: {ended}"}
    record_rollout(gate.run, gate.application, "", gate.release, "cd.stopped", data, gate.gate)


def _close_run(opened: OpenRun) -> None:
    """Say in the ledger that a run of `cd` is over, whose process could not say so itself."""
    record = read_run(opened.run)
    state = record.state if record else "forgotten"
    cause = f"its run ended as {state}" + (f": {record.message}" if record and record.message else "")
    data = {"outcome": state, "cause": cause[:500]}
    record_rollout(opened.run, opened.application, "", opened.release, "cd.stopped", data, "settled")


def _settle(rollout: OpenRollout) -> None:
    """Finish what was begun: a rollout goes back, a rollback goes on to where it wanted to."""
    run, application, environment = rollout.run, rollout.application, rollout.environment
    here = str(flow_run.id)
    is_rollback = rollout.kind == "rollback"
    to, bad = (rollout.release, rollout.previous) if is_rollback else (rollout.previous, rollout.release)
    record = read_run(run)
    state = record.state if record else "forgotten"
    with held_lease(environment_lease(application, environment), owner=here):
        if rollout not in list_open_rollouts():
            return  # another run settled it while this one waited for the lease
        problem = restore_release(
            run=here,
            application=application,
            environment=environment,
            to=to,
            bad=bad if bad != to else "",
            attempt=run[:8],
        )
        data = {"to": to, "previous": bad, "cause": f"its run ended as {state}", "verified": problem or "yes"}
        kind = "rollback.completed" if is_rollback else "rollout.rolled_back"
        # written in the name of the run that began it: that is what closes it
        record_rollout(run, application, environment, rollout.release, kind, data, "settled")
    anchor_release(here, f"{run}-{environment}")
    language = open_world().language
    title = say(
        "incident.died_midway", language=language, state=state, environment=environment, release=short(to) or "–"
    )
    severity = "P0" if problem else "P2"
    open_incident(here, application, environment, rollout.release, severity, title, problem or data["cause"])
    if not is_rollback and bad and problem:
        block_digest(here, application, bad, f"left midway, and {problem}", to, environment)


def _tell(record: RunRecord, text: str, **values: str) -> None:
    """Open one incident about a run, however often it is seen: the entry's key is the run's."""
    title = say(text, language=open_world().language, name=f"{record.flow}/{record.name}", **values)
    application = str(record.parameters.get("application", ""))
    open_incident(record.id, application, "", "", "P3", title, record.message or title)
