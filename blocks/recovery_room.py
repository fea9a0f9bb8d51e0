"""The place of the monthly drill: a process that recovers everything into a scratch folder, and its destruction.

The process is the operator's own (`deployments/recovery/rehearsal.py`), started with an environment of its own, because
it writes a recovery kit: no flow of production could. What it found comes back in a file; what it says is progress.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from blocks.identity import clean_environment
from blocks.installation import STATE_VARIABLE, write_private
from blocks.processes import end_all, stack_members
from domain.canonical import sha256_hex
from domain.drill import read_check
from domain.errors import ConfigError, InvariantError, TransientError
from domain.recovery_drill import Rehearsed

STATE, RESULT, LOG, OWNERS = "state", "result.json", "rehearsal.log", "owners.json"
MODULE = "deployments.recovery.rehearsal"
_GRACE_S = 10.0
_BASES = range(10_500, 31_000, 500)
_PORTS = 60
_KEPT = ("HOME", "USER", "LOGNAME", "LANG", "TZ", "PATH")


@dataclass(frozen=True, slots=True)
class ProcessRoom:
    """Fulfils `domain.ports_recovery.RecoveryRoom`.

    Attributes:
        installation: the state folder that is drilled.
        folder: where scratch folders lie; users pass through it.
    """

    installation: Path
    folder: Path

    def rehearse(self, name: str, *, limit_s: float, on_progress: Callable[[str], None]) -> Rehearsed:
        self.destroy(name)
        place = self.folder / name
        place.mkdir(parents=True)
        place.chmod(0o711)
        kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
        more = {STATE_VARIABLE: str(place / STATE), "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8"}
        more |= {"SLIPWAY_SOCKETS": str(_sockets(place)), "SLIPWAY_PORT_BASE": str(free_base())}
        command = [sys.executable, "-m", MODULE, "--of", str(self.installation), "--result", str(place / RESULT)]
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).resolve().parent.parent,
            env=clean_environment({**kept, **more}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            _sign(place / OWNERS, process.pid)
            words = _follow(process, place / LOG, on_progress, limit_s=limit_s)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        return _read(place / RESULT, words, code=process.returncode)

    def destroy(self, name: str) -> None:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"'{name[:80]}' names no drill. Use letters, digits and dashes.")
        place = self.folder / name
        _end_child(place / OWNERS)
        if remaining := end_all(stack_members(place / STATE), grace_s=_GRACE_S):
            raise TransientError(f"{remaining[0].describe()} can't be ended. End it by hand: kill -9 <pid>.")
        shutil.rmtree(_sockets(place), ignore_errors=True)
        if place.exists():
            shutil.rmtree(place)

    def leftovers(self) -> Sequence[str]:
        """Those whose process is gone; one that is still at work is nobody's leftover."""
        places = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        return [place.name for place in places if not _lives(_read_owners(place / OWNERS).get("drill"))]


def free_base() -> int:
    """A base whose ports nobody listens on; below the range from which the system takes ports of its own.

    Raises: TransientError where there is none.
    """
    first = int(time.time()) % len(_BASES)
    for base in [*_BASES[first:], *_BASES[:first]]:
        if all(_is_free(base + offset) for offset in range(_PORTS)):
            return base
    raise TransientError("No free range of ports on this machine for a drill. Stop what holds them.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _sockets(place: Path) -> Path:
    """A short folder: the path of a socket may have a hundred bytes."""
    base = Path("/run") if os.geteuid() == 0 and os.access("/run", os.W_OK) else Path("/tmp")
    return base / f"slipway-drill-{sha256_hex(str(place))[:8]}"


def _sign(path: Path, child: int) -> None:
    """Write down who drills here: this process and its child, each with its start, since numbers are given again."""
    value = {name: [pid, psutil.Process(pid).create_time()] for name, pid in (("drill", os.getpid()), ("child", child))}
    write_private(path, json.dumps(value))


def _read_owners(path: Path) -> dict[str, list[float]]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def _lives(owner: list[float] | None) -> bool:
    if not owner:
        return False
    try:
        return psutil.Process(int(owner[0])).create_time() == owner[1]
    except psutil.Error:
        return False


def _end_child(path: Path) -> None:
    """End the process that recovers, where a killed drill left it at work: first, or it would go on making things."""
    child = _read_owners(path).get("child")
    if child and _lives(child):
        with suppress(ProcessLookupError):
            os.killpg(int(child[0]), signal.SIGKILL)
        deadline = time.monotonic() + _GRACE_S
        while _lives(child) and not _is_zombie(int(child[0])) and time.monotonic() < deadline:
            time.sleep(0.05)


def _is_zombie(pid: int) -> bool:
    with suppress(psutil.Error):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def _follow(process: "subprocess.Popen[str]", log: Path, on_progress: Callable[[str], None], *, limit_s: float) -> str:
    """Read what the process says, until it ends; returns its last words. Raises: TransientError at the limit."""
    timer = threading.Timer(limit_s, process.kill)
    timer.start()
    begun, tail = time.monotonic(), list[str]()
    try:
        assert process.stdout is not None
        with log.open("w") as kept:
            for line in process.stdout:
                kept.write(line)
                tail = [*tail[-5:], line.strip()]
                on_progress(line.strip())
        process.wait()
    finally:
        timer.cancel()
    if time.monotonic() - begun >= limit_s:
        raise TransientError(f"The recovery did not end in {limit_s:.0f} s: {' / '.join(tail)[-300:]}")
    return " / ".join(tail)[-400:]


def _read(result: Path, words: str, *, code: int) -> Rehearsed:
    try:
        value = json.loads(result.read_text())
        return Rehearsed(
            checks=tuple(read_check(one) for one in value["checks"]),
            figures={str(name): float(number) for name, number in value["figures"].items()},
            point=str(value["point"]),
            backup=str(value["backup"]),
            last_commit_at=str(value["last_commit_at"]),
        )
    except (OSError, ValueError, KeyError) as exc:
        raise InvariantError(f"The recovery ended with {code} and left no result: {words}") from exc
