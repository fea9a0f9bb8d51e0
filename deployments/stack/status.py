"""What runs, since when, where its log is, and whether it answers. Only looks; changes nothing."""

import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import Any

from blocks.installation import Installation
from blocks.processes import started_at
from blocks.supervisor import Process, Supervisor
from blocks.wal_settings import ARCHIVE_SOCKET
from deployments.stack.probes import WORKERS, answers_http, worker_polls
from domain.errors import ConfigError

ORPHANED = "ORPHANED"


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part. `state` is supervisor's word, `ORPHANED` (runs, but supervisor is dead) or `DOWN`."""

    part: str
    state: str
    since: datetime | None
    pid: int | None
    log: Path | None
    url: str
    answers: bool | None

    @property
    def is_well(self) -> bool:
        return self.state == "RUNNING" and self.answers is not False

    def as_json(self) -> dict[str, Any]:
        value = asdict(self)
        value["since"] = self.since.isoformat() if self.since else None
        value["log"] = str(self.log) if self.log else None
        return value


def read_status(installation: Installation) -> list[PartStatus]:
    """Read the state of supervisor and of every part that should run, in the order in which they start.

    Raises: ConfigError where the installation is another user's.
    """
    if not os.access(installation.state / "credentials.json", os.R_OK):
        owner = (installation.state / "installation.json").stat().st_uid
        raise ConfigError(
            f"{installation.state} belongs to uid {owner}, and this is uid {os.geteuid()}. Run as its owner."
        )
    supervisor = Supervisor.of(installation)
    if not supervisor.is_up():
        return _without_supervisor(installation, supervisor)
    pid = supervisor.pid()
    own = PartStatus("supervisor", "RUNNING", started_at(pid), pid, supervisor.log, "", True)
    processes = supervisor.processes()
    missing = [_down(group, installation) for group in supervisor.desired_groups() if group not in _groups(processes)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        parts = list(pool.map(_read_part, processes, repeat(installation)))
    return [own, *sorted([*parts, *missing], key=_place)]


def _without_supervisor(installation: Installation, supervisor: Supervisor) -> list[PartStatus]:
    alive = {group: pids[0] for group, pids in supervisor.living().items()}
    own = PartStatus("supervisor", "DOWN", None, None, supervisor.log, "", False)
    return [
        own,
        *sorted((_down(group, installation, alive.get(group)) for group in supervisor.desired_groups()), key=_place),
    ]


def _down(group: str, installation: Installation, pid: int | None = None) -> PartStatus:
    log = installation.state / "logs" / f"{group}.log"
    state = ORPHANED if pid else "DOWN"
    return PartStatus(group, state, None, pid, log if log.exists() else None, _url(group, installation), None)


def _read_part(process: Process, installation: Installation) -> PartStatus:
    is_named_so = process.group == process.name or process.group.endswith(f"-{process.name}")
    name = process.group if is_named_so else f"{process.group}:{process.name}"
    probe = _probe(process, installation)
    return PartStatus(
        part=name,
        state=process.state,
        since=process.since,
        pid=process.pid,
        log=process.log,
        url=_url(process.group, installation),
        answers=probe() if probe and process.is_running else None,
    )


def _probe(process: Process, installation: Installation) -> Callable[[], bool] | None:
    group, ports = process.group, installation.ports
    if group in WORKERS and process.since is not None:
        pool, since = WORKERS[group], process.since
        return lambda: worker_polls(installation, pool, since=since)
    if group == "prefect":
        return lambda: answers_http(f"{installation.prefect_api_url}/health")
    if group.startswith("traefik-"):
        return lambda: answers_http(f"http://127.0.0.1:{ports['metrics-' + group.removeprefix('traefik-')]}/ping")
    if group == "door":
        return lambda: answers_http(f"http://127.0.0.1:{ports['door']}/healthz")
    if group in ("postgres", "s3"):
        return lambda: _accepts(ports[group])
    if group == "archiver":
        return lambda: (installation.sockets / "postgres" / ARCHIVE_SOCKET).is_socket()
    return None


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


def _url(group: str, installation: Installation) -> str:
    ports = installation.ports
    if group == "prefect":
        return installation.prefect_ui_url
    if group.startswith("traefik-"):
        return f"http://127.0.0.1:{ports['entry-' + group.removeprefix('traefik-')]}"
    if group in ("s3", "door"):
        return f"http://127.0.0.1:{ports[group]}"
    return f"127.0.0.1:{ports[group]}" if group == "postgres" else ""


def _groups(processes: list[Process]) -> set[str]:
    return {process.group for process in processes}


def _place(part: PartStatus) -> tuple[int, str]:
    order = ("postgres", "s3", "archiver", "prefect", *WORKERS, "door", "keeper")
    if part.part in order:
        return order.index(part.part), ""
    return (len(order) if part.part.startswith("traefik-") else len(order) + 1), part.part
