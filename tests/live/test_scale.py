"""Real load on a real stack: the number of instances follows it out and back, and no visitor notices."""

import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from journey import NAME, Journey, Visitors, until
from running_stack import RunningStack

from blocks.balancer_traefik import TraefikBalancer
from blocks.target_local import LocalTarget
from domain.ledger import Entry, Event
from domain.rollout import SETTLING_KINDS, live_release
from domain.service import Limits
from domain.size import MIB

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]
PLACE = {"application": NAME, "environment": "production"}
LEAST, MOST = 2, 4


@pytest.fixture(scope="module")
def journey(stack: RunningStack) -> Generator[Journey]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-scale-"))
    journey = Journey(stack, folder)
    yield journey
    # what other modules deliver on this stack is left alone again
    journey.world.ledger.append(Event("load_policy.granted", **PLACE, actor="tests", data={"after": {}}))
    journey.world.close()
    shutil.rmtree(folder)


def start(journey: Journey, flow: str, **parameters: Any) -> str:
    deployment = journey.stack.prefect("GET", f"/deployments/name/{flow}/{flow}")["id"]
    path = f"/deployments/{deployment}/create_flow_run"
    return journey.stack.prefect("POST", path, json={"parameters": parameters})["id"]


def live_of(journey: Journey) -> str:
    """What is live in production; delivered first where nothing is."""
    settled = journey.entries(*SETTLING_KINDS, environment="production")
    if live := live_release(settled[::-1]):
        return live
    release = journey.deliver("to be scaled")
    with Visitors(journey.stack.installation.ports["entry-production-alpha"]).visiting():
        journey.approve(release)
        journey.wait("rollout.completed", release=release, environment="production", limit_s=180)
    return release


def approved(journey: Journey, flow: str, person: str, **parameters: Any) -> str:
    """Start a flow and say yes at its gate, as somebody whose code is fresh; returns the run."""
    run = start(journey, flow, **PLACE, **parameters)
    journey.wait(f"{flow}.requested", run=run)
    until(
        lambda: journey.stack.prefect("GET", f"/flow_runs/{run}")["state"]["type"] == "PAUSED",
        limit_s=60,
        what=f"the gate of {flow}",
    )
    journey.enrol(person, "approver")
    assert journey.answer(run, approver=person, code=journey.code(person))["status"] == "ACCEPT"
    journey.wait(f"{flow}.granted", run=run)
    return run


def followed(journey: Journey, *, after: int) -> Entry:
    """Let `follow_load` look until it has changed the size; whoever starts it, the schedule or this."""

    def changed() -> Entry | None:
        found = [one for one in journey.entries("scale.completed") if one.seq > after]
        return found[0] if found and found[0].data["by"] == "follow_load" else None

    def looked() -> Entry | None:
        run = start(journey, "follow_load")
        journey.wait_end(run, limit_s=90)
        return changed()

    return until(looked, limit_s=150, what="a change of size")


def serving(journey: Journey, site: str, release: str) -> tuple[int, int]:
    """How many instances run, and to how many of them the load balancer sends requests."""
    place = {"environment": "production", "site": site, "state": str(journey.stack.state)}
    instances = [one for one in LocalTarget(**place).instances(NAME) if one.release == release]
    arms = [arm for arm in TraefikBalancer(**place).routes(NAME) if arm.release == release]
    return len([one for one in instances if one.state == "running"]), len(arms[0].addresses)


def test_an_approved_size_is_in_force_for_every_instance_and_no_request_fails(journey: Journey) -> None:
    release = live_of(journey)
    with Visitors(journey.stack.installation.ports["entry-production-alpha"]).visiting(people=3) as visitors:
        larger = {"instances": 3, "memory_bytes": 256 * MIB, "cpu_share": 0.9}
        run = approved(journey, "scale", "zoe", **larger, reason="more users")
        done = journey.wait("scale.completed", run=run)
        assert journey.wait_end(run)["type"] == "COMPLETED"
        for site in ("alpha", "beta"):
            assert serving(journey, site, release) == (3, 3)
            place = {"environment": "production", "site": site, "state": str(journey.stack.state)}
            for instance in LocalTarget(**place).instances(NAME):
                if instance.release == release and not done.data["not_held"]:
                    assert Limits(256 * MIB, 0.9).differ_from(instance.limits) == ""
        back = {"instances": 0, "memory_bytes": 0, "cpu_share": 0}
        run = approved(journey, "scale", "yan", **back, reason="fewer users")
        journey.wait("scale.completed", run=run)
        time.sleep(1)
    assert serving(journey, "alpha", release) == serving(journey, "beta", release) == (2, 2)
    assert set(visitors.answers) == {(release.partition("@")[0], 200)} and sum(visitors.answers.values()) > 100
    print(f"{sum(visitors.answers.values())} requests, all answered; not held here: {done.data['not_held']}")


def test_under_load_it_scales_out_and_back_and_no_request_fails(journey: Journey) -> None:
    release = live_of(journey)
    port = journey.stack.installation.ports["entry-production-alpha"]
    begun = time.monotonic()
    bounds = {"least": LEAST, "most": MOST, "capacity": 40.0, "target_ratio": 0.5}
    approved(journey, "load_policy", "eve", **bounds, measure_s=3, window_s=4, cool_down_s=0)
    newest = journey.world.ledger.entries(newest_first=True, limit=1)[0].seq

    with Visitors(port).visiting(people=6) as crowd:
        out = followed(journey, after=newest)
        size = out.data["size"]["instances"]
        assert LEAST < size <= MOST and out.data["load"] > 40
        for site in ("alpha", "beta"):
            assert serving(journey, site, release) == (size, size)
    with Visitors(port).visiting(people=1) as one_alone:
        back = followed(journey, after=out.seq)
        assert back.data["size"]["instances"] < size
        for site in ("alpha", "beta"):
            assert serving(journey, site, release) == (back.data["size"]["instances"],) * 2
        time.sleep(1)
    took_s = time.monotonic() - begun
    asked = sum(crowd.answers.values()), sum(one_alone.answers.values())
    print(f"out to {size} and back in {took_s:.0f} s; {asked[0]} + {asked[1]} requests, all answered")
    for visitors in (crowd, one_alone):
        assert set(visitors.answers) == {(release.partition("@")[0], 200)}
    retired = journey.entries("retirement.completed", run=back.event.run)
    assert {entry.event.site for entry in retired} == {"alpha", "beta"}
