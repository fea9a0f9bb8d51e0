"""Bringing an environment back to an earlier release: a rollout of what was good, on every site, at once.

Called by `flows/cd.py` after a bad verdict, by `flows/rollback.py` and `flows/break_glass.py` for an administrator, and
by `flows/reconcile.py` for a run that died. Every step can be repeated; the lease is the caller's.
"""

from blocks.world import open_world
from domain.environment import Environment
from domain.errors import SlipwayError
from domain.release import short
from tasks.instances import (
    answers_alive,
    await_ready,
    list_releases_running,
    prepare_release,
    start_instances,
    stop_instances,
)
from tasks.traffic import drain, probe_entry, read_routes, record_switch, shift_traffic

PATIENCE_S = 8
"""How long a warm release may take to say that it is ready before it is taken for alive at least."""


def restore_release(
    *,
    run: str,
    application: str,
    environment: str,
    to: str,
    bad: str,
    drain_s: int = 5,
    attempt: str = "",
    insist: bool = False,
) -> str:
    """Give all traffic of every site to `to` (nothing at all where it is empty), then end the instances of `bad`.

    The primary comes first, since it has the users. What is warm takes the traffic in one step; what is not running is
    started and waited for before.

    Args:
        bad: the release to leave; its instances are stopped. Empty where none is to be stopped.
        insist: go on with the other sites where one can't be moved, and give the traffic also to what lives but is not
            ready: what it needs may be away itself. For break-glass.

    Returns: an empty text, or what does not hold afterwards.
    """
    place = open_world().environment(environment)
    restore = _insist if insist else _restore_site
    problems = [restore(run, application, environment, site, to, bad, attempt) for site in _order(place)]
    if any(problems):
        return "; ".join(problem for problem in problems if problem)
    if bad:
        drain(drain_s, f"restore-{environment}-{attempt}")
        for site in _order(place):
            _leave(run, application, environment, site, to, bad, attempt)
    checks = [_verify_site(application, environment, site, to) for site in _order(place)]
    return "; ".join(problem for problem in checks if problem)


def _order(environment: Environment) -> list[str]:
    return [environment.primary.name, *(site.name for site in environment.standbys)]


def _leave(run: str, application: str, environment: str, site: str, to: str, bad: str, attempt: str) -> None:
    """Forget the release that was left, and end its instances."""
    shift_traffic(run, application, environment, site, ((to, 100),) if to else (), f"restore-{attempt}-alone")
    stop_instances(run, application, environment, site, bad)


def _insist(run: str, application: str, environment: str, site: str, to: str, bad: str, attempt: str) -> str:
    """Restore a site with whatever can be done to it; returns what could not."""
    try:
        problem = _restore_site(run, application, environment, site, to, bad, attempt, patience_s=PATIENCE_S)
        if problem and answers_alive(application, environment, site, to):
            problem = _give_traffic(run, application, environment, site, to, bad, attempt)
    except SlipwayError as exc:
        return f"{site}: {exc}"
    return problem


def _restore_site(
    run: str,
    application: str,
    environment: str,
    site: str,
    to: str,
    bad: str,
    attempt: str,
    patience_s: int = 0,
) -> str:
    detail = f"restore-{attempt}"
    if not to:
        shift_traffic(run, application, environment, site, (), detail)
        return ""
    is_warm = to in list_releases_running(application, environment, site)
    if not is_warm:
        prepare_release(run, application, environment, site, to)
    start_instances(run, application, environment, site, to, detail)
    problem = await_ready(application, environment, site, to, patience_s if is_warm else 0)
    if problem:
        return f"{site}: {problem}"
    return _give_traffic(run, application, environment, site, to, bad, attempt)


def _give_traffic(run: str, application: str, environment: str, site: str, to: str, bad: str, attempt: str) -> str:
    detail = f"restore-{attempt}"
    still_there = bad and bad in list_releases_running(application, environment, site)
    shares = ((to, 100), (bad, 0)) if still_there else ((to, 100),)
    shift_traffic(run, application, environment, site, shares, detail)
    record_switch(run, application, environment, site, to, detail)
    return ""


def _verify_site(application: str, environment: str, site: str, to: str) -> str:
    """Compare a site with what was meant: who has the traffic, and whether the entry answers."""
    serving = {release: weight for release, weight in read_routes(application, environment, site) if weight > 0}
    expected = {short(to): 100} if to else {}
    if serving != expected:
        return f"{site}: traffic goes to {serving or 'nobody'}, not to {expected or 'nobody'}"
    if not to:
        return ""
    bad = [answer for answer in probe_entry(application, environment, site, to, 3) if not answer.is_ok]
    return f"{site}: {bad[0].url} answered {bad[0].status or bad[0].error}" if bad else ""
