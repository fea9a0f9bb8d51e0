"""A guard over one command: it ends the command and every child of it, whatever they do to get away.

`blocks/guarded.py` starts this file as a program of its own, writes one line of JSON (the order) to its standard input
and holds that pipe open: when it closes, because the owner is done or dead, the guard ends everything. A child that
leaves its session or loses its parent is handed to the guard by the kernel (it is their subreaper), so that no process
gets lost. Only the standard library and no site packages: it has to start in milliseconds.

It answers on standard output with one line of JSON: exit_code, seconds, timed_out, tail, and error where the command
could not be started.
"""

import collections
import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_END_LIMIT_S = 20.0
_DISK_POLL_S = 0.25
_MEMORY_POLL_S = 0.5
_LINE_MAX = 2000


class Output:
    """What the command writes: the first part into the log, the end in memory, the middle counted."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.log = open(order["log"], "ab", buffering=0) if order.get("log") else None  # noqa: PTH123, SIM115
        self.room = order["log_bytes_max"]
        self.left_out = 0
        self.end = bytearray()
        self.end_max = order["tail_bytes_max"]
        self.lines_max = order["tail_lines_max"]

    def write(self, data: bytes) -> None:
        self.end += data
        del self.end[: -self.end_max]
        kept = data[: self.room]
        self.room -= len(kept)
        self.left_out += len(data) - len(kept)
        if self.log and kept:
            self.log.write(kept)

    def tail(self) -> str:
        lines = bytes(self.end).decode("utf-8", "replace").splitlines()[-self.lines_max :]
        return "\n".join(line[:_LINE_MAX] for line in lines)

    def close(self) -> None:
        if self.log and self.left_out:
            self.log.write(f"\n[{self.left_out} bytes left out; the end follows]\n".encode())
            self.log.write(self.tail().encode())
        if self.log:
            self.log.close()


def notice(number: int, frame: object) -> None:
    """Take a signal and do nothing; unlike SIG_IGN, this is not inherited by the command."""


def prctl(option: int, value: int) -> None:
    """Ask the kernel for something about this process; without it we only do less."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def prepare_child(order: dict[str, Any]) -> None:
    """Run in the child, already as its user, before the command: limits, no way up, no life after the guard."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    os.nice(order.get("niceness", 0))
    for name, value in order["limits"].items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (wanted, wanted))


def start(order: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start the command in a session of its own."""
    return subprocess.Popen(
        order["command"],
        cwd=order["directory"],
        env=order["environment"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        user=order["uid"],
        group=order["gid"],
        extra_groups=[] if order["uid"] is not None else None,
        start_new_session=True,
        umask=0o022,
        preexec_fn=lambda: prepare_child(order),
    )


def descendants() -> list[int]:
    """Every process below this one, dead ones that nobody reaped left out."""
    children: dict[int, list[int]] = collections.defaultdict(list)
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:  # noqa: PTH123
                state, parent = file.read().rpartition(")")[2].split()[:2]
                if state != "Z":
                    children[int(parent)].append(int(name))
    found: list[int] = []
    queue = [os.getpid()]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def send_all(number: int) -> set[int]:
    """Send a signal to every descendant; returns who they were."""
    pids = set(descendants())
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return pids


def reap(main: int) -> int | None:
    """Collect every dead child; returns the wait status of the main one if it was among them."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, found = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == main:
                status = found
    return status


def end_all(main: int) -> int | None:
    """Stop all descendants first, so that none can start another unseen, then kill them until none is left."""
    status, deadline = None, time.monotonic() + _END_LIMIT_S
    stopped: set[int] = set()
    while time.monotonic() < deadline:
        seen = send_all(signal.SIGSTOP)
        if seen <= stopped:
            break
        stopped = seen
    while time.monotonic() < deadline:
        alive = send_all(signal.SIGKILL)
        found = reap(main)
        status = status if found is None else found
        if not alive:
            break
        time.sleep(0.002)
    return status


class Disk:
    """What the command's folders hold, looked at again and again; walked only when the disk has become fuller."""

    def __init__(self, order: dict[str, Any]) -> None:
        limits: dict[str, Any] = order.get("disk") or {}
        self.folders: list[str] = limits.get("folders", [])
        self.bytes_max = limits.get("bytes_max", 0)
        self.free_min = limits.get("free_bytes_min", 0)
        self.free_at_first = self.free() if self.folders else 0
        # a disk that was full before is not the command's doing; what it adds is
        self.free_min = min(self.free_min, self.free_at_first // 2)
        self.walk_again_at = 0.0

    def free(self) -> int:
        """Bytes that are free for ordinary users."""
        found = os.statvfs(self.folders[0])
        return found.f_bavail * found.f_frsize

    def complaint(self) -> str:
        """Say why the command has to end; empty where it has not."""
        if not self.folders:
            return ""
        free = self.free()
        if free < self.free_min:
            return f"only {free / 1e9:.2f} GB were left on the disk, {self.free_min / 1e9:.2f} GB have to stay free"
        if self.free_at_first - free < self.bytes_max or time.monotonic() < self.walk_again_at:
            return ""
        began = time.monotonic()
        held = sum(size_of(folder) for folder in self.folders)
        self.walk_again_at = time.monotonic() + 10 * (time.monotonic() - began)
        if held > self.bytes_max:
            return f"it wrote {held / 1e9:.2f} GB, {self.bytes_max / 1e9:.2f} GB are allowed"
        return ""


class Memory:
    """What the command and all its children hold in memory together, looked at again and again.

    A limit of the kernel's counts for one process each; a hundred small ones fill a machine as well.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self.bytes_max = order.get("memory_bytes_max") or 0
        self.look_again_at = 0.0

    def complaint(self) -> str:
        """Say why the command has to end; empty where it has not."""
        if not self.bytes_max or time.monotonic() < self.look_again_at:
            return ""
        self.look_again_at = time.monotonic() + _MEMORY_POLL_S
        held = sum(resident_bytes(pid) for pid in descendants())
        if held > self.bytes_max:
            return f"it held {held / 1e9:.2f} GB of memory, {self.bytes_max / 1e9:.2f} GB are allowed"
        return ""


def resident_bytes(pid: int) -> int:
    """What a process has in memory by itself; what it shares with others (files, mostly) is left out."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm") as file:  # noqa: PTH123
        _, resident, shared = file.read().split()[:3]
        return max(0, int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    return 0


def size_of(folder: str) -> int:
    """Bytes that the files below a folder take; links are not followed."""
    total, waiting = 0, [folder]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total


def watch(order: dict[str, Any], process: subprocess.Popen[bytes], output: Output) -> dict[str, Any]:
    """Follow the command to its end, to its limit, or to the end of the owner; then end what is left."""
    stdout = process.stdout
    assert stdout is not None
    started = time.monotonic()
    deadline = started + order["limit_s"] if order.get("limit_s") else None
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, notice)
    selector = selectors.DefaultSelector()
    selector.register(stdout, selectors.EVENT_READ, "output")
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ, "owner")
    selector.register(wake, selectors.EVENT_READ, "child")
    os.set_blocking(stdout.fileno(), False)
    status, timed_out, abandoned = reap(process.pid), False, False
    disk, memory, complaint = Disk(order), Memory(order), ""
    while status is None and not timed_out and not abandoned and not complaint:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if disk.folders or memory.bytes_max:
            left = _DISK_POLL_S if left is None else min(left, _DISK_POLL_S)
        for key, _ in selector.select(left):
            if key.data == "output" and not drain(stdout.fileno(), output):
                selector.unregister(stdout)
            if key.data == "child":
                os.read(wake, 4096)
            if key.data == "owner":
                abandoned = not os.read(sys.stdin.fileno(), 4096)
        status = reap(process.pid)
        timed_out = status is None and deadline is not None and time.monotonic() >= deadline
        complaint = (disk.complaint() or memory.complaint()) if status is None else ""
    seconds = time.monotonic() - started
    if abandoned and order.get("stop_signal"):
        status = ask_to_stop(process.pid, order)
    found = end_all(process.pid)
    status = found if status is None else status
    drain(stdout.fileno(), output)
    if complaint:
        output.write(f"\nslipway: ended, since {complaint}\n".encode())
    process.returncode = os.waitstatus_to_exitcode(status) if status is not None else -signal.SIGKILL
    return {"exit_code": process.returncode, "seconds": seconds, "timed_out": timed_out, "tail": output.tail()}


def ask_to_stop(pid: int, order: dict[str, Any]) -> int | None:
    """Send the polite signal to the command and wait a little."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, order["stop_signal"])
    deadline = time.monotonic() + order["stop_limit_s"]
    while time.monotonic() < deadline:
        status = reap(pid)
        if status is not None:
            return status
        time.sleep(0.01)
    return None


def drain(descriptor: int, output: Output) -> bool:
    """Take what is there to read; False when nobody can write any more."""
    try:
        for _ in range(64):
            data = os.read(descriptor, 65536)
            if not data:
                return False
            output.write(data)
    except (BlockingIOError, OSError):
        pass
    return True


def main() -> None:
    """Read the order, guard the command, answer."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # the end of the owner's pipe ends us, and nothing else
        signal.signal(number, notice)
    order = json.loads(sys.stdin.buffer.readline())
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    output = Output(order)
    try:
        process = start(order)
    except (OSError, subprocess.SubprocessError, ValueError) as exc:
        answer = {"exit_code": 127, "seconds": 0.0, "timed_out": False, "tail": "", "error": str(exc)}
    else:
        answer = watch(order, process, output)
    output.close()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
