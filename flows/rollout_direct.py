"""A release takes an environment without users: beside the old one, checked, then switched at once.

The subflow of `cd` for development, test and staging. What fails leaves, or brings back, the release that was there.
"""

from prefect import flow

from blocks.world import open_world
from flows.resizing import settle_scales
from flows.restoring import restore_release
from flows.starting import bring_up_site, check_entry, clear_site, prepare_sites
from tasks.approval import read_live, record_proof
from tasks.lease import environment_lease, held_lease
from tasks.rollout import read_closed, record_rollout
from tasks.traffic import record_switch, run_acceptance, shift_traffic


@flow(name="rollout-direct", flow_run_name="{application} to {environment}", persist_result=True)
def rollout_direct(run: str, application: str, environment: str, release: str, with_acceptance: bool) -> dict[str, str]:
    """Bring a release to an environment and prove it there.

    Returns: `outcome` (`completed`, `failed`, or `rolled_back` where somebody settled it for a process of this run that
    died) and `cause`, as a person reads it.
    """
    place = open_world().environment(environment)
    with held_lease(environment_lease(application, environment), owner=run) as keeper:
        closed = read_closed(run, application, environment)
        if closed.outcome:
            return {"outcome": closed.outcome, "cause": closed.cause}
        live = read_live(application, environment)
        settle_scales(run, application, environment, keeper)
        record_rollout(run, application, environment, release, "rollout.begun", {"previous": live})
        problem = prepare_sites(run, application, environment, release)
        for site in place.sites:
            problem = problem or bring_up_site(run, application, environment, site.name, release)
        if not problem:
            problem = _switch(run, application, environment, release, with_acceptance=with_acceptance)
        if problem:
            if live != release:
                restore_release(
                    run=run, application=application, environment=environment, to=live, bad=release, drain_s=1
                )
            record_rollout(run, application, environment, release, "rollout.failed", {"cause": problem[:2000]})
            return {"outcome": "failed", "cause": problem}
        for site in place.sites:
            clear_site(run, application, environment, site.name, keep=(release,))
        record_rollout(run, application, environment, release, "rollout.completed", {"previous": live})
    return {"outcome": "completed", "cause": ""}


def _switch(run: str, application: str, environment: str, release: str, *, with_acceptance: bool) -> str:
    """Give the release all traffic of every site, then prove it from outside; returns what failed."""
    place = open_world().environment(environment)
    for site in place.sites:
        shift_traffic(run, application, environment, site.name, ((release, 100),), "switch")
        record_switch(run, application, environment, site.name, release)
        problem = check_entry(run, application, environment, site.name, release)
        if problem:
            return problem
    if not with_acceptance:
        return ""
    proof = run_acceptance(run, application, environment, place.primary.name, release)
    milliseconds = int(float(proof["seconds"]) * 1000)
    record_proof(run, application, environment, release, "acceptance tests", proof["result"], milliseconds)
    return f"acceptance tests failed:\n{proof['tail']}" if proof["result"] == "failed" else ""
