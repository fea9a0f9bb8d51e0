"""Bringing an environment back to an earlier release: a rollout of what was good, on every site, at once.

Called by `flows/cd.py` after a bad verdict, by `flows/rollback.py` for an administrator, and by `flows/reconcile.py`
for a run that died. Every step can be repeated; the lease is the caller's.
"""

from blocks.world import open_world
from domain.environment import Environment
from tasks.instances import await_ready, list_releases_running, prepare_release, start_instances, stop_instances
from tasks.traffic import drain, probe_entry, read_routes, record_switch, shift_traffic


def restore_release(
    *, run: str, application: str, environment: str, to: str, bad: str, drain_s: int = 5, attempt: str = ""
) -> str:
    """Give all traffic of every site to `to` (nothing at all where it is empty), then end the instances of `bad`.

    The primary comes first, since it has the users. What is warm takes the traffic in one step; what is not running is
    started and waited for before.

    Args:
        bad: the release to leave; its instances are stopped. Empty where none is to be stopped.

    Returns: an empty text, or what does not hold afterwards.
    """
    place = open_world().environment(environment)
    problems = [_restore_site(run, application, environment, site, to, bad, attempt) for site in _order(place)]
    if any(problems):
        return "; ".join(problem for problem in problems if problem)
    if bad:
        drain(drain_s, f"restore-{environment}-{attempt}")
        for site in _order(place):
            shift_traffic(run, application, environment, site, ((to, 100),) if to else (), f"restore-{attempt}-alone")
            stop_instances(run, application, environment, site, bad)
    checks = [_verify_site(application, environment, site, to) for site in _order(place)]
    return "; ".join(problem for problem in checks if problem)


def _order(environment: Environment) -> list[str]:
    return [environment.primary.name, *(site.name for site in environment.standbys)]


def _restore_site(run: str, application: str, environment: str, site: str, to: str, bad: str, attempt: str) -> str:
    detail = f"restore-{attempt}"
    if not to:
        shift_traffic(run, application, environment, site, (), detail)
        return ""
    if to not in list_releases_running(application, environment, site):
        prepare_release(run, application, environment, site, to)
    start_instances(run, application, environment, site, to, detail)
    problem = await_ready(application, environment, site, to)
    if problem:
        return f"{site}: {problem}"
    still_there = bad and bad in list_releases_running(application, environment, site)
    shares = ((to, 100), (bad, 0)) if still_there else ((to, 100),)
    shift_traffic(run, application, environment, site, shares, detail)
    record_switch(run, application, environment, site, to, detail)
    return ""


def _verify_site(application: str, environment: str, site: str, to: str) -> str:
    """Compare a site with what was meant: who has the traffic, and whether the entry answers."""
    serving = {release: weight for release, weight in read_routes(application, environment, site) if weight > 0}
    expected = {to[:12]: 100} if to else {}
    if serving != expected:
        return f"{site}: traffic goes to {serving or 'nobody'}, not to {expected or 'nobody'}"
    if not to:
        return ""
    bad = [answer for answer in probe_entry(application, environment, site, to, 3) if not answer.is_ok]
    return f"{site}: {bad[0].url} answered {bad[0].status or bad[0].error}" if bad else ""
