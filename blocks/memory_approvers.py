"""Approvers in memory: the twin of `blocks/approvers_postgres.py`."""

from collections.abc import Callable
from datetime import UTC, datetime

from blocks.one_time_code import matching_step, new_seed, provisioning_uri
from domain.errors import ConfigError
from domain.ports import Approver


class MemoryApprovers:
    """Fulfils `domain.ports.Approvers` for tests."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._approvers: dict[str, tuple[Approver, str]] = {}
        self._used: set[tuple[str, int]] = set()

    def enrol(self, approver: Approver) -> str:
        if approver.name in self._approvers:
            raise ConfigError(f"'{approver.name}' is enrolled already. Run `slipway approver revoke {approver.name}`.")
        seed = new_seed()
        self._approvers[approver.name] = (approver, seed)
        return provisioning_uri(seed, approver.name)

    def get(self, name: str) -> Approver | None:
        return self._approvers[name][0] if name in self._approvers else None

    def list(self) -> list[Approver]:
        return [self._approvers[name][0] for name in sorted(self._approvers)]

    def revoke(self, name: str) -> None:
        self._approvers.pop(name, None)

    def use_code(self, name: str, code: str) -> str:
        if name not in self._approvers:
            return "unknown"
        step = matching_step(self._approvers[name][1], code, now=self._clock())
        if step is None:
            return "wrong"
        if (name, step) in self._used:
            return "used"
        self._used.add((name, step))
        return "ok"
