"""Flows as plans: what they change, in order, and what must hold when one dies at any of these changes.

Used by `test_boundaries.py` and `test_kill_matrix.py`. A scenario prepares a world and one run; a case kills that run's
process at one change, and then lets happen what happens without a person: `reconcile`, after the lease is over.
"""

import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlparse

import pyotp
from plain_engine import Ended, PlainEngine, PlainRun
from stage import APPLICATION, Stage
from watched_world import Valve, WatchedWorld

from blocks.clock import MemoryClock
from blocks.memory_approvers import MemoryApprovers
from blocks.memory_leases import MemoryLeases
from blocks.memory_sources import MemoryCommit, MemoryRepository
from blocks.memory_world import Behaviour, MemoryWorld
from blocks.world import use_world
from domain.delivery import Commit
from domain.ledger import Entry, verify_chain
from domain.ports import Application, Approver, RunRecord
from domain.rollout import (
    CLOSING_KINDS,
    OPENING_KINDS,
    RUN_CLOSING,
    SETTLING_KINDS,
    live_release,
    open_rollouts,
)
from flows.cd import cd
from flows.reconcile import reconcile
from flows.rollback import rollback

URL = "file:///desk"
LOCK = type(threading.Lock())
LEASE_IS_OVER_S = 60


class Theatre:
    """One world, one engine, and the people in it."""

    def __init__(self, engine: PlainEngine) -> None:
        world = MemoryWorld()
        world.leases = MemoryLeases(world.clock.now)
        world.approvers = MemoryApprovers(world.clock.now)
        world.applications.add(Application(APPLICATION, "gitea", "team/desk", URL), webhook_secret="s")
        world.sources.repositories[URL] = self._repository = MemoryRepository()
        self.world, self.engine, self.stage = world, engine, Stage(world)
        engine.clock = world.clock
        uri = world.approvers.enrol(Approver("ann", roles=("approver", "administrator")))
        self._totp = pyotp.TOTP(parse_qs(urlparse(uri).query)["secret"][0])
        self.unserved: list[str] = []
        self.had_users = False
        use_world(lambda: world)

    @property
    def code(self) -> str:
        """A code that was not used before."""
        self.world.clock.sleep(31)
        return self._totp.at(self.world.clock.now())

    def deliver(self, letter: str, **options: Any) -> PlainRun:
        """A run of `cd` for a new release."""
        commit = Commit(sha=letter * 40, title="a change", author="carl", author_email="carl@example.org")
        self._repository.commits[commit.sha] = MemoryCommit(commit, {})
        self.world.sources.fetch(APPLICATION, URL)
        release = self.stage.pin(letter, **options)
        return PlainRun(f"run-{letter}", cd, {"application": APPLICATION, "release": release, "requester": ""})

    def roll_back(self) -> PlainRun:
        """A run of `rollback`, by an administrator."""
        who = {"administrator": "ann", "code": self.code, "reason": "search is slow"}
        return PlainRun(
            "run-back",
            rollback,
            {"application": APPLICATION, "environment": "production", "release": "", "block": True, **who},
        )

    def drive(self, run: PlainRun, valve: Valve | None = None) -> Ended:
        """Let a run go to its end or its death; a person says yes at every gate."""
        valve = valve or Valve(after=self.look)
        self.engine.clock = self.world.clock
        use_world(lambda: WatchedWorld(self.world, valve))  # pyright: ignore[reportArgumentType]
        while True:
            self._tell(run, "running")
            ended = self.engine.process(run)
            self._tell(run, ended.state)
            if ended.state != "paused":
                return ended
            run.answers[ended.key] = {"decision": "approve", "approver": "ann", "code": self.code, "comment": ""}

    def reconcile(self, number: int) -> Ended:
        """What the automation and the schedule start, when the lease of who died is over."""
        self.world.clock.sleep(LEASE_IS_OVER_S)
        self._call_silent_runs_crashed()
        return self.drive(PlainRun(f"reconcile-{number}", reconcile, {"run": ""}))

    def _call_silent_runs_crashed(self) -> None:
        """What the zombie automation does."""
        for id, record in self.world.run_records.records.items():
            if record.state == "running":
                self.world.run_records.records[id] = replace(record, state="crashed")

    def _tell(self, run: PlainRun, state: str) -> None:
        record = RunRecord(run.id, run.flow.name, run.id, state, since=datetime.now(UTC))
        self.world.run_records.records[run.id] = record

    @property
    def live(self) -> str:
        """What production is on, says the ledger."""
        entries = self.world.ledger.entries(
            kinds=SETTLING_KINDS, application=APPLICATION, environment="production", limit=100_000
        )
        return live_release(entries)

    def look(self, name: str) -> None:
        """After a change: does at least one site of production answer all of its users, if it ever had any?"""
        if self.had_users and not any(self._serves(site) for site in ("alpha", "beta")):
            self.unserved.append(name)

    def _serves(self, site: str) -> bool:
        place = self.world.sites["production", site]
        arms = [arm for arm in place.balancer.routes(APPLICATION) if arm.weight_percent]
        alive = {instance.url for instance in place.target.instances(APPLICATION) if instance.state == "running"}
        return bool(arms) and all(arm.addresses and set(arm.addresses) <= alive for arm in arms)

    def count_changes(self) -> int:
        kinds = ["traffic.begun", "start.begun", "stop.begun"]
        return len(self.world.ledger.entries(kinds=kinds, environment="production", limit=100_000))

    def rollouts_begun(self, run: PlainRun) -> list[Entry]:
        return self.world.ledger.entries(kinds=OPENING_KINDS, run=run.id)

    def complaints(self, run: PlainRun) -> list[str]:
        """What does not hold; empty when everything does."""
        return [*self._about_places(), *self._about_the_ledger(run)]

    def _about_places(self) -> list[str]:
        found: list[str] = []
        for environment in self.world.environments():
            settled = self.world.ledger.entries(kinds=SETTLING_KINDS, environment=environment.name)
            live = live_release(settled)
            for site in environment.sites:
                serving = self.stage.serving(environment.name, site.name)
                if serving != ({live: 100} if live else {}):
                    found.append(f"{environment.name}/{site.name} serves {serving}, the ledger says {live[:6]}")
                running = self.stage.running(environment.name, site.name)
                warm = {entry.data.get("previous", "") for entry in settled[-1:] if entry.kind == "rollout.completed"}
                if (live and live not in running) or running - {live} - warm:
                    found.append(f"{environment.name}/{site.name} runs {[r[:6] for r in running]}, live {live[:6]}")
        found += [f"lease {lease.name} is held by {lease.owner}" for lease in self.world.leases.held()]
        found += [f"nobody was served after '{name}'" for name in self.unserved]
        return found

    def _about_the_ledger(self, run: PlainRun) -> list[str]:
        ledger = self.world.ledger
        found = [] if verify_chain(ledger.entries(limit=100_000)).broken_at is None else ["the chain is broken"]
        pending = open_rollouts(ledger.entries(kinds=(*OPENING_KINDS, *CLOSING_KINDS), limit=100_000))
        found += [f"the {one.kind} of {one.run} in {one.environment} is open" for one in pending]
        kinds = {entry.kind: entry for entry in ledger.entries(run=run.id)}
        if "cd.started" in kinds and not set(RUN_CLOSING) & set(kinds):
            found.append("the run was neither continued nor closed")
        stopped = kinds.get("cd.stopped")
        if stopped and not stopped.data.get("cause"):
            found.append("the run was closed without a reason")
        return found


