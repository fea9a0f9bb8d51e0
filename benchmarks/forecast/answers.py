"""What a forecaster answers to a task, ours or a rival."""

from dataclasses import dataclass

from domain.series import Array


@dataclass(frozen=True, slots=True)
class Dates:
    """When a limit is reached, in days from the first forecast step (1 the first); None is not within the search."""

    probability: float
    median: int | None
    lo80: int | None
    hi80: int | None
    lo95: int | None
    hi95: int | None

    def days(self) -> tuple[int | None, ...]:
        """List them in the order of the file's columns."""
        return (self.median, self.lo80, self.hi80, self.lo95, self.hi95)


@dataclass(frozen=True, slots=True)
class Answer:
    """Mean, lo80, hi80, lo95, hi95, shape (5, horizon), NaN where a forecaster has no bounds; and the crossing."""

    lines: Array
    dates: Dates | None
