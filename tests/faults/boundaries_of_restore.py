"""Restores as plans: what `restore` changes, in order, and what must hold when it dies at any of these changes."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from boundaries import LOCK, Theatre
from plain_engine import Ended, PlainEngine, PlainRun
from stage import APPLICATION
from watched_world import Valve, WatchedWorld

from blocks.world import use_world
from domain.backup import BackupKind
from domain.ledger import Entry
from domain.restore import CLOSING, OPENING, key_of, open_restores
from flows.restore import restore

NAME = f"{APPLICATION}_production"


class Rescuer:
    """A theatre in which release `a` is live, two rows are backed up, and somebody has damaged the database since."""

    def __init__(self, engine: PlainEngine) -> None:
        self.theatre = Theatre(engine)
        ended = self.theatre.drive(self.theatre.deliver("a"))
        assert ended.state == "completed", ended.value
        world = self.theatre.world
        self.databases = world.restorations
        for text in ("first", "second"):
            self.write(text)
        world.backups.backup(BackupKind.FULL, label="one", limit_s=1, extra=lambda: world.fingerprints.take("one"))
        self.good = self.write("third")
        self.databases.databases[NAME].rows.remove("second")
        self.write("fourth")
        self.nameless: list[str] = []
        self.number = 0

    def write(self, text: str) -> str:
        return self.databases.write(APPLICATION, "production", text)

    def new_run(self, **options: Any) -> PlainRun:
        self.number += 1
        parameters = {"application": APPLICATION, "environment": "production", "reason": "a row is gone"}
        parameters |= {"to": self.good, "dry_run": False, **options}
        return PlainRun(f"{self.number}restore", restore, parameters)

    def drive(self, run: PlainRun, valve: Valve | None = None, *, decision: str = "approve", limit: int = 20) -> Ended:
        self.theatre.engine.clock = self.theatre.world.clock
        valve = valve or Valve(after=self.look)
        use_world(lambda: WatchedWorld(self.theatre.world, valve))  # pyright: ignore[reportArgumentType]
        for _ in range(limit):
            self.theatre._tell(run, "running")
            ended = self.theatre.engine.process(run)
            self.theatre._tell(run, ended.state)
            if ended.state != "paused":
                return ended
            run.answers[ended.key] = {"decision": decision, "approver": "ann", "code": self.theatre.code, "comment": ""}
        raise AssertionError("it asks for ever")

    def look(self, name: str) -> None:
        """After a change: is there a database of the live name?"""
        if NAME not in self.databases.databases:
            self.nameless.append(name)

    @property
    def rows(self) -> list[str]:
        return self.databases.databases[NAME].rows

    def entries(self, *kinds: str, run: str = "") -> list[Entry]:
        return self.theatre.world.ledger.entries(kinds=kinds, run=run, limit=100_000)

    def kept(self, run: PlainRun) -> list[str] | None:
        found = self.databases.databases.get(f"{NAME}_before_{key_of(run.id)}")
        return found.rows if found else None

    def complaints(self) -> list[str]:
        """What does not hold; empty when everything does."""
        world = self.theatre.world
        found = [f"no database after '{name}'" for name in self.nameless]
        found += [f"{name} was left beside" for name in self.databases.databases if "_restored_" in name]
        found += [f"files of {key} were left" for key in self.databases.extracts]
        found += [f"server {name} was left" for name in world.scratch.leftovers()]
        found += [f"{one.run} is open" for one in open_restores(self.entries(OPENING, *CLOSING))]
        found += [f"lease {lease.name} is held" for lease in world.leases.held()]
        return found


def deaths(engine: PlainEngine, **options: Any) -> Iterator[tuple[str, bool, Rescuer, PlainRun]]:
    """Let a restore go once to its end; the world before and after each of its changes, in order."""
    rescuer = Rescuer(engine)
    run = rescuer.new_run(**options)
    found: list[tuple[str, bool, Rescuer, PlainRun]] = []

    def keep(name: str, *, is_done: bool) -> None:
        if is_done:
            rescuer.look(name)
        found.append((name, is_done, *_copy(rescuer, run)))

    valve = Valve(before=lambda name: keep(name, is_done=False), after=lambda name: keep(name, is_done=True))
    ended = rescuer.drive(run, valve)
    assert ended.state == "completed", ended.value
    yield from found


def _copy(rescuer: Rescuer, run: PlainRun) -> tuple[Rescuer, PlainRun]:
    world = rescuer.theatre.world
    locks = [value for port in vars(world).values() for value in getattr(port, "__dict__", {}).values()]
    shared = {id(one): one for one in (rescuer.theatre.engine, run.flow, *world.ledger.entries(limit=100_000))}
    shared |= {id(one): one for one in locks if isinstance(one, LOCK)}
    return deepcopy((rescuer, run), shared)  # pyright: ignore[reportArgumentType]
