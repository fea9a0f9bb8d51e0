"""Going back by hand while parts of the real stack are stopped: Prefect, PostgreSQL, both; and a rollout under way."""

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from journey import NAME, Journey, Visitors, until
from running_stack import RunningStack

from blocks.target_local import LocalTarget
from domain.ledger import verify_chain
from domain.release import short
from domain.rollout import SETTLING_KINDS, live_release

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def journey(stack: RunningStack) -> Generator[Journey]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-glass-"))
    journey = Journey(stack, folder)
    yield journey
    journey.world.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def releases(journey: Journey) -> tuple[str, str]:
    """Two releases that were live, the second one now."""
    made: list[str] = []
    port = journey.stack.installation.ports["entry-production-alpha"]
    for name in ("glass a", "glass b"):
        release = journey.deliver(name)
        with Visitors(port).visiting():
            assert journey.wait_end(journey.approve(release))["type"] == "COMPLETED"
        made.append(release)
    return made[0], made[1]


def go_back(journey: Journey, *words: str) -> tuple[int, str]:
    code = journey.code("ann")
    command = ("rollback", NAME, "--break-glass", "--as", "ann", "--reason", "the tests stop parts", "--code", code)
    done = journey.stack.slipway(*command, *words)
    return done.returncode, done.stdout + done.stderr


def live(journey: Journey) -> str:
    return live_release(journey.world.ledger.entries(kinds=SETTLING_KINDS, application=NAME, environment="production"))


def test_with_prefect_and_postgresql_stopped_traffic_goes_back_and_the_ledger_learns_of_it(
    journey: Journey, releases: tuple[str, str]
) -> None:
    old, new = releases
    supervisor = journey.stack.supervisor
    entry = journey.stack.installation.ports["entry-production-beta"]
    for part in ("prefect", "postgres"):
        supervisor.stop(part)
    with Visitors(entry).visiting(people=2) as visitors:
        code, said = go_back(journey)
        assert code == 0, said
        until(lambda: visitors.answers[old, 200] > 5, limit_s=20, what="answers of the old release")
    assert visitors.failed_outside("") == {}
    assert journey.is_wholly_on(old) and "does not know it yet" in said
    again = journey.stack.slipway(
        *("rollback", NAME, "--break-glass", "--as", "ann", "--reason", "again", "--code", journey.last_code("ann"))
    )
    assert again.returncode == 1 and "used before" in again.stdout + again.stderr, "a code is good once"
    up = journey.stack.slipway("up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert live(journey) == old and journey.is_wholly_on(old)
    assert journey.entries("digest.blocked", release=new) and journey.entries("incident.opened", release=new)
    (completed,) = [e for e in journey.entries("rollback.completed") if "break_glass" in e.data]
    assert completed.event.actor == "ann" and completed.data["break_glass"]["at"] < f"{completed.at:%Y-%m-%dT%H:%M:%S}"
    assert verify_chain(journey.world.ledger.entries(limit=100_000)).broken_at is None
    assert journey.world.break_glass.marks() == [] and journey.world.break_glass.unsettled() == []


def test_a_rollout_under_way_stops_and_is_closed_when_prefect_alone_is_away(
    journey: Journey, releases: tuple[str, str]
) -> None:
    old, _ = releases
    third = journey.deliver("glass c", settings={"steps": "[{ weight_percent = 20, watch_s = 60 }]"})
    port = journey.stack.installation.ports["entry-production-alpha"]
    with Visitors(port).visiting():
        run = journey.approve(third)
        until(lambda: short(third) in journey.serving("alpha"), limit_s=120, what="the canary's share")
        journey.stack.supervisor.stop("prefect")
        code, said = go_back(journey)
        assert code == 0 and "In the ledger" in said, said
        assert journey.is_wholly_on(old)
        journey.stack.supervisor.start("prefect")
        journey.wait_end(run, limit_s=240)
    (closed,) = journey.entries("rollout.rolled_back", run=run)
    assert closed.data["to"] == old and "break-glass" in closed.data["cause"]
    assert journey.is_wholly_on(old) and live(journey) == old
    assert not [lease for lease in journey.world.leases.held() if lease.owner == run]


def test_instances_that_are_gone_are_started_as_they_were_without_a_database(
    journey: Journey, releases: tuple[str, str]
) -> None:
    old = live(journey)
    assert old in releases
    fourth = journey.deliver("glass d")
    with Visitors(journey.stack.installation.ports["entry-production-alpha"]).visiting():
        assert journey.wait_end(journey.approve(fourth))["type"] == "COMPLETED"
    for site in ("alpha", "beta"):
        LocalTarget(environment="production", site=site, state=str(journey.stack.state)).stop(NAME, old)
    journey.stack.supervisor.stop("postgres")
    code, said = go_back(journey)
    assert code == 0, said
    assert journey.is_wholly_on(old)
    up = journey.stack.slipway("up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert live(journey) == old
