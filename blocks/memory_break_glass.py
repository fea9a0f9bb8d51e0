"""Marks and journals in memory: the twin of `blocks/break_glass_files.py`."""

from collections.abc import Collection, Generator
from contextlib import contextmanager

from blocks.memory_ledger import MemoryLedger
from domain.break_glass import Mark, explain_halt, explain_mark
from domain.errors import RefusedError, TransientError
from domain.ports import Ledger


class MemoryBreakGlass:
    """Fulfils `domain.ports.BreakGlass` for tests, in one thread."""

    def __init__(self) -> None:
        self._marks: dict[str, Mark] = {}
        self._journals: dict[str, MemoryLedger] = {}
        self._halted: set[tuple[str, str, str]] = set()
        self._busy: dict[tuple[str, str], int] = {}

    def mark(self, mark: Mark) -> None:
        self._marks[mark.run] = mark

    def marks(self) -> list[Mark]:
        return sorted(self._marks.values(), key=lambda mark: mark.at)

    @contextmanager
    def guarded(self, application: str, environment: str, *, run: str) -> Generator[None]:
        here = [mark for mark in self.marks() if (mark.application, mark.environment) == (application, environment)]
        if here and run not in [mark.run for mark in here]:
            raise RefusedError(explain_mark(here[0]))
        if (run, application, environment) in self._halted:
            raise RefusedError(explain_halt(environment))
        place = (application, environment)
        self._busy[place] = self._busy.get(place, 0) + 1
        try:
            yield
        finally:
            self._busy[place] -= 1

    @contextmanager
    def seized(self, application: str, environment: str, *, limit_s: float) -> Generator[None]:
        if self._busy.get((application, environment)):
            raise TransientError(f"Somebody is at work in {environment} of {application}. Wait.")
        yield

    def journal(self, run: str) -> Ledger:
        return self._journals.setdefault(run, MemoryLedger())

    def unsettled(self) -> list[str]:
        return [run for run, journal in self._journals.items() if journal.entries()]

    def settle(self, run: str, *, halted: Collection[str]) -> None:
        mark = self._marks.pop(run, None)
        if mark is not None:
            self._halted |= {(one, mark.application, mark.environment) for one in halted}
        self._journals.pop(run, None)
