"""Each part killed in the middle of a rollout: afterwards production is wholly on one release and the ledger agrees."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from journey import NAME, Journey, Visitors, until
from running_stack import RunningStack

from blocks.target_local import LocalTarget
from domain.ledger import verify_chain
from domain.release import short
from domain.rollout import CLOSING_KINDS, OPENING_KINDS, SETTLING_KINDS, live_release, open_rollouts
from domain.service import Instance

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(900)]


@dataclass
class Pair:
    """Two good releases, one of them live, that take turns."""

    journey: Journey
    releases: tuple[str, str]

    @property
    def live(self) -> str:
        settled = self.journey.world.ledger.entries(kinds=SETTLING_KINDS, application=NAME, environment="production")
        return live_release(settled)

    @property
    def other(self) -> str:
        return next(release for release in self.releases if release != self.live)


@pytest.fixture(scope="module")
def pair(stack: RunningStack) -> Generator[Pair]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-kills-"))
    journey = Journey(stack, folder)
    watch = {"steps": "[{ weight_percent = 20, watch_s = 15 }]"}
    releases = tuple(journey.deliver(f"kills {letter}", settings=watch) for letter in "ab")
    with Visitors(stack.installation.ports["entry-production-alpha"]).visiting():
        assert journey.wait_end(journey.approve(releases[0]))["type"] == "COMPLETED"
    journey.approve(releases[1], decision="reject")
    yield Pair(journey, (releases[0], releases[1]))
    journey.world.close()
    shutil.rmtree(folder)


def kill_part(name: str) -> Callable[[Journey, str], None]:
    """A kill -9 of one part that supervisor keeps."""

    def kill(journey: Journey, run: str) -> None:
        os.kill(journey.stack.supervisor.processes(name)[0].pid, signal.SIGKILL)

    return kill


def kill_flow_run(journey: Journey, run: str) -> None:
    """A kill -9 of the run's own process: the one under the worker that knows the run's id."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID", "").replace("-", "") == run.replace("-", ""):
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def instances(journey: Journey) -> list[Instance]:
    """What really runs on production's primary."""
    return LocalTarget(environment="production", site="alpha", state=str(journey.stack.state)).instances(NAME)


def kill_instance(journey: Journey, run: str) -> None:
    """A kill -9 of one instance of the release that is live."""
    instance = instances(journey)[0]
    assert instance.pid is not None
    os.kill(instance.pid, signal.SIGKILL)


VICTIMS: dict[str, Callable[[Journey, str], None]] = {
    "flow-run": kill_flow_run,
    "worker": kill_part("worker"),
    "prefect": kill_part("prefect"),
    "postgres": kill_part("postgres"),
    "s3": kill_part("s3"),
    "traefik": kill_part("traefik-production-alpha"),
    "instance": kill_instance,
}


@pytest.mark.parametrize("victim", VICTIMS)
def test_production_ends_wholly_on_one_release_and_the_ledger_agrees(pair: Pair, victim: str) -> None:
    journey = pair.journey
    until(lambda: journey.stack.slipway("status").returncode == 0, limit_s=120, what="everything up again")
    release = pair.other
    port = journey.stack.installation.ports["entry-production-alpha"]
    beta = journey.stack.installation.ports["entry-production-beta"]
    run = journey.start_cd(release)
    until(lambda: journey.entries("approval.requested", run=run), limit_s=180, what="the gate")
    with Visitors(port).visiting() as visitors, Visitors(beta).visiting(people=2) as beside:
        journey.wait_gate(release)
        assert journey.answer(run, code=journey.code("ann"))["status"] == "ACCEPT"
        until(
            lambda: any(e.event.site == "alpha" for e in journey.entries("traffic.shifted", run=run)),
            limit_s=120,
            what="the canary's share",
        )
        VICTIMS[victim](journey, run)
        until(lambda: _is_settled(journey, run), limit_s=360, what="the end of the rollout")
        until(lambda: pair.live and journey.is_wholly_on(pair.live), limit_s=60, what="one release on every site")
    assert verify_chain(journey.world.ledger.entries(limit=100_000)).broken_at is None
    until(
        lambda: not [lease for lease in journey.world.leases.held() if lease.owner == run],
        limit_s=120,
        what="the lease given back, or expired",
    )
    assert {i.state for i in instances(journey) if i.release == pair.live} == {"running"}
    served = visitors.answers[pair.live, 200]
    assert served > 50
    # the site whose load balancer or instance was shot may lose what was under way; the other site loses nothing
    assert beside.failed_outside("") == {}
    if victim not in ("traefik", "instance"):
        assert visitors.failed_outside("") == {}


def _is_settled(journey: Journey, run: str) -> bool:
    entries = journey.world.ledger.entries(kinds=(*OPENING_KINDS, *CLOSING_KINDS), application=NAME)
    mine = [rollout for rollout in open_rollouts(entries) if rollout.run == run]
    closed = journey.entries(*CLOSING_KINDS, run=run, environment="production")
    return not mine and bool(closed)


def test_each_end_has_a_stated_reason(pair: Pair) -> None:
    for entry in pair.journey.entries("rollout.rolled_back", environment="production"):
        assert entry.data["cause"], f"{short(entry.event.release)} has none"
