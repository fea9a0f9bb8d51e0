"""The process manager, as groups of programs that can be added and taken away while it runs.

A typed wrapper of supervisor's XML-RPC over its UNIX socket. The embedded stack keeps its parts in it, `LocalTarget`
the released instances. The files in the include folder say what should run and survive a restart of supervisor; the
calls make it so now. Started, adopted and ended by `deployments/stack/`.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from blocks import launch
from blocks.identity import as_user, clean_environment, is_root
from blocks.installation import Installation, write_private
from domain.errors import ConfigError, TransientError

STACK_VARIABLE = "SLIPWAY_STACK"
"""Marks every process under our supervisor with the state folder it belongs to; a child can't lose it by dying late."""

_CALL_LIMIT_S = 15
_POLL_S = 0.1
_BAD_NAME, _ALREADY_STARTED, _NOT_RUNNING, _ALREADY_ADDED, _STILL_RUNNING = 10, 60, 70, 90, 91
_IDLE = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")


@dataclass(frozen=True, slots=True)
class Program:
    """One program of a group: always restarted, its output appended to one log (`log_rotation.py` bounds it).

    `environment` is the whole environment of the process: never log it. `start_attempts` in a row that end within
    `start_s` make it `FATAL`; the default goes on for ever, a second more between attempts each time. `holds` are its
    limits, as `launch.py` puts them on (`resource_limits.py` makes them).
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    user: str | None = None
    priority: int = 500
    start_s: int = 1
    start_attempts: int = 1_000_000
    stop_signal: str = "TERM"
    stop_limit_s: int = 10
    stop_children: bool = False
    log_size_bytes_max: int = 10_000_000
    log_backups: int = 3
    holds: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Process:
    """What supervisor says of one program. `state` is supervisor's word: RUNNING, STARTING, BACKOFF, FATAL, STOPPED…"""

    group: str
    name: str
    state: str
    pid: int | None
    since: datetime | None
    log: Path | None
    description: str

    @property
    def is_running(self) -> bool:
        return self.state == "RUNNING"


