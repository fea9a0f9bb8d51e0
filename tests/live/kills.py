"""Killing one part of a running stack at one boundary of a rollout or a rollback, and what must hold afterwards.

A boundary is an entry of the ledger that the plan has (`tests/faults/boundaries.py` finds them by running the flows in
memory): the part gets SIGKILL as soon as the entry can be read, some milliseconds after it was written. Parts are those
that supervisor has, and the flow's own process, and supervisor itself. Used by `test_kills.py` and by
`benchmarks.recovery`.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import psutil
from journey import NAME, Journey, until

from blocks.processes import stack_members
from blocks.target_local import LocalTarget
from domain.errors import TransientError
from domain.ledger import verify_chain
from domain.release import short
from domain.rollout import CLOSING_KINDS, OPENING_KINDS, SETTLING_KINDS, live_release, open_rollouts
from domain.service import Instance

FLOW, SUPERVISOR, INSTANCE = "flow's process", "supervisor", "instance on "
SITES = ("alpha", "beta")
SETTLED_LIMIT_S = 360
STUCK_S = 60


def parts_of(journey: Journey) -> list[str]:
    """Every part that a rollout in production could miss: asked of supervisor, and what stands beside it."""
    groups = journey.stack.supervisor.groups()
    elsewhere = ("traefik-test", "traefik-staging", "traefik-development", "test-", "staging-", "development-")
    stack = [group for group in groups if not group.startswith(("production-", *elsewhere))]
    return [FLOW, SUPERVISOR, *stack, *(INSTANCE + site for site in SITES)]


@dataclass
class Pair:
    """Two good releases, one of them live, that take turns."""

    journey: Journey
    releases: tuple[str, str]
    administrators: list[str] = field(default_factory=list[str])

    @property
    def live(self) -> str:
        settled = self.journey.world.ledger.entries(kinds=SETTLING_KINDS, application=NAME, environment="production")
        return live_release(settled)

    @property
    def other(self) -> str:
        return next(release for release in self.releases if release != self.live)

    def administrator(self) -> str:
        """Somebody whose code was not used yet: nobody waits for the next one."""
        if not self.administrators:
            self.administrators += [f"admin-{number}" for number in range(40)]
            for name in self.administrators:
                self.journey.enrol(name, "administrator")
        self.administrators.append(self.administrators.pop(0))
        return self.administrators[-1]

    def start_rollback(self) -> str:
        """Start `rollback` to the other release; returns the run."""
        name = self.administrator()
        parameters = {
            "application": NAME,
            "environment": "production",
            "reason": "a rehearsal",
            "administrator": name,
            "code": self.journey.code(name),
            "release": self.other,
        }
        stack = self.journey.stack
        deployment = stack.prefect("GET", "/deployments/name/rollback/rollback")["id"]
        return stack.prefect("POST", f"/deployments/{deployment}/create_flow_run", json={"parameters": parameters})[
            "id"
        ]


class Clients:
    """Outside clients that use both sites: each request goes to the primary, and to the standby where that fails.

    What got no 200 from either is `lost`; `seen` counts the answers by site and release.
    """

    def __init__(self, journey: Journey) -> None:
        ports = journey.stack.installation.ports
        self._urls = {site: f"http://127.0.0.1:{ports[f'entry-production-{site}']}/" for site in SITES}
        self.seen: Counter[tuple[str, str]] = Counter()
        self.lost: list[str] = []
        self._stop = threading.Event()
        self._guard = threading.Lock()

    @contextmanager
    def visiting(self, people: int = 4) -> Generator["Clients"]:
        threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(people)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(timeout=30)

    def _visit(self) -> None:
        with httpx.Client(trust_env=False, timeout=10, headers={"Host": f"{NAME}.localhost"}) as client:
            while not self._stop.wait(0.04):
                answers = []
                for site, url in self._urls.items():
                    try:
                        answer = client.get(url)
                        answers.append(f"{site}: {answer.status_code}")
                        if answer.status_code == 200:
                            with self._guard:
                                self.seen[site, answer.headers.get("X-Release", "")] += 1
                            break
                    except httpx.HTTPError as exc:
                        answers.append(f"{site}: {type(exc).__name__}")
                else:
                    with self._guard:
                        self.lost.append(f"{time.strftime('%H:%M:%S')} {', '.join(answers)}")


def kill(journey: Journey, part: str, run: str) -> None:
    """SIGKILL to every process of a part; for an instance to one of the release that is live."""
    if part == FLOW:
        for pid in flow_processes(journey, run):
            _kill(pid)
    elif part == SUPERVISOR:
        _kill(journey.stack.supervisor.pid())
    elif part.startswith(INSTANCE):
        living = [one.pid for one in instances(journey, part.removeprefix(INSTANCE)) if one.pid]
        _kill(living[0])
    else:
        for process in journey.stack.supervisor.processes(part):
            _kill(process.pid)


def _kill(pid: int | None) -> None:
    if pid is not None and psutil.pid_exists(pid):
        os.kill(pid, signal.SIGKILL)


def flow_processes(journey: Journey, run: str) -> list[int]:
    """The processes of a run: those that know its id."""
    found: list[int] = []
    for member in stack_members(journey.stack.state):
        try:
            if member.is_flow_run and member.process.environ().get("PREFECT__FLOW_RUN_ID", "").replace("-", "") == (
                run.replace("-", "")
            ):
                found.append(member.pid)
        except psutil.Error:
            continue
    return found


def instances(journey: Journey, site: str) -> list[Instance]:
    """What really runs on a site of production."""
    return LocalTarget(environment="production", site=site, state=str(journey.stack.state)).instances(NAME)


@dataclass(frozen=True)
class Boundary:
    """An entry of the ledger at which a run can be stopped: its kind, its site, and which one of several."""

    kind: str
    site: str = ""
    occurrence: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.site}".strip() + (f" #{self.occurrence + 1}" if self.occurrence else "")


def boundaries_of(names: list[str], *, environment: str = "production") -> list[Boundary]:
    """Turn the changes of a plan (`entry traffic.begun production/alpha`, …) into boundaries, in their order."""
    found: list[Boundary] = []
    for name in names:
        words = name.split()
        if words[0] != "entry" or len(words) < 3 or words[2].split("/")[0] != environment:
            continue
        site = words[2].partition("/")[2]
        before = sum(1 for one in found if (one.kind, one.site) == (words[1], site))
        found.append(Boundary(words[1], site, before))
    begun = next(place for place, one in enumerate(found) if one.kind in OPENING_KINDS)
    return found[begun:]


def await_boundary(journey: Journey, run: str, boundary: Boundary, *, limit_s: float = 120) -> None:
    """Wait until the entry can be read, looking every few milliseconds; fails where the run ends without it."""
    deadline = time.monotonic() + limit_s
    while True:
        entries = journey.world.ledger.entries(
            kinds=[boundary.kind], application=NAME, environment="production", run=run
        )
        if len([one for one in entries if one.event.site == boundary.site]) > boundary.occurrence:
            return
        assert time.monotonic() < deadline, f"run {run} did not come to '{boundary}'"
        time.sleep(0.005)


def await_settled(pair: Pair, run: str, *, limit_s: float = SETTLED_LIMIT_S) -> None:
    """Wait until the run's rollout is closed and production is wholly on what the ledger says."""
    journey = pair.journey
    until(lambda: _is_closed(journey, run), limit_s=limit_s, what="the end of the rollout")
    until(lambda: pair.live and journey.is_wholly_on(pair.live), limit_s=60, what="one release on every site")


