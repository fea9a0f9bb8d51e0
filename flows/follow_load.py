"""`follow_load`: every minute, looks at the load of what has an approved policy, and changes the number of instances.

Inside the bounds of the policy nobody is asked; outside of them nothing is done. More at once, fewer only when that was
enough for a while, nothing while a rollout is under way or just after a change. What it sees and decides is shown as an
artifact; each change is in the ledger, like one by a person.
"""

from dataclasses import replace

from prefect import flow
from prefect.runtime import flow_run

from domain.load_policy import Decision, LoadPolicy, Look, decide, wanted_instances
from flows.resizing import change_size, settle_scales
from tasks.lease import environment_lease, held_lease
from tasks.load import (
    SHOWN_HOURS,
    Measured,
    keep_look,
    list_policies,
    measure_loads,
    publish_load,
    read_changed_at,
    read_looks,
    try_lease,
)
from tasks.scaling import read_closed_scale, read_settled_size

SHOWN_EVERY_MIN = 5
"""How often what people see is made anew while nothing happens."""


@flow(name="follow_load", persist_result=True)
def follow_load() -> dict[str, int]:
    """Look once at the load of every place that has a policy, and change what its policy says."""
    run = str(flow_run.id)
    policies = list_policies()
    measured = measure_loads(tuple(policies)) if policies else []
    looks = [_follow(run, policy, one) for policy, one in zip(policies, measured, strict=True)]
    for policy, look in zip(policies, looks, strict=True):
        keep_look(run, policy.application, policy.environment, look)
        if look.decided != "steady" or look.at.minute % SHOWN_EVERY_MIN == 0:
            publish_load(run, policy)
    return {"policies": len(looks), "changed": sum(look.decided in ("out", "in", "bounds") for look in looks)}


def _follow(run: str, policy: LoadPolicy, seen: Measured) -> Look:
    """Decide what one measurement leads to, and do it; returns the look to be remembered."""
    look = Look(seen.at, seen.load, seen.instances, seen.instances)
    if seen.problem:
        return replace(look, decided="unknown", detail=seen.problem)
    look = replace(look, wanted=wanted_instances(policy, load=seen.load, instances=seen.instances))
    place = (policy.application, policy.environment)
    decision = decide(
        policy,
        instances=seen.instances,
        wanted=look.wanted,
        earlier=read_looks(*place, max(policy.window_s + 120, SHOWN_HOURS * 3600)),
        changed_at=read_changed_at(*place),
        now=seen.at,
    )
    if decision.instances == seen.instances:
        return replace(look, decided=decision.word, detail=decision.detail)
    if read_closed_scale(run, *place)[0]:
        return replace(look, decided="busy", detail="this run has changed the size already")
    if hindrance := try_lease(run, *place):
        return replace(look, decided="busy", detail=hindrance)
    return _change(run, policy, seen, look, decision)


def _change(run: str, policy: LoadPolicy, seen: Measured, look: Look, decision: Decision) -> Look:
    place = (policy.application, policy.environment)
    with held_lease(environment_lease(*place), owner=run) as keeper:
        settle_scales(run, *place, keeper, but=run)
        if read_settled_size(*place) != seen.size:
            return replace(look, decided="busy", detail="its size was changed a moment ago")
        reason = f"{seen.load:.4g} {policy.unit} on {seen.instances} instances of {policy.capacity:g} each"
        data = {"reason": reason, "by": "follow_load", "policy": policy.hash, "load": round(seen.load, 6)}
        size = replace(seen.size, instances=decision.instances)
        ended = change_size(run, *place, seen.live, size, seen.size, data, keeper)
    if ended["outcome"] != "completed":
        return replace(look, decided="failed", detail=ended["cause"])
    return replace(look, decided=decision.word, detail=str(decision.instances))
