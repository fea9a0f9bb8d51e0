"""`cd`: a pinned release goes from the test environment to production, or stops where it is not good enough.

Started by `ci`, or by hand from the Prefect UI. It decides; `domain/judgement.py` only judges. Nothing is retried at
the flow level: a run that suspends and has flow retries is stuck for ever (Prefect 3.8.8).
"""

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from blocks.world import open_world
from domain.commit_status import status_of_end
from domain.release import short
from domain.revision import name_revision
from domain.rollout import refuse_blocked
from flows.asking import approval_form, ask, course_form, explain_course
from flows.fitness import refuse_unfit
from flows.overtaking import find_overtaking
from flows.restoring import restore_release
from flows.rollout_canary import rollout_canary
from flows.rollout_direct import rollout_direct
from flows.schema import prove_schema
from tasks.anchor import anchor_release
from tasks.approval import remember_live
from tasks.commit_status import tell_release
from tasks.incident import block_digest, notify
from tasks.instances import prepare_release
from tasks.lease import environment_lease, held_lease
from tasks.readiness import await_parts, refuse_full_disk
from tasks.rollout import has_completed, has_verdict, read_blocked, read_closed, read_file, record_rollout
from tasks.settings import choose_settings
from tasks.superseding import close_superseded

UNCLEAR_ROUNDS_MAX = 20


def _run_name() -> str:
    return f"{flow_run.parameters['application']} {short(str(flow_run.parameters['release']))}"


@flow(name="cd", flow_run_name=_run_name, persist_result=True)
def cd(application: str, release: str, requester: str = "") -> State[None]:
    """Deliver a release: test environment, acceptance tests, staging, approval, production, verification.

    Args:
        application: the registered application's name.
        release: the digest of a pinned release, 64 hexadecimal digits.
        requester: who asked for it; kept for the record, the pusher of its commit counts as a requester in any case.
    """
    run = str(flow_run.id)
    open_world().applications.get(application)
    blocked = read_blocked(application)
    if release in blocked:
        record_rollout(run, application, "", release, "cd.refused", {"cause": f"blocked: {blocked[release]}"})
    refuse_blocked(release, blocked)
    refuse_unfit(run, application, release)
    record_rollout(run, application, "", release, "cd.started", {"requester": requester})
    for environment in open_world().environments():
        if overtaken := find_overtaking(run, application, release):
            return _end(run, application, release, environment.name, overtaken)
        if environment.entry == "direct" and environment.name != "development":
            revision = choose_settings(run, application, environment.name, release)
            _bring_bytes(run, application, environment.name, revision)
            tell_release(run, application, release, environment.name, "pending", "being proven")
            entered = rollout_direct(run, application, environment.name, revision, environment.name == "test")
            entered = _confirm(run, application, environment.name, revision, entered)
            if entered["outcome"] != "completed":
                return _end(run, application, release, environment.name, entered)
            tell_release(run, application, release, environment.name, "success", "proven")
    ended: dict[str, str] = {"outcome": "completed", "cause": ""}
    for environment in open_world().environments():
        if environment.entry == "canary":
            ended = _enter_production(run, application, environment.name, release)
            if ended["outcome"] != "completed":
                return _end(run, application, release, environment.name, ended)
    return _end(run, application, release, "production", ended)


def _enter_production(run: str, application: str, environment: str, release: str) -> dict[str, str]:
    """Ask, roll out, and ask again wherever traffic was too little to judge or what is live has changed."""
    closed = read_closed(run, application, environment)
    if closed.outcome:  # a process of this run died, and the run was started again
        return {"outcome": closed.outcome, "cause": closed.cause}
    place = open_world().environment(environment)
    staging = open_world().environment("staging").primary.name
    limits = read_file(application, "staging", staging, release).rollout
    revision = choose_settings(run, application, environment, release)
    if remember_live(run, application, environment, revision, 0) == revision:
        return {"outcome": "completed", "cause": "it was live already"}
    for round_number in range(1, UNCLEAR_ROUNDS_MAX):
        if overtaken := find_overtaking(run, application, release):
            return overtaken
        problem = prove_schema(run, application, environment, release)
        if problem:
            return {"outcome": "failed", "cause": problem}
        if place.approval:
            tell_release(run, application, release, environment, "pending", "waits for approval")
            verdict = ask(
                run=run,
                application=application,
                environment=environment,
                release=release,
                gate=f"{environment}-{round_number}" if round_number > 1 else environment,
                limit_s=limits.approval_limit_s,
                form=approval_form(open_world().language),
            )
            if verdict["outcome"] == "superseded":
                return {"outcome": "superseded", "cause": verdict["reason"]}
            if verdict["outcome"] != "approve":
                return {"outcome": verdict["outcome"], "cause": f"{verdict['approver']}: {verdict['reason']}"}
            revision = name_revision(release, int(verdict.get("settings", "0")))
        ended = _roll_out(run, application, environment, revision, round_number, limits.unclear_limit_s)
        if ended["outcome"] != "drifted":
            return ended
    return {"outcome": "failed", "cause": "what is live changed too often while this waited"}


