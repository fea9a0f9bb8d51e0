"""`load_policy`: a policy by which `follow_load` may change the number of instances is approved once, by its hash.

The same authenticated approval as for a release. Another policy for the same place takes the place of this one, and is
asked for again; so is taking it back.
"""

from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from blocks.world import open_world
from domain.load_policy import NOUN, LoadPolicy, explain_policy
from flows.asking import ask_about
from tasks.load import grant_policy, show_policy, was_granted, weigh_policy

LIMIT_S = 86_400


@flow(name="load_policy", flow_run_name="{application} in {environment}", persist_result=True)
def load_policy(
    application: str,
    environment: str,
    least: int,
    most: int,
    capacity: float,
    target_ratio: float = 0.6,
    unit: Literal["requests", "cores"] = "requests",
    measure_s: float = 15,
    window_s: float = 300,
    cool_down_s: float = 120,
    requester: str = "",
    withdraw: bool = False,
) -> State[None]:
    """Have a policy for following the load approved, or taken back.

    Args:
        application: the registered application's name.
        environment: development, test, staging or production.
        least: fewest instances on each site.
        most: most instances on each site, up to 64.
        capacity: what one instance carries, in the unit.
        target_ratio: the share of their capacity at which instances are to work, 0.1 to 1.
        unit: requests (per second, as the load balancer counts them) or cores (of processor).
        measure_s: how long the load is measured at each look, 1 to 50 seconds.
        window_s: fewer instances only if as few would have done at every look of so many seconds.
        cool_down_s: after a change nothing is changed for so many seconds.
        requester: who asks for it; they can't approve it.
        withdraw: take the policy in force back; the other values do not matter then.
    """
    run = str(flow_run.id)
    open_world().applications.get(application)
    place = open_world().environment(environment)
    if was_granted(run, application, environment):
        return Completed(message=f"The policy for {application} in {environment} is in force.")
    wanted = LoadPolicy(
        application, environment, least, most, target_ratio, capacity, unit, measure_s, window_s, cool_down_s
    )
    after = None if withdraw else wanted
    shown = show_policy(run, application, environment, after, requester, f"first-{flow_run.run_count}")
    if shown.before == shown.after:
        return Completed(message=f"That is the policy for {application} in {environment} already.")
    if not place.approval:
        grant_policy(run, shown)
        return Completed(message=f"The policy for {application} in {environment} is in force.")
    verdict = ask_about(
        run=run,
        application=application,
        environment=environment,
        noun=NOUN,
        gate="policy",
        limit_s=LIMIT_S,
        show=lambda gate, attempt: show_policy(run, application, environment, after, requester, f"{gate}-{attempt}"),
        render=explain_policy,
        weigh=lambda seen, gate, attempt, answer: weigh_policy(run, seen, gate, attempt, answer),
    )
    if verdict["outcome"] == "approve":
        return Completed(message=f"The policy for {application} in {environment} is in force.")
    cause = f"{verdict['outcome']}: {verdict['approver']} {verdict['reason']}"[:500]
    if verdict["outcome"] == "reject":
        return Completed(name="Rejected", message=cause)
    return Failed(name="Expired", message=cause)
