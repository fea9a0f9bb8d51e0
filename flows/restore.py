"""`restore`: for the emergency, brings one application's database back to a moment, and nothing else.

The ledger, Prefect and every other database on the server stay as they are. It is restored aside, with a drill's steps
and proofs; a page shows what would be lost and what comes back; a person approves; then it takes the live database's
name, which is kept and can come back. A dry run ends with the page.
"""

from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from blocks.world import open_world
from domain.errors import InvariantError, RefusedError
from domain.restore import NOUN, Prepared, RestoreShown, beside_name, key_of
from domain.restore_report import explain_request
from flows.asking import ask_about
from flows.taking_over import prepare, take_over
from tasks.anchor import anchor_release
from tasks.restore import (
    compare_kept,
    decide_course,
    forget_restore,
    measure_now,
    note_begin,
    publish_preview,
    publish_restored,
    read_closed_restore,
    settle_prepared,
    show_restore,
    tell_bad_backup,
    weigh_restore,
    write_prepared,
)

ROUNDS_MAX = 20
ANSWER_LIMIT_S = 24 * 3600


@flow(name="restore", flow_run_name="{act} {application} in {environment}", persist_result=True)
def restore(
    application: str,
    environment: str,
    reason: str,
    to: str = "latest",
    act: Literal["restore", "undo", "remove"] = "restore",
    dry_run: bool = True,
    kept: str = "",
    backup: str = "",
    requester: str = "",
) -> State[None]:
    """Bring an application's database back to a moment, or undo that. A dry run only shows what would be lost.

    Args:
        application: the registered application's name.
        environment: development, test, staging or production.
        reason: what happened, for whoever approves it and for the record.
        to: a time with its zone (2026-01-31T12:00:00+00:00), a place in the log (16/B374D848), backup:ID, or latest.
        act: restore; undo, to bring back what was live before a restore; remove, to remove that for good.
        dry_run: only restore aside, prove it, and show what would be lost; nothing that anybody uses is changed.
        kept: for undo and remove, the key of what was kept, as the report of the restore names it.
        backup: begin with this backup; left empty, the newest from before the moment.
        requester: who asks for it; they can't approve it.
    """
    run = str(flow_run.id)
    _refuse_unclear(run, application, environment, reason, act, kept)
    outcome, cause = read_closed_restore(run, application, environment)
    if outcome:  # a process of this run died, and the run was started again
        return _end(run, application, environment, outcome, cause)
    begun_at = note_begin(run)
    if act == "restore":
        course = decide_course(run, application, environment, to, backup)
        prepared = prepare(run, application, environment, course)
    else:
        prepared = compare_kept(run, application, environment, kept)
    why = (reason, requester)
    is_kept = act == "restore" and prepared.is_usable
    facts = settle_prepared(run) if is_kept else write_prepared(prepared)
    first = show_restore(run, act, application, environment, facts, kept, why, "first")
    publish_preview(run, first, dry_run)
    if act == "restore" and not prepared.is_usable:
        _refuse_bad(run, application, environment, prepared)
    if dry_run:
        forget_restore(run)
        return Completed(message="Nothing was changed. The report shows what would be lost and what comes back.")
    for turn in range(1, ROUNDS_MAX):
        shown = show_restore(run, act, application, environment, facts, kept, why, f"{turn}-{flow_run.run_count}")
        if open_world().environment(environment).approval:
            shown, verdict = _ask(run, shown, facts, turn)
            if verdict["outcome"] != "approve":
                cause = f"{verdict['approver']}: {verdict['reason']}"
                return _end(run, application, environment, verdict["outcome"], cause)
        ended = take_over(run, shown)
        if ended["outcome"] != "drifted":
            seconds = (measure_now() - begun_at).total_seconds()
            publish_restored(run, shown, {**ended, "seconds": seconds})
            problem = str(ended.get("health") or ended.get("migrated") or ended["cause"])
            return _end(run, application, environment, str(ended["outcome"]), problem)
    return Failed(message="the live database changed too often while this waited")


def _refuse_bad(run: str, application: str, environment: str, prepared: Prepared) -> None:
    """Raises: InvariantError that names the checks; the report has what they found."""
    forget_restore(run)
    names = tuple(one.name for one in prepared.blocking)
    if names:
        tell_bad_backup(run, application, environment, names)
    words = ", ".join(names) or "nothing could be restored"
    raise InvariantError(f"What was restored can't be used: {words}. See the report; name another moment or backup.")


def _refuse_unclear(run: str, application: str, environment: str, reason: str, act: str, kept: str) -> None:
    """Raises: ConfigError, RefusedError for what can't be meant, before anything is done."""
    open_world().applications.get(application)
    open_world().environment(environment)
    beside_name(application, environment, key_of(run))
    if not reason.strip():
        raise RefusedError("A restore needs a reason. Say in one sentence what happened, and start it again.")
    if (act != "restore") != bool(kept):
        raise RefusedError(
            "`kept` goes with act undo or remove, and with these only. `slipway restore kept` lists keys."
        )


def _ask(run: str, shown: RestoreShown, facts: str, turn: int) -> tuple[RestoreShown, dict[str, str]]:
    """Ask; returns what the answer was bound to, and the answer."""
    seen = [shown]
    what = (run, shown.act, shown.application, shown.environment, facts, shown.kept, (shown.reason, shown.requester))

    def show(gate: str, attempt: int) -> RestoreShown:
        now = show_restore(*what, f"{gate}-{attempt}")
        seen.append(now)
        return now

    verdict = ask_about(
        run=run,
        application=shown.application,
        environment=shown.environment,
        noun=NOUN,
        gate=f"restore-{turn}",
        limit_s=ANSWER_LIMIT_S,
        show=show,
        render=explain_request,
        weigh=lambda now, gate, attempt, answer: weigh_restore(*what, now.hash, gate, attempt, answer),
    )
    return seen[-1], verdict


_STATE_NAMES = {"reject": "Rejected", "refused": "Refused", "expired": "Expired", "stopped": "Stopped"}


def _end(run: str, application: str, environment: str, outcome: str, problem: str) -> State[None]:
    """Forget what was extracted, and say how it ended."""
    forget_restore(run)
    anchor_release(run, f"restore-{outcome}")
    message = f"{application} in {environment}: {outcome}. {problem}".strip()[:1000]
    if outcome == "reject" or (outcome == "completed" and not problem):
        return Completed(name=_STATE_NAMES.get(outcome), message=message)
    return Failed(name=_STATE_NAMES.get(outcome, "Unhealthy" if outcome == "completed" else "Failed"), message=message)