def _is_closed(journey: Journey, run: str) -> bool:
    entries = journey.world.ledger.entries(kinds=(*OPENING_KINDS, *CLOSING_KINDS), application=NAME, limit=100_000)
    mine = [rollout for rollout in open_rollouts(entries) if rollout.run == run]
    return not mine and bool(journey.entries(*CLOSING_KINDS, run=run, environment="production"))


def complaints(pair: Pair, run: str, clients: Clients) -> list[str]:
    """What does not hold although everything is settled; empty when everything does."""
    journey = pair.journey
    found = [f"{len(clients.lost)} requests were lost, the first: {clients.lost[0]}"] if clients.lost else []
    chain = verify_chain(journey.world.ledger.entries(limit=100_000))
    found += [] if chain.broken_at is None else [f"the chain is broken at {chain.broken_at}"]
    closing = journey.entries(*CLOSING_KINDS, run=run, environment="production")[0]
    is_own_end = closing.kind in ("rollout.completed", "rollback.completed")
    found += [] if is_own_end or closing.data.get("cause") else [f"{closing.kind} has no cause"]
    for site in SITES:
        running = instances(journey, site)
        if not [one for one in running if one.release == pair.live]:
            found.append(f"no instance of the live release on {site}")
        found += [f"{site} runs {short(one.release)}" for one in running if one.release not in pair.releases]
    return found


def await_rest(pair: Pair, run: str) -> None:
    """Wait until everything runs again, no lease is left, and no process too many or too few."""
    journey = pair.journey
    until(lambda: journey.stack.slipway("status").returncode == 0, limit_s=180, what="everything up again")
    until(lambda: not _leases(journey), limit_s=120, what="every lease given back, or expired")
    until(lambda: _strays(journey) == {}, limit_s=90, what="no process but those that supervisor keeps")
    until(lambda: not _runs(journey), limit_s=120, what="no run that still works")


def _leases(journey: Journey) -> list[str]:
    return [lease.name for lease in journey.world.leases.held() if NAME in lease.name]


def _runs(journey: Journey) -> list[str]:
    states = {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}}
    found = journey.stack.prefect("POST", "/flow_runs/filter", json={"flow_runs": states})
    # what an earlier test killed before its first line waits for `reconcile`, for minutes
    stuck = datetime.now(UTC) - timedelta(seconds=STUCK_S)
    return [
        run["name"]
        for run in found
        if run["state_type"] == "RUNNING" or datetime.fromisoformat(run["state"]["timestamp"]) > stuck
    ]


def _strays(journey: Journey) -> dict[str, int]:
    """How many processes there are too many or too few of each part that supervisor keeps."""
    members = [one for one in stack_members(journey.stack.state) if one.part and not one.is_flow_run]
    pids = {one.pid for one in members}
    counted: Counter[str] = Counter()
    for one in members:
        try:
            if not one.is_guardian and one.process.ppid() not in pids:
                counted[one.part] += 1
        except psutil.Error:
            continue
    try:
        counted.subtract(Counter(process.group for process in journey.stack.supervisor.processes()))
    except TransientError:
        return {"supervisor": -1}
    return {part: number for part, number in counted.items() if number}


def await_quiet(question: Callable[[], object], *, for_s: float) -> None:
    """See that something holds, again and again, for some seconds."""
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        assert question()
        time.sleep(1)
