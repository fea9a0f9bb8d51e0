"""The role of the place in which everything is recovered for a drill, as a protocol: a process of its own, a folder."""

from collections.abc import Callable, Sequence
from typing import Protocol

from domain.recovery_drill import Rehearsed


class RecoveryRoom(Protocol):
    """Recovers the whole installation into a scratch folder, where nothing of it reaches the outside."""

    def rehearse(self, name: str, *, limit_s: float, on_progress: Callable[[str], None]) -> Rehearsed:
        """Recover, start, verify. Effect: a folder and processes of that name, until `destroy`; may be repeated.

        Raises: InvariantError with its last words where the process ended without a result, TransientError at the
        limit.
        """
        ...

    def destroy(self, name: str) -> None:
        """End every process of it and remove its folder. Effect: may be repeated."""
        ...

    def leftovers(self) -> Sequence[str]:
        """Names of what dead drills left."""
        ...
