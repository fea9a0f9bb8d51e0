"""`rollback`: an administrator brings an environment back to an earlier release, at once and alone.

No second person is asked: at night there is none. It is authenticated, verified afterwards, and recorded with its
reason and course. A rollout that is under way is ended first. Migrations are never taken back: a release that can't
run on what was migrated since is refused.
"""

import time

from prefect import flow
from prefect.runtime import flow_run

from blocks.world import open_world
from domain.errors import InvariantError, RefusedError
from domain.release import short
from domain.revision import release_of, revision_of
from domain.rollout import OpenRollout, refuse_blocked
from flows.restoring import restore_release
from flows.schema import refuse_unreadable
from tasks.anchor import anchor_release
from tasks.approval import authorise, read_live
from tasks.commit_status import tell_release
from tasks.incident import block_digest, notify
from tasks.lease import environment_lease, held_lease, interrupt_holder
from tasks.rollout import list_open_rollouts, read_blocked, read_closed, read_previous, record_rollout


@flow(name="rollback", flow_run_name="{application} in {environment}", persist_result=True)
def rollback(
    application: str,
    environment: str,
    reason: str,
    administrator: str,
    code: str,
    release: str = "",
    block: bool = False,
) -> dict[str, str]:
    """Bring an environment back to an earlier release.

    Args:
        application: the registered application's name.
        environment: development, test, staging or production.
        reason: why, for the record.
        administrator: your name, as enrolled, with the role administrator.
        code: six digits from your authenticator; a code counts once.
        release: the digest to go back to; left empty, the release that was live before.
        block: also refuse the digest that is left, until somebody unblocks it with a reason.
    """
    run = str(flow_run.id)
    begun = time.monotonic()
    _refuse_unknown(application, environment)
    _refuse_empty(reason)
    refusal = authorise(run, application, environment, release, "rollback", administrator, code, reason)
    if refusal:
        raise RefusedError(f"The rollback is refused: {refusal}")
    lease = environment_lease(application, environment)
    midway = [rollout for rollout in list_open_rollouts() if _is_here(rollout, application, environment)]
    # before anybody is interrupted for nothing; and once more below, when nobody else can change what is live
    _refuse_impossible(run, application, environment, release, midway[-1].release if midway else "", administrator)
    interrupt_holder(run, lease, administrator, tuple(rollout.run for rollout in midway))
    with held_lease(lease, owner=run):
        _refuse_closed(run, application, environment)
        live = read_live(application, environment)
        bad, to = _choose(application, environment, live, release, midway[-1].release if midway else "")
        data = {"previous": live, "reason": reason[:500]}
        record_rollout(run, application, environment, to, "rollback.begun", data, "", administrator)
        problem = restore_release(run=run, application=application, environment=environment, to=to, bad=bad)
        verified = problem or "yes"
        kind = "rollback.failed" if problem else "rollback.completed"
        for rollout in midway:
            closing = {"to": to, "cause": f"ended for a rollback by {administrator}", "verified": verified}
            record_rollout(
                rollout.run, application, environment, rollout.release, "rollout.rolled_back", closing, "interrupted"
            )
        data = {"previous": live, "reason": reason[:500], "verified": verified}
        record_rollout(run, application, environment, to, kind, data, "", administrator)
    if block and bad:
        block_digest(run, application, bad, reason, to, environment)
    values = {"release": short(to), "bad": short(bad) or "–", "actor": administrator, "reason": reason}
    notify(run, application, environment, to, "rollback.done", {**values, "verified": verified})
    if bad:
        tell_release(run, application, bad, environment, "failure", f"rolled back by {administrator}")
    anchor_release(run, kind)
    if problem:
        raise InvariantError(
            f"Rolled back to {short(to)}, but this does not hold: {problem}. Look at `slipway status`."
        )
    return {"release": to, "left": bad, "seconds": f"{time.monotonic() - begun:.1f}"}


def _refuse_unknown(application: str, environment: str) -> None:
    """Raises: ConfigError that lists the names known, before anybody's code is used up."""
    open_world().applications.get(application)
    open_world().environment(environment)


def _refuse_empty(reason: str) -> None:
    if not reason.strip():
        raise RefusedError("A rollback needs a reason. Say in one sentence why, and start it again.")


def _refuse_impossible(
    run: str, application: str, environment: str, wanted: str, midway: str, administrator: str
) -> None:
    """Raises: RefusedError where there is no way back, or not this one; written down as `rollback.refused`."""
    try:
        _choose(application, environment, read_live(application, environment), wanted, midway)
    except RefusedError as exc:
        data = {"cause": str(exc)}
        record_rollout(run, application, environment, wanted, "rollback.refused", data, "", administrator)
        raise


def _refuse_closed(run: str, application: str, environment: str) -> None:
    """Raises: RefusedError where this run died, was finished by `reconcile`, and is started again."""
    closed = read_closed(run, application, environment)
    if closed.outcome:
        raise RefusedError(
            f"This rollback has ended already: {closed.outcome}. {closed.cause}. "
            "Look at `slipway history`; start another one if it is needed."
        )


def _is_here(rollout: OpenRollout, application: str, environment: str) -> bool:
    return (rollout.application, rollout.environment, rollout.kind) == (application, environment, "rollout")


def _choose(application: str, environment: str, live: str, wanted: str, midway: str) -> tuple[str, str]:
    """Say which release is left and which one is gone back to.

    A rollout that was just ended (`midway`) may have left its release on some sites; the live one is then the way back.
    """
    if wanted:
        refuse_blocked(wanted, read_blocked(application))
        to = _find_revision(application, environment, wanted)
        if to != live:
            refuse_unreadable(application, environment, to)
        return midway or (live if live != to else ""), to
    if midway and midway != live:
        return midway, live
    to = read_previous(application, environment, live)
    refuse_unreadable(application, environment, to)
    return live, to


def _find_revision(application: str, environment: str, release: str) -> str:
    """Say with which settings a release was live there last, or check that it was live with those that are named.

    Raises: RefusedError where it never was wholly live so: that is a rollout, not a rollback.
    """
    completed = open_world().ledger.entries(
        kinds=["rollout.completed"],
        application=application,
        environment=environment,
        release=release_of(release),
        newest_first=True,
    )
    known = [revision_of(entry) for entry in completed if release in (entry.event.release, revision_of(entry))]
    if not known:
        raise RefusedError(
            f"Release {short(release)} was never live in {environment}, so nobody can go back to it. "
            "Roll it out with the flow `cd`, or name an earlier release."
        )
    return known[0]
