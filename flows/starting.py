"""Getting a release ready beside the one that serves: bytes, migrations, instances, health and a read-only smoke test.

Shared by the rollouts of every environment; nothing here moves traffic.
"""

import time

from blocks.world import open_world
from domain.release import short
from tasks.approval import read_live, record_proof
from tasks.instances import (
    await_ready,
    list_releases_running,
    prepare_release,
    start_instances,
    stop_instances,
)
from tasks.schema import apply_migrations
from tasks.traffic import probe_entry, smoke_test


def prepare_sites(run: str, application: str, environment: str, release: str) -> str:
    """Bring the bytes to every site and migrate the environment once; returns what failed."""
    place = open_world().environment(environment)
    for site in place.sites:
        prepare_release(run, application, environment, site.name, release)
    live = read_live(application, environment)
    migrated = apply_migrations(run, application, environment, place.primary.name, release, live)
    if migrated["result"] == "failed":
        return f"migrations failed; the release before serves on, and nothing was started. {migrated['tail']}"
    if migrated["result"] == "applied":
        milliseconds = int(float(migrated["seconds"]) * 1000)
        record_proof(run, application, environment, release, "migrations", "applied", milliseconds)
    return ""


def bring_up_site(run: str, application: str, environment: str, site: str, release: str) -> str:
    """Start a release on a site and see that it is healthy and answers; stop it again where it does not.

    Returns: an empty text, or what failed with the last lines of its log.
    """
    begun = time.monotonic()
    already_running = release in list_releases_running(application, environment, site)
    start_instances(run, application, environment, site, release)
    problem = await_ready(application, environment, site, release)
    if not problem:
        bad = [answer for answer in smoke_test(application, environment, site, release) if not answer.is_ok]
        problem = f"smoke test: {bad[0].url} answered {bad[0].status or bad[0].error}" if bad else ""
    if problem:
        if not already_running:
            stop_instances(run, application, environment, site, release)
        return f"{site}: release {short(release)} {problem}"
    milliseconds = int((time.monotonic() - begun) * 1000)
    record_proof(run, application, environment, release, f"health and smoke test, {site}", "passed", milliseconds)
    return ""


def check_entry(run: str, application: str, environment: str, site: str, release: str) -> str:
    """See that a release answers through the site's load balancer; returns what failed."""
    answers = probe_entry(application, environment, site, release, 5)
    bad = [answer for answer in answers if not answer.is_ok]
    if bad:
        return f"{site}: {bad[0].url} answered {bad[0].status or bad[0].error} through the load balancer"
    milliseconds = int(sum(answer.seconds for answer in answers) * 1000)
    what = f"answers through the load balancer, {site}"
    record_proof(run, application, environment, release, what, "passed", milliseconds)
    return ""


def clear_site(run: str, application: str, environment: str, site: str, *, keep: tuple[str, ...]) -> None:
    """Stop the instances of every release but those to keep."""
    for release in list_releases_running(application, environment, site):
        if release not in keep:
            stop_instances(run, application, environment, site, release)
