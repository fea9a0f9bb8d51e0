"""A world in memory where every call that changes something is a boundary: a process can be killed before or after it.

The calls are those that the flows really make, in their order; nobody lists them. What only reads is no boundary: a
death there leaves the same world as a death before the next change.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from plain_engine import Killed

from blocks.memory_world import MemoryWorld

_BY_PLACE = ("target", "balancer", "metrics")
_READS = {
    *("entries", "held", "get", "find", "list", "webhook_secret", "commits", "commit_time", "head", "read_file"),
    *("verify", "instances", "log_tail", "now", "sleep", "routes", "entry", "read", "url", "probe", "crashed", "late"),
    *("looks", "cpu_seconds", "compare", "recall", "position", "address", "left_over", "leftovers"),
    *("unfinished", "exists", "is_available", "progress", "waiting", "marks", "guarded", "unsettled", "is_ancestor"),
    *("forge_access", "has_forge_access"),
}


@dataclass
class Valve:
    """Sees every change, and may let the process die before one.

    Attributes:
        dies_before: whether the process dies before a change of this name.
        before, after: called with the name of each change, before and after it happened.
    """

    dies_before: Callable[[str], bool] = lambda name: False
    before: Callable[[str], None] = lambda name: None
    after: Callable[[str], None] = lambda name: None
    is_dead: bool = False

    def change(self, name: str, call: Callable[[], Any]) -> Any:
        self.alive()
        if self.dies_before(name):
            self.is_dead = True
            raise Killed
        self.before(name)
        value = call()
        self.after(name)
        return value

    def alive(self) -> None:
        """A dead process does nothing any more, not even in a `finally`."""
        if self.is_dead:
            raise Killed


class WatchedWorld:
    """Fulfils `blocks.world.World`; everything goes through the valve."""

    def __init__(self, world: MemoryWorld, valve: Valve) -> None:
        self._world = world
        self._valve = valve

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._world, name)
        if name in _BY_PLACE:
            return lambda environment, site: _Watched(value(environment, site), name, f"{environment}/{site}", self)
        if name in ("language", "sites", "forge", "environment", "environments"):
            return value
        if inspect.ismethod(value):
            return lambda *args, **options: self._valve.change(f"world.{name}", lambda: value(*args, **options))
        return _Watched(value, name, "", self)

    @property
    def valve(self) -> Valve:
        return self._valve


class _Watched:
    def __init__(self, port: Any, role: str, place: str, world: WatchedWorld) -> None:
        self._port, self._role, self._place, self._watched = port, role, place, world

    def __getattr__(self, name: str) -> Any:
        value, valve = getattr(self._port, name), self._watched.valve
        if not callable(value):
            return value

        def call(*args: Any, **options: Any) -> Any:
            if name in _READS:
                valve.alive()
                return value(*args, **options)
            return valve.change(self._describe(name, args), lambda: value(*args, **options))

        return call

    def _describe(self, name: str, args: tuple[Any, ...]) -> str:
        if self._role == "ledger":
            event = args[0]
            place = "/".join(part for part in (event.environment, event.site) if part)
            return f"entry {event.kind} {place}".strip()
        return f"{self._role}.{name} {self._place}".strip()
