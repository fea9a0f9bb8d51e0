"""Which instances of which release should run here, and on which ports.

One file for each group of instances in `STATE/instances/`: it is written before they start and removed after they
ended, so that a port is never given twice and a restart keeps it. Holds no secret.
"""

import fcntl
import json
import socket
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from blocks.installation import write_private
from domain.errors import TransientError
from domain.service import service_name

PORTS = 400
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class InstanceGroup:
    """The instances of one release on one site, by index; `release` is the whole digest."""

    place: str
    application: str
    release: str
    ports: tuple[int, ...]
    stop_limit_s: int

    @property
    def name(self) -> str:
        """Its name under supervisor: `<environment>-<site>-<application>-<release, 12 digits>`."""
        return group_name(self.place, self.application, self.release)


def group_name(place: str, application: str, release: str) -> str:
    """Name the group of a release's instances; `place` is `<environment>-<site>`."""
    return f"{place}-{service_name(application, release)}"


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

    def claim(self, wanted: InstanceGroup, *, count: int, alive: Collection[int]) -> InstanceGroup:
        """Write down a group with `count` ports of its own.

        Ports that it has stay, unless its instance does not live and somebody else took the port; `alive` are the
        indexes that live. New ports are taken in turn, so that one just given back rests for a while.

        Raises: TransientError where no port is left.
        """
        with self.locked():
            groups = {group.name: group for group in self.groups()}
            had = groups.pop(wanted.name).ports if wanted.name in groups else ()
            kept = {index: port for index, port in enumerate(had[:count]) if index in alive or not _is_taken(port)}
            taken = {port for group in groups.values() for port in group.ports} | set(had)
            fresh = self._free_ports(count - len(kept), taken)
            ports = tuple(kept[index] if index in kept else fresh.pop(0) for index in range(count))
            group = InstanceGroup(wanted.place, wanted.application, wanted.release, ports, wanted.stop_limit_s)
            write_private(self.folder / f"{group.name}.json", json.dumps(asdict(group)), mode=0o644)
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
        return InstanceGroup(ports=ports, **value)


def _is_taken(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False