def _new_release(theatre: Theatre) -> PlainRun:
    ended = theatre.drive(theatre.deliver("a"))
    assert ended.state == "completed", ended.value
    return theatre.deliver("b")


def _first_release(theatre: Theatre) -> PlainRun:
    return theatre.deliver("a")


def _bad_release(theatre: Theatre) -> PlainRun:
    run = _new_release(theatre)
    theatre.world.behaviour[run.parameters["release"]] = Behaviour(fails_every=2)
    return run


def _rollback(theatre: Theatre) -> PlainRun:
    theatre.drive(_new_release(theatre))
    return theatre.roll_back()


def _rollback_midway(theatre: Theatre) -> PlainRun:
    run = _new_release(theatre)
    _die_at_the_canary(theatre, run)
    theatre._tell(run, "running")  # it hangs, and holds its lease
    return theatre.roll_back()


def _reconcile(theatre: Theatre) -> PlainRun:
    _die_at_the_canary(theatre, _new_release(theatre))
    theatre.world.clock.sleep(LEASE_IS_OVER_S)
    return PlainRun("reconcile-0", reconcile, {"run": ""})


def _die_at_the_canary(theatre: Theatre, run: PlainRun) -> None:
    """Kill a run with a share of the primary's traffic on its release."""
    valve = Valve(dies_before=lambda name: name == "entry verdict.given production/alpha")
    assert theatre.drive(run, valve).state == "crashed"


