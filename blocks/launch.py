"""Become a program, or the guardian of the one that runs already; exactly its environment, and no ignored signals.

Supervisor's own `environment=` cuts values at ` ;` and `#` and can't quote; its children inherit its environment; and
their output is a pipe that breaks when it dies. So supervisor starts this file with the path of a JSON file that is its
owner's alone (`blocks/supervisor.py` writes it). This file writes down its pid and start time, opens the log itself,
becomes the program's user, and then the command, under the same pid.

When a supervisor was killed, its programs live on. The next one starts this file for each of them, which finds the
record, sees that exactly that process still lives, and guards it instead of starting it twice: passes signals on, ends
it at its limit, and ends itself when it has ended. What was recorded with other settings is ended and started anew.

Only the standard library: it runs from a copy in the state folder, with an interpreter that knows nothing of us.
"""

import hashlib
import json
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEPT = ("SUPERVISOR_PROCESS_NAME", "SUPERVISOR_GROUP_NAME", "SLIPWAY_STACK")
GUARDIAN_VARIABLE = "SLIPWAY_GUARDS"
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main(path: str) -> None:
    """Read the launch file; become its command, or guard the process that was started from it before."""
    # until there is somebody to give them to
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib would double this program's start time
        text = file.read()
    launch = json.loads(text)
    mark = hashlib.sha256(text.encode()).hexdigest()
    record = record_of(path)
    recorded = read_record(record)
    alive = living(recorded)
    if recorded is not None and alive is not None:
        guardian = Guardian(recorded["pid"], alive, launch)
        if recorded["mark"] == mark:
            become_visible_as_guardian(path, recorded["pid"])
            sys.exit(guardian.watch())
        guardian.end()
    write_record(record, mark)
    become(launch)


def record_of(path: str) -> str:
    """Where the process of a launch file is written down."""
    return path.removesuffix(".json") + ".pid"


def read_record(path: str) -> "dict[str, Any] | None":
    """Read `pid`, `started` (ticks since boot), `boot` (the boot's id) and `mark`; None where there is none."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - as above
            found = json.load(file)
        return found if {"pid", "started", "boot", "mark"} <= set(found) else None
    except (OSError, ValueError):
        return None


def write_record(path: str, mark: str) -> None:
    """Write down who we are, whole or not at all."""
    own = {"pid": os.getpid(), "started": started(os.getpid()), "boot": boot(), "mark": mark}
    draft = f"{path}.{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(own, file)
    os.replace(draft, path)  # noqa: PTH105 - as above


def started(pid: int) -> int:
    """The start of a process in ticks since boot; 0 where there is none, or only what init has not yet buried."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - as above
            fields = file.read().rpartition(")")[2].split()
        return 0 if fields[0] in ("Z", "X") else int(fields[19])
    except OSError:
        return 0


