"""Bringing an environment to another size without losing a request: more beside what serves, less when it is idle.

Called by `flows/scale.py`, `flows/follow_load.py`, and for a run that died by `flows/reconcile.py` and the rollouts.
Every step can be repeated; the lease is the caller's. What does not become healthy goes back to the old size by itself.
"""

from typing import Any

from blocks.world import open_world
from domain.catalogue import say
from domain.environment import Environment
from domain.errors import SlipwayError
from domain.size import OpenScale, Size
from tasks.approval import read_live
from tasks.incident import open_incident
from tasks.lease import LeaseKeeper
from tasks.scaling import (
    await_size,
    check_routes,
    list_open_scales,
    read_settled_size,
    read_weaker,
    record_scale,
    retire_instances,
    route_to,
    start_beside,
)
from tasks.traffic import probe_entry


def change_size(
    run: str,
    application: str,
    environment: str,
    release: str,
    size: Size,
    before: Size,
    data: dict[str, Any],
    keeper: LeaseKeeper,
) -> dict[str, str]:
    """Bring every site to a size, standby first; back to `before` where one does not get there.

    A run that has lost its lease (to an administrator's rollback, say) changes nothing more, not even back.

    Args:
        data: what else the entries say: `reason`, `by`.

    Returns: `outcome` (`completed`, `rolled_back`, `failed`) and `cause`.
    """
    told = {"size": size.as_dict(), "previous": before.as_dict(), **data}
    record_scale(run, application, environment, release, "scale.begun", told)
    problem = _bring(run, application, environment, release, size, "out", keeper)
    if not problem:
        weaker = {
            words
            for site in _order(open_world().environment(environment))
            for words in read_weaker(application, environment, site, release, size)
        }
        record_scale(run, application, environment, release, "scale.completed", {**told, "not_held": sorted(weaker)})
        return {"outcome": "completed", "cause": "; ".join(sorted(weaker))}
    not_restored = _bring(run, application, environment, release, before, "back", keeper)
    kind = "scale.failed" if not_restored else "scale.rolled_back"
    ended = {**told, "cause": problem[:2000], "verified": not_restored or "yes"}
    record_scale(run, application, environment, release, kind, ended)
    title = say("scale.rolled_back", language=open_world().language, environment=environment)
    cause = f"{problem}\nAfterwards: {not_restored}" if not_restored else problem
    open_incident(run, application, environment, release, "P1" if not_restored else "P3", title, cause)
    return {"outcome": kind.removeprefix("scale."), "cause": cause}


def settle_scales(
    run: str, application: str, environment: str, keeper: LeaseKeeper, *, but: str = ""
) -> list[OpenScale]:
    """Finish what runs have left that died while they changed the size: the size that the ledger says comes back.

    For whoever holds the lease: then nobody else changes it. What the run `but` began goes on. Returns what was
    settled.
    """
    left = [one for one in list_open_scales(application, environment) if one.run != but]
    live = read_live(application, environment)
    for one in left:
        size = read_settled_size(application, environment)
        attempt = f"settled-{one.run[:8]}"
        problem = _bring(run, application, environment, live, size, attempt, keeper) if live else ""
        data = {"cause": "its run ended before it was done", "verified": problem or "yes", "settled_by": run}
        # written in the name of the run that began it: that is what closes it
        record_scale(one.run, application, environment, live, "scale.rolled_back", data, "settled")
        title = say("scale.died", language=open_world().language, environment=environment)
        open_incident(run, application, environment, live, "P1" if problem else "P3", title, problem or data["cause"])
    return left


def _order(environment: Environment) -> list[str]:
    return [*(site.name for site in environment.standbys), environment.primary.name]


def _bring(
    run: str, application: str, environment: str, release: str, size: Size, attempt: str, keeper: LeaseKeeper
) -> str:
    """Bring the sites to a size, one after another; stops at the first that does not get there, and says why."""
    for site in _order(open_world().environment(environment)):
        keeper.check()
        try:
            problem = _bring_site(run, application, environment, site, release, size, attempt)
        except SlipwayError as exc:
            keeper.check()  # without the lease this is not ours to take back
            problem = f"{site}: {exc}"
        if problem:
            return problem
    return ""


def _bring_site(run: str, application: str, environment: str, site: str, release: str, size: Size, attempt: str) -> str:
    """Start, wait, route, check, retire: in this order nobody is ever sent to what is not ready or about to end."""
    wanted, leaving = start_beside(run, application, environment, site, release, size, attempt)
    problem = await_size(application, environment, site, release, size, wanted)
    if problem:
        return f"{site}: {problem}"
    route_to(run, application, environment, site, release, wanted, f"size-{attempt}")
    problem = check_routes(application, environment, site, release, wanted)
    bad = [answer for answer in probe_entry(application, environment, site, release, 5) if not answer.is_ok]
    if problem or bad:
        return problem or f"{site}: {bad[0].url} answered {bad[0].status or bad[0].error} through the load balancer"
    if leaving:
        retire_instances(run, application, environment, site, release, leaving, attempt)
    return ""
