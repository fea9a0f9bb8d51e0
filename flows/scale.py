"""`scale`: an environment gets another size: instances on each site, memory, processor and workers of each.

Asks for the same authenticated approval as `cd` where the environment asks for one, bound to what is shown; verified
afterwards, recorded, and taken back by itself where the new size does not become healthy. The size stays: later
rollouts, rollbacks and restarts read it from the ledger.
"""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from blocks.world import open_world
from domain.errors import RefusedError
from domain.release import short
from domain.scaling import NOUN, SizeShown, explain_size, write_size
from flows.asking import ask_about
from flows.resizing import change_size, settle_scales
from tasks.anchor import anchor_release
from tasks.approval import read_live
from tasks.lease import environment_lease, held_lease
from tasks.rollout import read_file
from tasks.scaling import (
    Change,
    list_rollouts_under_way,
    read_closed_scale,
    read_settled_size,
    record_scale,
    show_size,
    weigh_size,
)

ROUNDS_MAX = 20


@flow(name="scale", flow_run_name="{application} in {environment}", persist_result=True)
def scale(
    application: str,
    environment: str,
    reason: str,
    instances: int | None = None,
    memory_bytes: int | None = None,
    cpu_share: float | None = None,
    workers: int | None = None,
    requester: str = "",
) -> State[None]:
    """Give an environment another size. What is left empty stays as it is; 0 is what slipway.toml says, or no limit.

    Args:
        application: the registered application's name.
        environment: development, test, staging or production.
        reason: why, for whoever approves it and for the record.
        instances: how many instances of the live release on each site, 1 to 64.
        memory_bytes: how much memory an instance may take at most, in bytes.
        cpu_share: how much of the processor an instance may take at most, in cores; 0.5 is half of one.
        workers: how many workers an instance has, where the application can be told.
        requester: who asks for it; they can't approve it.
    """
    run = str(flow_run.id)
    open_world().applications.get(application)
    place = open_world().environment(environment)
    if not reason.strip():
        raise RefusedError("A change of size needs a reason. Say in one sentence why, and start it again.")
    change: Change = (
        ("instances", instances),
        ("memory_bytes", memory_bytes),
        ("cpu_share", cpu_share),
        ("workers", workers),
    )
    for turn in range(1, ROUNDS_MAX):
        outcome, cause = read_closed_scale(run, application, environment)
        if outcome:  # a process of this run died, and the run was started again
            return _end(run, application, environment, {"outcome": outcome, "cause": cause})
        shown = show_size(run, application, environment, change, reason, requester, f"{turn}-{flow_run.run_count}")
        if shown.before == shown.after:
            return Completed(message=f"{application} in {environment} has that size already: {write_size(shown.now)}.")
        if place.approval:
            verdict = _ask(run, shown, change, turn)
            if verdict["outcome"] != "approve":
                cause = f"{verdict['approver']}: {verdict['reason']}"
                return _end(run, application, environment, {"outcome": verdict["outcome"], "cause": cause})
        ended = _resize(run, shown)
        if ended["outcome"] != "drifted":
            return _end(run, application, environment, ended)
    return Failed(message="what is live, or its size, changed too often while this waited")


def _ask(run: str, shown: SizeShown, change: Change, turn: int) -> dict[str, str]:
    application, environment = shown.application, shown.environment
    primary = open_world().environment(environment).primary.name
    limits = read_file(application, environment, primary, shown.release).rollout
    return ask_about(
        run=run,
        application=application,
        environment=environment,
        noun=NOUN,
        gate=f"scale-{turn}",
        limit_s=limits.approval_limit_s,
        show=lambda gate, attempt: show_size(
            run, application, environment, change, shown.reason, shown.requester, f"{gate}-{attempt}"
        ),
        render=explain_size,
        weigh=lambda seen, gate, attempt, answer: weigh_size(run, seen, change, gate, attempt, answer),
    )


def _resize(run: str, shown: SizeShown) -> dict[str, str]:
    """Change the size, unless what was shown does not hold any more: then it is shown, and asked for, again."""
    application, environment = shown.application, shown.environment
    with held_lease(environment_lease(application, environment), owner=run) as keeper:
        outcome, cause = read_closed_scale(run, application, environment)
        if outcome:
            return {"outcome": outcome, "cause": cause}
        if midway := list_rollouts_under_way(application, environment):
            cause = f"the {midway[0].kind} of {short(midway[0].release)} is under way (run {midway[0].run})"
            data = {"cause": cause, "size": shown.after.as_dict()}
            record_scale(run, application, environment, "", "scale.refused", data, "rollout")
            return {"outcome": "refused", "cause": f"{cause}. Wait for its end, then scale again."}
        settle_scales(run, application, environment, keeper, but=run)
        now = (read_live(application, environment), read_settled_size(application, environment))
        if now != (shown.release, shown.before):
            return {"outcome": "drifted", "cause": "what is live, or its size, has changed"}
        data = {"reason": shown.reason, "by": "scale"}
        return change_size(run, application, environment, shown.release, shown.after, shown.before, data, keeper)


_STATE_NAMES = {"reject": "Rejected", "refused": "Refused", "rolled_back": "RolledBack", "expired": "Expired"}


def _end(run: str, application: str, environment: str, ended: dict[str, str]) -> State[None]:
    outcome, cause = ended["outcome"], ended["cause"]
    anchor_release(run, f"scale-{outcome}")
    message = f"{application} in {environment}: {outcome.replace('_', ' ')}. {cause}"[:1000]
    if outcome in ("completed", "reject"):
        return Completed(name=_STATE_NAMES.get(outcome), message=message)
    return Failed(name=_STATE_NAMES.get(outcome, "Failed"), message=message)
