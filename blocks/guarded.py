"""Start a command under a guard (`blocks/guard.py`) that ends all of its children, even when we die.

Used by the runner of builds and checks and by throw-away servers. The order travels through a pipe, so that neither
environment nor secrets show in a command line.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from blocks.identity import as_user, clean_environment
from blocks.sandbox import Sandbox
from domain.errors import InvariantError
from domain.service import Outcome

_GUARD = Path(__file__).with_name("guard.py")
NICENESS = 10
"""Builds, checks and what they need give way to the services that users wait for on the same machine."""

LOG_BYTES_MAX = 20_000_000
TAIL_BYTES_MAX = 16_000
TAIL_LINES_MAX = 60


@dataclass(frozen=True, slots=True)
class Disk:
    """What a command may write in all.

    It is ended once its folders hold more than `bytes_max`, or once less than `free_bytes_min` is left on their disk.
    """

    folders: tuple[Path, ...]
    bytes_max: int
    free_bytes_min: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "folders": [str(folder) for folder in self.folders],
            "bytes_max": self.bytes_max,
            "free_bytes_min": self.free_bytes_min,
        }


@dataclass(frozen=True, slots=True)
class Order:
    """What to run: the whole environment, the user (None: ourselves), the limits of `resource` by name.

    `niceness` (0 to 19) makes it give way to what serves on the same machine. `stop_signal` is sent to the command
    alone when its owner lets go, `stop_limit_s` before the end of everything. `sandbox` is what it is put into.
    `disk` bounds what it may write in all, `memory_bytes_max` what it and its children may hold in memory together.
    """

    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str] = field(repr=False)
    user: str | None = None
    limit_s: float | None = None
    log: Path | None = None
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    niceness: int = 0
    stop_signal: int | None = None
    stop_limit_s: float = 5
    sandbox: Sandbox | None = None
    disk: "Disk | None" = None
    memory_bytes_max: int | None = None

    def as_json(self) -> str:
        """One line for the guard."""
        who = as_user(self.user)
        value = {
            "command": self._command(),
            "directory": str(self.directory),
            "environment": dict(self.environment),
            "uid": who.get("user"),
            "gid": who.get("group"),
            "limit_s": self.limit_s,
            "log": str(self.log) if self.log else None,
            "log_bytes_max": LOG_BYTES_MAX,
            "tail_bytes_max": TAIL_BYTES_MAX,
            "tail_lines_max": TAIL_LINES_MAX,
            "limits": dict(self.limits),
            "niceness": self.niceness,
            "stop_signal": self.stop_signal,
            "stop_limit_s": self.stop_limit_s,
            "disk": self.disk.as_dict() if self.disk else None,
            "memory_bytes_max": self.memory_bytes_max,
        }
        return json.dumps(value) + "\n"

    def _command(self) -> list[str]:
        if self.sandbox is None:
            return list(self.command)
        return self.sandbox.wrap(self.command, directory=self.directory)


class Guarded:
    """A command at work under its guard. Leaving the `with` block ends it and all its children."""

    def __init__(self, order: Order) -> None:
        line = order.as_json()  # before anything starts: it may refuse
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environment(),
            start_new_session=True,
        )
        assert self._guard.stdin is not None and self._guard.stdout is not None
        self._owner, self._answer = self._guard.stdin, self._guard.stdout
        self._owner.write(line.encode())
        self._owner.flush()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The guard itself; it ends when its command has ended."""
        return self._guard

    def wait(self) -> Outcome:
        """Wait for the end of the command and of its children.

        Raises: InvariantError where the guard itself was killed.
        """
        text = self._answer.read()
        self._guard.wait()
        if not text:
            raise InvariantError(f"The guard of a command ended with {self._guard.returncode}. Start it again.")
        return _read_outcome(json.loads(text))

    def stop(self) -> None:
        """Let go: the guard ends everything, and so does this call."""
        if not self._owner.closed:
            self._owner.close()
        self._guard.wait()
        self._answer.close()

    def __enter__(self) -> "Guarded":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _read_outcome(answer: dict[str, Any]) -> Outcome:
    """Read the guard's answer; what could not be started at all ends with 127, as in a shell."""
    tail = cast(str, answer["tail"])
    if "error" in answer:
        tail = f"could not be started: {answer['error']}"
    return Outcome(exit_code=answer["exit_code"], seconds=answer["seconds"], tail=tail, timed_out=answer["timed_out"])