@dataclass(frozen=True, slots=True)
class Supervisor:
    """One supervisor: its socket, the folder of its groups, the folder of its launch files, who runs the launcher."""

    socket: Path
    folder: Path
    python: Path

    @classmethod
    def of(cls, installation: Installation) -> "Supervisor":
        """The supervisor of an installation."""
        return cls(
            socket=installation.sockets / "supervisor.sock",
            folder=installation.state / "supervisor",
            python=installation.python,
        )

    def boot(self, *, limit_s: float = 20) -> None:
        """Start supervisor itself, with the groups that have files, all of them stopped; running already is no error.

        Its environment is next to empty, since every child would inherit it, but for the mark of this stack.
        Raises: TransientError with its last words where it does not answer in time.
        """
        if self.is_up():
            return
        self.include.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "supervisord.conf"
        write_private(configuration, self._render_own())
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
        environment = clean_environment({STACK_VARIABLE: str(self.folder.parent)})
        # Our own streams stay ours: whoever reads a pipe of `slipway up` must see its end.
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )
        deadline = time.monotonic() + limit_s
        while not self.is_up():
            if done.returncode != 0 or time.monotonic() > deadline:
                words = (done.stderr or done.stdout).strip()[-256:] or tail_file(self.log, lines=3)
                raise TransientError(f"supervisor did not start: {words} See {self.log}.")
            time.sleep(_POLL_S)

    @property
    def log(self) -> Path:
        return self.folder / "supervisord.log"

    @property
    def pid_file(self) -> Path:
        return self.folder / "supervisord.pid"

    @property
    def include(self) -> Path:
        return self.folder / "groups"

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            return cast(dict[str, Any], self._call("getState"))["statecode"] == 1
        except TransientError:
            return False

    def pid(self) -> int:
        """Its own process id."""
        return int(cast(int, self._call("getPID")))

    def processes(self, group: str | None = None) -> list[Process]:
        """List every program of every group, or of one; an unknown group has none."""
        infos = cast(list[dict[str, Any]], self._call("getAllProcessInfo"))
        found = [_read_process(info, self.folder / "launch") for info in infos]
        return [process for process in found if group is None or process.group == group]

    def groups(self) -> list[str]:
        """Name the groups that are there, running or not."""
        return sorted({process.group for process in self.processes()})

    def desired_groups(self) -> list[str]:
        """Name the groups that have a file, whether supervisor runs or not."""
        return sorted(path.stem for path in self.include.glob("*.conf"))

    def write_group(self, group: str, programs: Sequence[Program]) -> bool:
        """Write down that a group should run, without starting it; True when that changed something.

        Raises: ConfigError where a name or a path can't be written in supervisor's file.
        """
        folder = self._prepare_folder(group)
        changed = _write_changed(self.include / f"{group}.conf", self._render(group, programs))
        for program in programs:
            changed |= _write_changed(folder / f"{program.name}.json", _launch_text(program))
        return changed

    def is_written(self, group: str, programs: Sequence[Program]) -> bool:
        """Whether a group is written down with exactly these programs; nothing is changed."""
        texts = {self.folder / "launch" / group / f"{one.name}.json": _launch_text(one) for one in programs}
        texts[self.include / f"{group}.conf"] = self._render(group, programs)
        return all(path.exists() and path.read_text() == text for path, text in texts.items())

    def living(self) -> dict[str, list[int]]:
        """Name the groups whose programs live, as they were written down when they started, and their pids.

        True whether supervisor runs or not: what a killed one left is found by pid and start time.
        """
        found: dict[str, list[int]] = {}
        for path in sorted((self.folder / "launch").glob("*/*.pid")):
            if pid := _living(path):
                found.setdefault(path.parent.name, []).append(pid)
        return found

    def add_group(self, group: str, programs: Sequence[Program]) -> bool:
        """Make a group run with exactly these programs; True when it was started or changed, False when all was so.

        Effect: may be repeated. A group that runs with other settings is stopped first and started anew.
        """
        changed = self.write_group(group, programs)
        active = group in self.groups()
        if active and changed:
            self._take_away(group, programs)
        if not active or changed:
            self._call("reloadConfig")
            self._call("addProcessGroup", group, tolerate=(_ALREADY_ADDED,))
        return self.start(group) or changed

    def remove_group(self, group: str, *, limit_s: float = 60) -> None:
        """Stop a group and forget it; there being none is no error.

        Raises: TransientError where something still runs at the limit.
        """
        (self.include / f"{group}.conf").unlink(missing_ok=True)
        self.stop(group, limit_s=limit_s)
        shutil.rmtree(self.folder / "launch" / group, ignore_errors=True)
        self._call("removeProcessGroup", group, tolerate=(_BAD_NAME,))

    def remove_groups(self, groups: Sequence[str], *, limit_s: float = 60) -> None:
        """Stop several groups at the same time and forget them. Raises: as `remove_group`."""
        for group in groups:
            self.ask_stop(group)
        for group in groups:
            self.remove_group(group, limit_s=limit_s)

    def start(self, group: str) -> bool:
        """Start what is stopped in a group; True when something was. Waits for nothing."""
        idle = [process for process in self.processes(group) if process.state in _IDLE]
        for process in idle:
            self._call("startProcess", f"{group}:{process.name}", False, tolerate=(_ALREADY_STARTED,))
        return bool(idle)

    def stop(self, group: str, *, limit_s: float = 60) -> None:
        """Stop a group and wait until all of it has ended; an unknown group is no error.

        Raises: TransientError where something still runs at the limit.
        """
        self.ask_stop(group)
        deadline = time.monotonic() + limit_s
        while busy := [process for process in self.processes(group) if process.state not in _IDLE]:
            if time.monotonic() > deadline:
                raise TransientError(f"{group}:{busy[0].name} (pid {busy[0].pid}) still runs after {limit_s:.0f} s.")
            time.sleep(_POLL_S)
        self._end_unguarded(group)

    def _end_unguarded(self, group: str) -> None:
        """End what an earlier supervisor left of a group, where its guardian did not stand yet, or was killed."""
        for path in sorted((self.folder / "launch" / group).glob("*.pid")):
            recorded = launch.read_record(str(path))
            held = launch.living(recorded)
            if recorded is not None and held is not None:
                launch.Guardian(recorded["pid"], held, json.loads(path.with_suffix(".json").read_text())).end()

    def ask_stop(self, group: str) -> None:
        """Ask a group to stop, without waiting; an unknown group is no error."""
        self._call("stopProcessGroup", group, False, tolerate=(_BAD_NAME, _NOT_RUNNING))

    def tail(self, group: str, name: str, *, lines: int = 40) -> str:
        """The last lines that a program wrote; empty when it wrote none.

        Read from the file: XML-RPC chokes on control characters.
        """
        logs = [process.log for process in self.processes(group) if process.name == name]
        if not logs or logs[0] is None:
            return ""
        # The file may have been rotated a moment ago.
        texts = [tail_file(path, lines=lines) for path in (logs[0].with_name(f"{logs[0].name}.1"), logs[0])]
        return "\n".join("\n".join(text for text in texts if text).splitlines()[-lines:])

    def shutdown(self) -> None:
        """Ask supervisor to end everything and itself; returns at once."""
        self._call("shutdown")

    def _take_away(self, group: str, programs: Sequence[Program]) -> None:
        limit_s = max(program.stop_limit_s for program in programs) + 10
        self.stop(group, limit_s=limit_s)
        self._call("removeProcessGroup", group, tolerate=(_BAD_NAME,))

    def _prepare_folder(self, group: str) -> Path:
        """Folders that other users may pass through but not list, and the launcher where they can read it."""
        folder = self.folder / "launch" / group
        for path in (self.folder, self.folder / "launch", folder):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o711)
        self.include.mkdir(exist_ok=True)
        self.include.chmod(0o700)
        _write_changed(self._launcher, Path(launch.__file__).read_text(), mode=0o644)
        return folder

    @property
    def _launcher(self) -> Path:
        return self.folder / "launch.py"

    def _render_own(self) -> str:
        user = "user=root\n" if is_root() else ""
        return (
            f"[unix_http_server]\nfile={_plain(self.socket)}\nchmod=0700\n\n"
            f"[supervisord]\n{user}identifier=slipway\nlogfile={_plain(self.log)}\nlogfile_maxbytes=5000000\n"
            f"logfile_backups=2\nloglevel=info\npidfile={_plain(self.pid_file)}\nchildlogdir={_plain(self.folder)}\n"
            f"umask=022\n\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\n"
            f"[include]\nfiles={_plain(self.include)}/*.conf\n"
        )

    def _render(self, group: str, programs: Sequence[Program]) -> str:
        names = ",".join(_plain(program.name) for program in programs)
        priority = min(program.priority for program in programs)
        head = f"[group:{_plain(group)}]\nprograms={','.join(f'{group}.{name}' for name in names.split(','))}\n"
        return head + f"priority={priority}\n" + "".join(self._render_program(group, one) for one in programs)

    def _render_program(self, group: str, program: Program) -> str:
        spec = self.folder / "launch" / group / f"{program.name}.json"
        options: dict[str, object] = {
            "command": f'"{_plain(self.python)}" -I -S "{_plain(self._launcher)}" "{_plain(spec)}"',
            "process_name": _plain(program.name),
            "directory": _plain(program.directory),
            "priority": program.priority,
            # Order matters at the start and only then: whoever starts supervisor starts the groups, one after another.
            "autostart": "false",
            "autorestart": "true",
            "startsecs": program.start_s,
            "startretries": program.start_attempts,
            "stopsignal": program.stop_signal,
            # A guardian (`launch.py`) ends its process at the limit; it must not be killed before it has.
            "stopwaitsecs": program.stop_limit_s + 1,
            "stopasgroup": str(program.stop_children).lower(),
            "killasgroup": "true",
            # Programs write to their logs themselves: a pipe to supervisor would break when it is killed.
            "stdout_logfile": "NONE",
            "stderr_logfile": "NONE",
        }
        lines = "".join(f"{key}={value}\n" for key, value in options.items())
        return f"\n[program:{group}.{program.name}]\n{lines}"

    def _call(self, method: str, *arguments: object, tolerate: tuple[int, ...] = ()) -> object:
        """Call supervisor; faults in `tolerate` mean that there was nothing to do.

        Raises: TransientError where it does not answer or refuses.
        """
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_UnixTransport(self.socket))
        try:
            with proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as exc:
            if exc.faultCode in tolerate:
                return None
            raise TransientError(f"supervisor refused {method}{arguments}: {exc.faultString[:256]}") from exc
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as exc:
            raise TransientError(f"supervisor does not answer at {self.socket}: {exc}. Run `slipway up`.") from exc


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_CALL_LIMIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _UnixConnection(self._path)
        self._connection = (str(host), connection)  # the base class closes what it finds here
        return connection


