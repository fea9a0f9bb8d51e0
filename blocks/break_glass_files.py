"""Marks, journals and guards of break-glass rollbacks: `BreakGlass` on files in `STATE/break-glass/`.

Files, because this is for the hour in which nothing else answers. Every effect on an environment holds its lock shared;
a break-glass rollback leaves its mark and then takes the lock alone, so that no effect is half-way when it acts. The
system frees the locks of a process that dies.
"""

import fcntl
import json
import os
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.installation import write_private
from blocks.journal import Journal
from domain.break_glass import Mark, explain_halt, explain_mark
from domain.errors import ConfigError, RefusedError, TransientError
from domain.ports import Ledger

FOLDER = "break-glass"
_POLL_S = 0.1
_HALTED_MAX = 1000


class FileBreakGlass:
    """Fulfils `domain.ports.BreakGlass`; `folder` is made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mark(self, mark: Mark) -> None:
        write_private(self._made("marks") / f"{mark.run}.json", json.dumps(asdict(mark)))

    def marks(self) -> list[Mark]:
        found = [Mark(**_read_json(path, {})) for path in sorted((self._folder / "marks").glob("*.json"))]
        return sorted(found, key=lambda mark: mark.at)

    @contextmanager
    def guarded(self, application: str, environment: str, *, run: str) -> Generator[None]:
        with self._locked(application, environment, fcntl.LOCK_SH, limit_s=60):
            here = [mark for mark in self.marks() if (mark.application, mark.environment) == (application, environment)]
            if here and run not in [mark.run for mark in here]:
                raise RefusedError(explain_mark(here[0]))
            if [run, application, environment] in self._halted():
                raise RefusedError(explain_halt(environment))
            yield

    @contextmanager
    def seized(self, application: str, environment: str, *, limit_s: float) -> Generator[None]:
        with self._locked(application, environment, fcntl.LOCK_EX, limit_s=limit_s):
            yield

    def journal(self, run: str) -> Ledger:
        return Journal(self._made("journals") / f"{run}.jsonl")

    def unsettled(self) -> list[str]:
        paths = sorted((self._folder / "journals").glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        return [path.stem for path in paths]

    def settle(self, run: str, *, halted: Collection[str]) -> None:
        mark = next((mark for mark in self.marks() if mark.run == run), None)
        if mark is not None:
            ended = [[one, mark.application, mark.environment] for one in halted]
            known = self._halted()
            merged = [*known, *(one for one in ended if one not in known)][-_HALTED_MAX:]
            write_private(self._folder / "halted.json", json.dumps(merged))
        source = self._folder / "journals" / f"{run}.jsonl"
        if source.exists():
            source.replace(self._made("settled") / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{run}.jsonl")
        (self._folder / "marks" / f"{run}.json").unlink(missing_ok=True)

    def _halted(self) -> list[list[str]]:
        return _read_json(self._folder / "halted.json", [])

    @contextmanager
    def _locked(self, application: str, environment: str, kind: int, *, limit_s: float) -> Generator[None]:
        """Hold an environment's lock, shared or alone. Raises: TransientError where it is not free in time."""
        path = self._made("locks") / f"{application}-{environment}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            deadline = time.monotonic() + limit_s
            while not _try_lock(descriptor, kind):
                if time.monotonic() >= deadline:
                    raise TransientError(
                        f"Somebody is at work in {environment} of {application} for more than {limit_s:.0f} s. Wait."
                    )
                time.sleep(_POLL_S)
            yield
        finally:
            os.close(descriptor)

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except PermissionError as exc:
            raise ConfigError(f"{folder} can't be made by this user. Run as the owner of the state folder.") from exc
        return folder


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default