def boot() -> str:
    """The id of this boot: pids and ticks begin anew with each."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:  # noqa: PTH123 - as above
            return file.read().strip()
    except OSError:
        return ""


def living(recorded: "dict[str, Any] | None") -> "int | None":
    """Take hold of exactly the recorded process, by a descriptor that never means another; None if it is gone."""
    if recorded is None or recorded["boot"] != boot():
        return None
    try:
        held = os.pidfd_open(recorded["pid"])
    except OSError:
        return None
    if started(recorded["pid"]) == recorded["started"] and not has_ended(held, 0):
        return held
    os.close(held)
    return None


def has_ended(held: int, limit_s: float) -> bool:
    """Wait until a held process has ended; False when it has not at the limit."""
    return bool(select.select([held], [], [], limit_s)[0])


class Guardian:
    """Stands under supervisor for a process that is not its child any more."""

    def __init__(self, pid: int, held: int, launch: "dict[str, Any]") -> None:
        self.pid = pid
        self.held = held
        self.with_children = bool(launch.get("stop_children"))
        self.stop_limit_s = float(launch.get("stop_limit_s", 10))
        self.stop_signal = signal.Signals(launch.get("stop_signal", signal.SIGTERM))
        self.supervisor = os.getppid()
        self.kill_at = float("inf")
        # written to by the interpreter whenever a signal comes, so that a wait ends for one
        self.woken, self.wakes = os.pipe()
        for end in (self.woken, self.wakes):
            os.set_blocking(end, False)

    def watch(self) -> int:
        """Pass signals on until the process has ended, or until supervisor itself has: the next one sends its own."""
        signal.set_wakeup_fd(self.wakes, warn_on_full_buffer=False)
        for number in PASSED_ON:
            signal.signal(number, self.pass_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        while os.getppid() == self.supervisor:
            left_s = max(0.0, min(1.0, self.kill_at - time.monotonic()))
            ready = select.select([self.held, self.woken], [], [], left_s)[0]
            if self.held in ready:
                break
            if self.woken in ready:
                os.read(self.woken, 512)
            if time.monotonic() >= self.kill_at:
                self.send(signal.SIGKILL, with_children=True)
                self.kill_at = time.monotonic() + 1
        return 0

    def pass_on(self, number: int, frame: object) -> None:
        """Give the process a signal that supervisor gave to us; a wish to stop has a limit."""
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self.kill_at = min(self.kill_at, time.monotonic() + self.stop_limit_s)
        self.send(number, with_children=self.with_children)

    def end(self) -> None:
        """End it: asked first, killed at the limit."""
        self.send(self.stop_signal, with_children=self.with_children)
        if not has_ended(self.held, self.stop_limit_s):
            self.send(signal.SIGKILL, with_children=True)
            has_ended(self.held, 10)

    def send(self, number: int, *, with_children: bool) -> None:
        """Signal the process, and its process group with it, which is its own: supervisor made it so."""
        try:
            signal.pidfd_send_signal(self.held, number)
            if with_children:
                os.killpg(self.pid, number)
        except OSError:
            return  # gone meanwhile


def become_visible_as_guardian(path: str, pid: int) -> None:
    """Start over with a variable that says whom we guard, so that whoever counts the stack's processes can tell."""
    if os.environ.get(GUARDIAN_VARIABLE) != str(pid):
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        command = [sys.executable, "-I", "-S", os.path.abspath(__file__), path]  # noqa: PTH100 - as above
        os.execve(command[0], command, {**kept, GUARDIAN_VARIABLE: str(pid)})


def become(launch: "dict[str, Any]") -> None:
    """Open the log, become the user, become the command."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    # an earlier version's file names neither: supervisor itself was told
    if launch.get("log"):
        take_streams(launch["log"])
    hold(launch)
    if launch.get("identity"):
        uid, gid = launch["identity"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.execvpe(launch["command"][0], launch["command"], {**launch["environment"], **kept})


def hold(launch: "dict[str, Any]") -> None:
    """Put the limits of a launch file on ourselves, and so on all that we become and start; while we still may.

    What this machine refuses is said in the log, and the program starts: whoever asked for a limit reads back what is
    in force. Groups are made anew here, since a reboot takes them away.
    """
    for folder, files in launch.get("cgroups", ()):
        try:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - as above
            for name, value in files.items():
                with open(f"{folder}/{name}", "w", encoding="utf-8") as file:  # noqa: PTH123 - as above
                    file.write(value or str(os.getpid()))
        except OSError as exc:
            print(f"limit not in force: {folder}: {exc}", file=sys.stderr, flush=True)
    if launch.get("niceness"):
        os.nice(launch["niceness"])
    if launch.get("data_bytes"):
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = launch["data_bytes"] if hard == resource.RLIM_INFINITY else min(launch["data_bytes"], hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def take_streams(log: str) -> None:
    """Read nothing, and write to the log: by appending, so that it can be cut while we write."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(nothing, 0)
    os.dup2(written, 1)
    os.dup2(written, 2)
    for descriptor in (nothing, written):
        if descriptor > 2:
            os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1])
