"""The room for drills of the whole in memory: the twin of `blocks/recovery_room.py`."""

from collections.abc import Callable, Sequence

from domain.drill import failed, passed
from domain.errors import InvariantError, TransientError
from domain.recovery_drill import STEPS, Rehearsed


class MemoryRecoveryRoom:
    """Fulfils `domain.ports_recovery.RecoveryRoom` for tests; the attributes say what goes wrong."""

    def __init__(self) -> None:
        self.places: set[str] = set()
        self.bad: tuple[str, ...] = ()
        self.words, self.is_away, self.is_stuck = "", False, False
        self.last_commit_at = ""

    def rehearse(self, name: str, *, limit_s: float, on_progress: Callable[[str], None]) -> Rehearsed:
        self.places.add(name)
        on_progress("PostgreSQL")
        if self.is_away:
            raise TransientError("The recovery did not end in 1 s.")
        if self.words:
            raise InvariantError(self.words)
        made = [step for step in STEPS if step not in ("objectives", "destruction")]
        checks = [
            failed(f"{step}.looked", "recovery_failed", error="damaged")
            if step in self.bad
            else passed(f"{step}.looked", "recovered")
            for step in made
        ]
        figures = {} if self.bad else {"rto_s": 42.0}
        return Rehearsed(tuple(checks), figures, "the point", "backup-1", self.last_commit_at)

    def destroy(self, name: str) -> None:
        if self.is_stuck:
            raise TransientError("pid 1 can't be ended. End it by hand: kill -9 <pid>.")
        self.places.discard(name)

    def leftovers(self) -> Sequence[str]:
        return sorted(self.places)
