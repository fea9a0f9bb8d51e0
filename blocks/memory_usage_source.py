"""A source of usage in memory, whose resources follow a course that a test sets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from domain.errors import SlipwayError
from domain.limits import Limit
from domain.series import Remark
from domain.usage import Interval, Measured, Reading, Resource, as_time

Course = Callable[[datetime], float]


@dataclass
class MemoryUsageSource:
    """Fulfils `domain.ports.UsageSource`; `error` makes it fail, `problems` come with each reading.

    Args:
        step: between two samples; the first lies at an interval's begin.
        now: where it is given, the source sees the present only, as machines do.
    """

    name: str = "memory:main"
    courses: dict[Resource, Course] = field(default_factory=dict[Resource, Course])
    known_limits: list[Limit] = field(default_factory=list[Limit])
    step: timedelta = timedelta(minutes=1)
    now: Callable[[], datetime] | None = None
    error: SlipwayError | None = None
    problems: tuple[Remark, ...] = ()
    asked: list[Interval] = field(default_factory=list[Interval])

    def read(self, interval: Interval) -> Reading:
        self.asked.append(interval)
        if self.error is not None:
            raise self.error
        if self.now is not None and self.now() - interval.end > timedelta(seconds=150):
            return Reading()
        moments = [interval.begin + n * self.step for n in range(int(interval.seconds // self.step.total_seconds()))]
        times = np.array([as_time(at) for at in moments], dtype="datetime64[s]")
        measured = tuple(
            Measured(one, times, np.array([course(at) for at in moments])) for one, course in self.courses.items()
        )
        return Reading(measured, self.problems)

    def limits(self) -> list[Limit]:
        if self.error is not None:
            raise self.error
        return list(self.known_limits)