SCENARIOS: dict[str, Callable[[Theatre], PlainRun]] = {
    "cd, a good release": _new_release,
    "cd, a bad release": _bad_release,
    "cd, the first release": _first_release,
    "rollback": _rollback,
    "rollback of a rollout midway": _rollback_midway,
    "reconcile": _reconcile,
}


@dataclass(frozen=True)
class Death:
    """The world and the run as a process left them that died at one change."""

    scenario: str
    number: int
    name: str
    is_done: bool
    theatre: Theatre
    run: PlainRun

    def __str__(self) -> str:
        return f"{self.scenario}: killed {'after' if self.is_done else 'before'} change {self.number}, {self.name}"

    def taken_up(self) -> tuple[Theatre, PlainRun]:
        """A copy of both, for one course of things; the run is called crashed."""
        theatre, run = _copy(self.theatre, self.run)
        theatre._tell(run, "crashed")
        return theatre, run


def deaths(engine: PlainEngine, scenario: str) -> Iterator[Death]:
    """Let a scenario's run go once to its end, and keep the world before and after each of its changes, in order."""
    theatre = Theatre(engine)
    run = SCENARIOS[scenario](theatre)
    theatre.had_users = bool(theatre.live)
    found: list[Death] = []

    def keep(name: str, *, is_done: bool) -> None:
        if is_done:
            theatre.look(name)
        found.append(Death(scenario, len(found) // 2, name, is_done, *_copy(theatre, run)))

    valve = Valve(before=lambda name: keep(name, is_done=False), after=lambda name: keep(name, is_done=True))
    ended = theatre.drive(run, valve)
    assert not isinstance(ended.value, Exception), ended.value
    assert theatre.unserved == [], theatre.unserved
    yield from found


def _copy(theatre: Theatre, run: PlainRun) -> tuple[Theatre, PlainRun]:
    # neither the engine nor a flow has anything of one world, entries never change, and no lock is held between changes
    locks = [value for port in vars(theatre.world).values() for value in getattr(port, "__dict__", {}).values()]
    shared = {id(one): one for one in (theatre.engine, run.flow, *theatre.world.ledger.entries(limit=100_000))}
    shared |= {id(one): one for one in locks if isinstance(one, LOCK)}
    return deepcopy((theatre, run), shared)  # pyright: ignore[reportArgumentType]


def planned_names(scenario: str) -> list[str]:
    """Name the changes of a scenario's run, in order; for those who have no engine installed."""
    names: list[str] = []
    with PlainEngine(MemoryClock()).installed() as engine:
        theatre = Theatre(engine)
        theatre.drive(SCENARIOS[scenario](theatre), Valve(before=names.append))
    use_world(None)
    return names


def end_of(death: Death) -> tuple[str, str, list[str]]:
    """Reconcile, look, and reconcile once more, which finds nothing to do.

    Returns: which release production is on then, how the run was closed, and what does not hold.
    """
    theatre, run = death.taken_up()
    found = _settled(theatre, run, theatre.reconcile(1))
    release = {theatre.stage.digest(letter): letter for letter in "ab"}.get(theatre.live, "nothing")
    kinds = (*CLOSING_KINDS, *RUN_CLOSING)
    closing = theatre.world.ledger.entries(kinds=kinds, run=run.id, limit=100_000)
    return release, closing[-1].kind if closing else "nothing was begun", found


def _settled(theatre: Theatre, run: PlainRun, ended: Ended) -> list[str]:
    found = [] if ended.state == "completed" else [f"reconcile {ended.state}: {ended.value!r}"]
    found += theatre.complaints(run)
    again = theatre.reconcile(2).value
    left = {name: again[name] for name in ("gates", "rollouts", "runs") if again[name]}
    return found + ([f"reconcile finds something again: {left}"] if left else [])


def retried_at_once(death: Death) -> list[str]:
    """Start the run again from its top, as Retry in Prefect's UI does, before anything was reconciled."""
    theatre, run = death.taken_up()
    run.count = 2
    theatre.drive(run)
    theatre.reconcile(1)
    return theatre.complaints(run)


def retried_too_late(death: Death) -> list[str]:
    """Reconcile, and then Retry: what was settled must not be gone on with from the middle."""
    theatre, run = death.taken_up()
    theatre.reconcile(1)
    run.count = 2
    was_open = any(entry.event.environment == "production" for entry in theatre.rollouts_begun(run))
    before = theatre.count_changes()
    theatre.drive(run)
    theatre.reconcile(2)
    is_same = theatre.count_changes() == before
    return theatre.complaints(run) + ([] if is_same or not was_open else ["it changed production again"])
