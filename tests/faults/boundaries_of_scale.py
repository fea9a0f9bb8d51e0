"""Changes of size as plans: what `scale` changes, in order, and what must hold when it dies at any of these changes."""

import itertools
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

from boundaries import LOCK, Theatre
from plain_engine import Ended, PlainEngine, PlainRun
from stage import APPLICATION, approve
from watched_world import Valve, WatchedWorld

from blocks.memory_target import MemoryTarget
from blocks.world import use_world
from domain.ledger import Entry
from domain.service import Instance, Limits, Resized, ServiceSpec
from domain.size import CLOSING, OPENING, SIZE_KINDS, Size, open_scales, settled_size
from flows.scale import scale
from tasks.rollout import record_rollout

SITES = ("alpha", "beta")


class FallibleTarget(MemoryTarget):
    """A target that can forget to put a limit in force, without saying so."""

    drops = ""

    def resize(self, spec: ServiceSpec) -> Resized:
        dropped = replace(spec, limits=Limits()) if self.drops else spec
        return super().resize(dropped)


class Scaler:
    """A theatre in which release `a` is live and somebody changes its size."""

    flow = scale

    def __init__(self, engine: PlainEngine, *, file: str = "") -> None:
        self.theatre = Theatre(engine)
        for number, place in enumerate(self.theatre.world.sites.values(), start=1):
            place.target = FallibleTarget(ports=itertools.count(1000 * number))
        options: dict[str, str] = {"file": file} if file else {}
        ended = self.theatre.drive(self.theatre.deliver("a", **options))
        assert ended.state == "completed", ended.value
        self.theatre.had_users = True
        self.answers_at_most = 20
        self.number = 0
        self.run = PlainRun("none", scale, {})

    # what is done --------------------------------------------------------------------------------------------------

    def new_run(self, *, reason: str = "more users", **change: Any) -> PlainRun:
        self.number += 1
        parameters = {"application": APPLICATION, "environment": "production", "reason": reason, **change}
        self.run = PlainRun(f"scale-{self.number}", scale, parameters)
        return self.run

    def scale(self, *, decision: str = "approve", **change: Any) -> Ended:
        return self.drive(self.new_run(**change), decision=decision)

    def process(self, run: PlainRun, valve: Valve | None = None) -> Ended:
        valve = valve or Valve(after=self.theatre.look)
        use_world(lambda: WatchedWorld(self.theatre.world, valve))  # pyright: ignore[reportArgumentType]
        self.theatre._tell(run, "running")
        ended = self.theatre.engine.process(run)
        self.theatre._tell(run, ended.state)
        return ended

    def drive(self, run: PlainRun, valve: Valve | None = None, *, decision: str = "approve") -> Ended:
        self.theatre.engine.clock = self.theatre.world.clock
        for _ in range(self.answers_at_most + 1):
            ended = self.process(run, valve)
            if ended.state != "paused" or len(run.answers) >= self.answers_at_most:
                return ended
            run.answers[ended.key] = {"decision": decision, "approver": "ann", "code": self.theatre.code, "comment": ""}
        return ended

    def deliver(self, letter: str) -> None:
        ended = self.theatre.drive(self.theatre.deliver(letter))
        assert ended.state == "completed", ended.value

    def begin_rollout(self) -> None:
        release = self.theatre.stage.pin("b")
        approve(release, run="run-b")
        record_rollout.fn("run-b", APPLICATION, "production", release, "rollout.begun", {"previous": self.theatre.live})

    # what is there -------------------------------------------------------------------------------------------------

    def target(self, site: str) -> Any:
        return self.theatre.world.sites["production", site].target

    def live_instances(self, site: str) -> list[Instance]:
        return [one for one in self.target(site).instances(APPLICATION) if one.release == self.theatre.live]

    def serving(self, site: str) -> set[str]:
        arms = self.theatre.world.sites["production", site].balancer.routes(APPLICATION)
        return {url for arm in arms if arm.weight_percent for url in arm.addresses}

    def addresses(self) -> dict[str, set[str]]:
        return {site: self.serving(site) for site in SITES}

    def entries(self, *kinds: str, run: str = "") -> list[Entry]:
        return self.theatre.world.ledger.entries(kinds=kinds, run=run, limit=100_000)

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.entries(run=self.run.id)]

    @property
    def size(self) -> Size:
        return settled_size(self.entries(*SIZE_KINDS))

    def complaints(self) -> list[str]:
        """What does not hold; empty when everything does."""
        found = [f"nobody was served after '{name}'" for name in self.theatre.unserved]
        wanted = self.size.instances or 2
        for site in SITES:
            instances = {one.url for one in self.live_instances(site)}
            if instances != self.serving(site) or len(instances) != wanted:
                found.append(f"{site}: {len(instances)} run, {len(self.serving(site))} serve, the ledger says {wanted}")
            if {one.limits for one in self.live_instances(site)} != {self.size.limits}:
                found.append(f"{site}: other limits than the ledger says")
        found += [f"{one.run} is open" for one in open_scales(self.entries(OPENING, *CLOSING))]
        found += [f"lease {lease.name} is held" for lease in self.theatre.world.leases.held()]
        return found


def deaths(engine: PlainEngine, **change: Any) -> Iterator[tuple[str, bool, Scaler]]:
    """Let a change of size go once to its end; the world before and after each of its changes, in order."""
    scaler = Scaler(engine)
    run = scaler.new_run(**change)
    found: list[tuple[str, bool, Scaler]] = []

    def keep(name: str, *, is_done: bool) -> None:
        if is_done:
            scaler.theatre.look(name)
        found.append((name, is_done, _copy(scaler)))

    valve = Valve(before=lambda name: keep(name, is_done=False), after=lambda name: keep(name, is_done=True))
    ended = scaler.drive(run, valve)
    assert ended.state == "completed", ended.value
    yield from found


def _copy(scaler: Scaler) -> Scaler:
    world = scaler.theatre.world
    locks = [value for port in vars(world).values() for value in getattr(port, "__dict__", {}).values()]
    shared = {id(one): one for one in (scaler.theatre.engine, scale, *world.ledger.entries(limit=100_000))}
    shared |= {id(one): one for one in locks if isinstance(one, LOCK)}
    return deepcopy(scaler, shared)  # pyright: ignore[reportArgumentType]
