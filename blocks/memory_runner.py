"""The runner in memory: the twin of `blocks/runner_local.py`. Its programs are functions."""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from domain.isolation import Isolation
from domain.service import Outcome

NO_SUCH_PROGRAM = 127


@dataclass(frozen=True, slots=True)
class Call:
    """What a program sees of how it was called."""

    arguments: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program does: its output, its exit code, and how long it would take."""

    exit_code: int = 0
    output: str = ""
    seconds: float = 0.0


class MemoryRunner:
    """Fulfils `domain.ports.Runner` for tests; `programs` maps the first word of a command to a function.

    Its folders are real ones, in `work` (a temporary folder unless given): what is checked out and packed are files.
    """

    def __init__(self, programs: Mapping[str, Callable[[Call], Answer]] = {}, *, work: Path | None = None) -> None:
        self.work = work or Path(tempfile.mkdtemp(prefix="slipway-work-"))
        self.programs = dict(programs)
        self.calls: list[Call] = []
        self.handed_over: list[Path] = []

    def run(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        limit_s: float,
        log: Path | None = None,
        network: bool = False,
        servers: Path | None = None,
    ) -> Outcome:
        program = self.programs.get(command[0])
        if program is None:
            return Outcome(exit_code=NO_SUCH_PROGRAM, seconds=0, tail=f"could not be started: {command[0]}")
        call = Call(tuple(command[1:]), directory, dict(environment))
        self.calls.append(call)
        started = time.monotonic()
        answer = program(call)
        seconds = answer.seconds or time.monotonic() - started
        if log:
            log.write_text(answer.output)
        tail = "\n".join(answer.output.splitlines()[-60:])
        if seconds > limit_s:
            return Outcome(exit_code=-9, seconds=limit_s, tail=tail, timed_out=True)
        return Outcome(exit_code=answer.exit_code, seconds=seconds, tail=tail)

    def isolation(self) -> Isolation:
        """Functions see what they are given and nothing else."""
        return Isolation(user=True, filesystem=True, processes=True, network=True)

    def hand_over(self, directory: Path) -> None:
        self.handed_over.append(directory)

    def folder(self, name: str) -> Path:
        folder = self.work / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def remove_folder(self, name: str) -> None:
        shutil.rmtree(self.work / name, ignore_errors=True)
