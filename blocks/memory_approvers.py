"""Approvers in memory: the twin of `blocks/approvers_postgres.py`."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from blocks.one_time_code import matching_step, new_seed, provisioning_uri
from domain.enrolment import explain_nobody, explain_taken
from domain.errors import ConfigError
from domain.lockout import CodeUse, Tries, weigh_code
from domain.ports import Approver


@dataclass(slots=True)
class _Enrolled:
    approver: Approver
    seed: str
    tries: Tries


class MemoryApprovers:
    """Fulfils `domain.ports.Approvers` for tests."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._enrolled: dict[str, _Enrolled] = {}
        self._used: set[tuple[str, int]] = set()
        self._guard = threading.Lock()

    def enrol(self, approver: Approver) -> str:
        if approver.name in self._enrolled:
            raise ConfigError(explain_taken(approver.name))
        self._enrolled[approver.name] = enrolled = _Enrolled(approver, new_seed(), Tries())
        return provisioning_uri(enrolled.seed, approver.name)

    def get(self, name: str) -> Approver | None:
        return self._enrolled[name].approver if name in self._enrolled else None

    def list(self) -> list[Approver]:
        return [self._enrolled[name].approver for name in sorted(self._enrolled)]

    def change(self, approver: Approver) -> None:
        self._find(approver.name).approver = approver

    def renew(self, name: str) -> str:
        enrolled = self._find(name)
        enrolled.seed, enrolled.tries = new_seed(), Tries()
        return provisioning_uri(enrolled.seed, name)

    def revoke(self, name: str) -> None:
        self._enrolled.pop(name, None)

    def use_code(self, name: str, code: str) -> CodeUse:
        with self._guard:
            enrolled = self._enrolled.get(name)
            if enrolled is None:
                return CodeUse("unknown")
            now = self._clock()
            step = matching_step(enrolled.seed, code, now=now)
            is_first_use = step is not None and (name, step) not in self._used
            if step is not None:
                self._used.add((name, step))
            use, enrolled.tries = weigh_code(
                enrolled.tries, is_right=step is not None, is_first_use=is_first_use, now=now
            )
            return use

    def _find(self, name: str) -> _Enrolled:
        if name not in self._enrolled:
            raise ConfigError(explain_nobody(name, self.list()))
        return self._enrolled[name]
