"""Which instances of which release should run here, and on which ports.

One file for each group of instances in `STATE/instances/`: it is written before they start and removed after they
ended, so that a port is never given twice and a restart keeps it. Holds no secret.
"""

import fcntl
import json
import socket
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from blocks.installation import write_private
from domain.errors import TransientError
from domain.service import service_name

PORTS = 400
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class InstanceGroup:
    """The instances of one release on one site; `release` is the whole digest.

    `indexes` are those of `ports`, one each; empty means 0, 1, 2, …
    """

    place: str
    application: str
    release: str
    ports: tuple[int, ...]
    stop_limit_s: int
    indexes: tuple[int, ...] = ()

    @property
    def places(self) -> dict[int, int]:
        """The port of each index, by rising index."""
        return dict(sorted(zip(self.indexes or range(len(self.ports)), self.ports, strict=True)))

    @property
    def units(self) -> tuple[str, ...]:
        """The groups under supervisor, one for each instance: each comes and goes without the others."""
        return tuple(unit_name(self.name, index) for index in self.places)

    @property
    def name(self) -> str:
        """Its name: `<environment>-<site>-<application>-<release, 12 digits>`."""
        return group_name(self.place, self.application, self.release)


def group_name(place: str, application: str, release: str) -> str:
    """Name the group of a release's instances; `place` is `<environment>-<site>`."""
    return f"{place}-{service_name(application, release)}"


def unit_name(group: str, index: int) -> str:
    """Name an instance's own group under supervisor."""
    return f"{group}-{index}"


@dataclass(frozen=True, slots=True)
class InstanceRegister:
    """The files, and the range of ports that they share."""

    folder: Path
    port_first: int

    @contextmanager
    def locked(self, name: str = "") -> Generator[None]:
        """Hold the register, or one group of it; a dead process lets go by itself."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{name}.lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    def groups(self) -> list[InstanceGroup]:
        """List every group of every site."""
        return [self._read(path) for path in sorted(self.folder.glob("*.json"))]

    def find(self, name: str) -> InstanceGroup | None:
        """Read one group."""
        return next((group for group in self.groups() if group.name == name), None)

    def claim(self, wanted: InstanceGroup, *, indexes: Sequence[int], alive: Collection[int]) -> InstanceGroup:
        """Write down a group whose instances have these indexes, with a port of its own for each.

        Ports that it has stay, unless its instance does not live and somebody else took the port; `alive` are the
        indexes that live. New ports are taken in turn, so that one just given back rests for a while.

        Raises: TransientError where no port is left.
        """
        with self.locked():
            groups = {group.name: group for group in self.groups()}
            had = groups.pop(wanted.name).places if wanted.name in groups else dict[int, int]()
            kept = {
                index: had[index] for index in indexes if index in had and (index in alive or not _is_taken(had[index]))
            }
            taken = {port for group in groups.values() for port in group.ports} | set(had.values())
            fresh = self._free_ports(len(indexes) - len(kept), taken)
            places = {index: kept[index] if index in kept else fresh.pop(0) for index in sorted(indexes)}
            return self._write(wanted, places)

    def drop(self, name: str, indexes: Collection[int]) -> None:
        """Give back the ports of some instances; with the last of them the group is forgotten."""
        with self.locked():
            group = self.find(name)
            left = {index: port for index, port in group.places.items() if index not in indexes} if group else {}
            if group and left:
                self._write(group, left)
        if group and not left:
            self.release(name)

    def _write(self, like: InstanceGroup, places: Mapping[int, int]) -> InstanceGroup:
        is_plain = list(places) == list(range(len(places)))
        group = replace(like, ports=tuple(places.values()), indexes=() if is_plain else tuple(places))
        value = asdict(group)
        if is_plain:  # then an earlier version reads it, too
            del value["indexes"]
        write_private(self.folder / f"{group.name}.json", json.dumps(value), mode=0o644)
        return group

    def release(self, name: str) -> None:
        """Forget a group; its ports are free."""
        with self.locked():
            (self.folder / f"{name}.json").unlink(missing_ok=True)

    def _free_ports(self, count: int, taken: Collection[int]) -> list[int]:
        found: list[int] = []
        for port in self._in_turn():
            if len(found) == count:
                break
            if port not in taken and not _is_taken(port):
                found.append(port)
        if len(found) < count:
            last = self.port_first + PORTS - 1
            raise TransientError(
                f"No port left for instances: all of {self.port_first}..{last} are taken. Stop releases that are not "
                "needed (`slipway status` lists them)."
            )
        if found:
            write_private(self.folder / ".last", str(found[-1]))
        return found

    def _in_turn(self) -> Sequence[int]:
        try:
            last = int((self.folder / ".last").read_text())
        except (FileNotFoundError, ValueError):
            last = self.port_first - 1
        ports = range(self.port_first, self.port_first + PORTS)
        return [port for port in ports if port > last] + [port for port in ports if port <= last]

    def _read(self, path: Path) -> InstanceGroup:
        value = cast(dict[str, Any], json.loads(path.read_text()))
        ports = tuple(int(port) for port in value.pop("ports"))
        indexes = tuple(int(index) for index in value.pop("indexes", ()))
        return InstanceGroup(ports=ports, indexes=indexes, **value)


def _is_taken(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False
