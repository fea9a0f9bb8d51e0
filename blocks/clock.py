"""The clock of this machine, and one for tests that passes only when somebody waits."""

import time
from datetime import UTC, datetime, timedelta


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