def _roll_out(
    run: str, application: str, environment: str, release: str, round_number: int, limit_s: int
) -> dict[str, str]:
    """Roll out from the first step; where a step is unclear, ask a person and go on from there."""
    live = remember_live(run, application, environment, release, round_number)
    if live == release:
        return {"outcome": "completed", "cause": "it was live already"}
    _bring_bytes(run, application, environment, release)
    tell_release(run, application, release, environment, "pending", "rolling out")
    first_step, attempt = 0, round_number * 100
    for turn in range(UNCLEAR_ROUNDS_MAX):
        ended = rollout_canary(run, application, environment, release, live, first_step, attempt + turn)
        ended = _confirm(run, application, environment, release, ended)
        if ended["outcome"] != "unclear":
            return ended
        course = ask(
            run=run,
            application=application,
            environment=environment,
            release=release,
            gate=f"unclear-{round_number}-{turn}",
            limit_s=limit_s,
            form=course_form(open_world().language),
            render=partial(explain_course, report=ended["report"]),
        )
        if course["outcome"] not in ("wait", "proceed"):
            return _give_up(run, application, environment, release, live, f"{course['outcome']}: {course['reason']}")
        first_step = int(ended["step"]) + (1 if course["outcome"] == "proceed" else 0)
    return _give_up(run, application, environment, release, live, "unclear too often")


def _confirm(run: str, application: str, environment: str, release: str, ended: dict[str, str]) -> dict[str, str]:
    """Believe a rollout where the ledger says the same: a subflow's result is a state, which others can set."""
    if ended["outcome"] == "completed" and not has_completed(run, application, environment, release):
        return {"outcome": "failed", "cause": "its rollout says that it is done, and the ledger does not"}
    if ended["outcome"] == "unclear" and not has_verdict(run, application, environment, release, int(ended["step"])):
        return {"outcome": "failed", "cause": f"there is no verdict on step {ended['step']} in the ledger"}
    return ended


def _give_up(run: str, application: str, environment: str, release: str, live: str, cause: str) -> dict[str, str]:
    """Bring the live release back because a person said so, or because nobody said anything."""
    with held_lease(environment_lease(application, environment), owner=run):
        problem = restore_release(
            run=run, application=application, environment=environment, to=live, bad=release, attempt="unclear"
        )
        data = {"to": live, "cause": cause, "verified": problem or "yes"}
        record_rollout(run, application, environment, release, "rollout.rolled_back", data)
    block_digest(run, application, release, cause, live, environment)
    return {"outcome": "rolled_back", "cause": cause}


def _bring_bytes(run: str, application: str, environment: str, release: str) -> None:
    """Bring the bytes to every site before a rollout begins: what waits for S3, or has no room, waits or ends here."""
    refuse_full_disk("the release", application, release)
    await_parts("cd")
    for site in open_world().environment(environment).sites:
        prepare_release(run, application, environment, site.name, release)


_STATE_NAMES = {"reject": "Rejected", "refused": "Refused", "rolled_back": "RolledBack", "expired": "Expired"}


def _end(run: str, application: str, release: str, environment: str, ended: dict[str, str]) -> State[None]:
    """Close the run: its outcome in the ledger, its name and cause on the run's first screen."""
    outcome, cause = ended["outcome"], ended["cause"]
    said = "live" if outcome == "completed" else f"{outcome.replace('_', ' ')}: {cause}"[:300].partition("\n")[0]
    tell_release(run, application, release, environment, status_of_end(outcome), said)
    if outcome == "completed":
        record_rollout(run, application, "", release, "cd.completed", {"cause": cause})
        anchor_release(run, outcome)
        return Completed(message=f"{short(release)} is live in {environment}. {cause}".strip())
    if outcome == "superseded":
        cause = close_superseded(run, application, release, cause)
        return Completed(name="Superseded", message=cause)
    record_rollout(run, application, "", release, "cd.stopped", {"outcome": outcome, "cause": cause[:2000]})
    anchor_release(run, outcome)
    message = f"{environment}: {outcome.replace('_', ' ')}. {cause}"[:1000]
    if outcome == "reject":
        return Completed(name=_STATE_NAMES[outcome], message=message)
    values = {"cause": cause[:1000], "release": short(release), "outcome": outcome}
    notify(run, application, environment, release, "cd.stopped", values)
    return Failed(name=_STATE_NAMES.get(outcome, "Failed"), message=message)
