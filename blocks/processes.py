"""Which processes of this machine belong to one stack, and how to end exactly these.

A process belongs to it when its environment carries the mark that supervisor gave it (children can't lose it by
outliving their parent), or when it works in the stack's folders without a terminal: builds, throw-away servers. Every
signal goes through a handle that compares pid *and* start time, so that a pid used anew is never hit.
"""

import os
import signal
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from blocks.launch import GUARDIAN_VARIABLE
from blocks.supervisor import STACK_VARIABLE

_FLOW_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
_WORK_FOLDERS = ("postgres", "s3", "releases", "work")


@dataclass(frozen=True, slots=True)
class Member:
    """One process of the stack. `part` is its group under supervisor, empty for what is not under it; a guardian
    stands under supervisor for a process that an earlier supervisor started (`launch.py`)."""

    process: psutil.Process
    part: str
    is_flow_run: bool
    is_guardian: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid

    def describe(self) -> str:
        """Name it for a person: pid, part and the program, without its arguments."""
        try:
            name = self.process.name()
        except psutil.Error:
            name = "gone"
        return f"pid {self.pid} ({self.part or name})"


def stack_members(state: Path) -> list[Member]:
    """List the living processes of the stack whose state is `state`, except ourselves and our ancestors."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        member for process in psutil.process_iter() if process.pid not in spared and (member := _read(process, state))
    ]


def end_all(members: Iterable[Member], *, grace_s: float) -> list[Member]:
    """Ask processes to end, and kill those that are still there after `grace_s`; returns those that remain.

    Effect: signals exactly these processes. May be repeated.
    """
    members = list(members)
    for member in members:
        _signal(member, _end_signal(member))
    alive = _wait(members, grace_s)
    for member in alive:
        _signal(member, signal.SIGKILL)
    return _wait(alive, 5)


def _end_signal(member: Member) -> signal.Signals:
    if member.is_guardian:
        return signal.SIGKILL  # any other signal it would pass on
    # to PostgreSQL SIGTERM means "when the last client has gone"
    return signal.SIGINT if member.part == "postgres" else signal.SIGTERM


def spare_families(members: Iterable[Member], pids: Collection[int]) -> list[Member]:
    """Leave out the processes named and all that descend from them."""
    return [member for member in members if not _line(member.process) & set(pids)]


def _line(process: psutil.Process) -> set[int]:
    try:
        return {process.pid, *(parent.pid for parent in process.parents())}
    except psutil.Error:
        return {process.pid}  # gone meanwhile


def wait_gone(pid: int, *, limit_s: float) -> bool:
    """Wait until a process has ended; False when it has not at the limit."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return True
    return not _wait([Member(process=process, part="", is_flow_run=False)], limit_s)


def started_at(pid: int) -> datetime | None:
    """Since when a process runs; None where there is none."""
    try:
        return datetime.fromtimestamp(psutil.Process(pid).create_time(), UTC)
    except psutil.Error:
        return None


def cpu_seconds_of(pid: int) -> float:
    """How much of a processor a process and all below it have used; 0 where it is gone."""
    total_s = 0.0
    with suppress(psutil.Error):
        for process in (parent := psutil.Process(pid), *parent.children(recursive=True)):
            with suppress(psutil.Error):  # one of them is gone meanwhile
                times = process.cpu_times()
                total_s += times.user + times.system
    return total_s


def listener_on(port: int) -> psutil.Process | None:
    """Find who listens on a TCP port of this machine, as far as we may know."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        address = connection.laddr
        if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
            return psutil.Process(connection.pid)
    return None


def is_this_server(pid: int, started_at: float, *, name: str) -> bool:
    """Whether `pid` still is the process of that name that started at `started_at` (seconds since 1970)."""
    try:
        process = psutil.Process(pid)
        return process.name() == name and abs(process.create_time() - started_at) < 10
    except psutil.Error:
        return False


def _read(process: psutil.Process, state: Path) -> Member | None:
    try:
        environment = process.environ()
        if environment.get(STACK_VARIABLE) == str(state):
            part = environment.get("SUPERVISOR_GROUP_NAME", "")
            return Member(process, part, _FLOW_RUN_VARIABLE in environment, GUARDIAN_VARIABLE in environment)
        if _works_in(process, state) and process.terminal() is None:
            return Member(process=process, part="", is_flow_run=False)
    except psutil.Error:
        return None  # gone meanwhile, or somebody else's
    return None


def _works_in(process: psutil.Process, state: Path) -> bool:
    folder = Path(process.cwd())
    return any(folder.is_relative_to(state / name) for name in _WORK_FOLDERS)


def _signal(member: Member, number: signal.Signals) -> None:
    with suppress(psutil.Error):  # gone meanwhile
        member.process.send_signal(number)


def _wait(members: Sequence[Member], limit_s: float) -> list[Member]:
    deadline = time.monotonic() + limit_s
    while alive := [member for member in members if _is_alive(member.process)]:
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.05)
    return []


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
