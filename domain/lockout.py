"""What becomes of a one-time code, and of who gave it: good once; five wrong ones lock for a quarter of an hour.

Pure: the registers of approvers (`blocks/`) hold the counts, under a lock of their own, and ask here.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

WRONG_CODES_MAX = 5
LOCK_S = 15 * 60


@dataclass(frozen=True, slots=True)
class Tries:
    """Wrong codes since the last right one (or since the last lock ended), and until when no code counts."""

    wrong: int = 0
    locked_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class CodeUse:
    """What a code was: `ok`, `unknown` (nobody of that name), `wrong`, `used` (before) or `locked`.

    `locked_until` is when codes count again, where that is in the future; with `wrong`, this very code began the lock.
    `left` is how many more wrong codes it takes.
    """

    status: str
    locked_until: datetime | None = None
    left: int = WRONG_CODES_MAX

    @property
    def is_ok(self) -> bool:
        return self.status == "ok"

    @property
    def begins_lock(self) -> bool:
        return self.status == "wrong" and self.locked_until is not None


def weigh_code(tries: Tries, *, is_right: bool, is_first_use: bool, now: datetime) -> tuple[CodeUse, Tries]:
    """Decide what a code is worth and what is kept of it.

    A lock is neither ended by a right code nor made longer by a wrong one. A right code that was used before proves
    nothing and costs nothing: people send a form twice.
    """
    if tries.locked_until is not None:
        if now < tries.locked_until:
            return CodeUse("locked", tries.locked_until, 0), tries
        tries = Tries()
    if is_right:
        return (CodeUse("ok"), Tries()) if is_first_use else (_use("used", tries), tries)
    wrong = tries.wrong + 1
    after = Tries(wrong, now + timedelta(seconds=LOCK_S) if wrong >= WRONG_CODES_MAX else None)
    return _use("wrong", after), after


def _use(status: str, tries: Tries) -> CodeUse:
    return CodeUse(status, tries.locked_until, WRONG_CODES_MAX - tries.wrong)
