"""The clock of this machine, and one for tests that passes only when somebody waits."""

import ctypes
import time
from datetime import UTC, datetime, timedelta

_TIMEX_BYTES = 256
_NOT_SYNCHRONISED = 5


def is_synchronised() -> bool | None:
    """Whether the kernel calls this machine's clock synchronised; None where it does not say.

    Source: adjtimex(2); with no mode it only reads, and returns TIME_ERROR (5) where nobody disciplines the clock.
    """
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _NOT_SYNCHRONISED


class SystemClock:
    """Fulfils `domain.ports.Clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class MemoryClock:
    """Fulfils `domain.ports.Clock` for tests: sleeping moves it, nothing else does."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime.now(UTC)

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