def tail_file(path: Path, *, lines: int) -> str:
    """The last lines of a file of ours, at most 64 kB of it; empty where there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 65_536))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _launch_text(program: Program) -> str:
    return json.dumps(_launch(program), indent=1, sort_keys=True)


def _launch(program: Program) -> dict[str, object]:
    """What `launch.py` needs to know of a program; holds its environment."""
    demotion = as_user(program.user)
    return {
        "command": program.command,
        "environment": dict(program.environment),
        "identity": [demotion["user"], demotion["group"]] if "user" in demotion and "group" in demotion else None,
        "log": str(program.log),
        "log_size_bytes_max": program.log_size_bytes_max,
        "log_backups": program.log_backups,
        "stop_signal": signal.Signals[f"SIG{program.stop_signal}"].value,
        "stop_limit_s": program.stop_limit_s,
        "stop_children": program.stop_children,
        **program.holds,
    }


def _living(record: Path) -> int | None:
    """The pid in a record, if exactly that process still lives."""
    recorded = launch.read_record(str(record))
    if recorded is None or recorded["boot"] != launch.boot():
        return None
    return int(recorded["pid"]) if launch.started(recorded["pid"]) == recorded["started"] else None


def _read_process(info: Mapping[str, Any], folder: Path) -> Process:
    """Read what supervisor says of a program. The pid is the program's own, where supervisor has its guardian's."""
    running = info["statename"] in ("RUNNING", "STARTING", "STOPPING")
    launch_file = folder / str(info["group"]) / f"{info['name']}.json"
    return Process(
        group=str(info["group"]),
        name=str(info["name"]),
        state=str(info["statename"]),
        pid=_living(launch_file.with_suffix(".pid")) or int(info["pid"]) or None,
        since=datetime.fromtimestamp(info["start"], UTC) if running and info["start"] else None,
        log=_read_log(launch_file) or (Path(info["stdout_logfile"]) if info["stdout_logfile"] else None),
        description=str(info["description"]),
    )


def _read_log(launch_file: Path) -> Path | None:
    try:
        return Path(json.loads(launch_file.read_text())["log"])
    except (OSError, ValueError, KeyError):
        return None  # taken away at this moment


def _plain(value: str | Path) -> str:
    """Refuse what supervisor's file would read as something else; a percent sign is doubled.

    Raises: ConfigError naming the value.
    """
    text = str(value)
    if any(mark in text for mark in " \t\n;#,'\"\\:") or not text.isprintable():
        raise ConfigError(
            f"'{text}' cannot stand in supervisor's configuration. Use a path without spaces or ;#,'\"\\:"
        )
    return text.replace("%", "%%")


def _write_changed(path: Path, text: str, *, mode: int = 0o600) -> bool:
    if path.exists() and path.read_text() == text:
        return False
    write_private(path, text, mode=mode)
    return True
