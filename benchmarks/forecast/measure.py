"""Measures answers against what came true: accuracy, coverage, crossings."""

from dataclasses import dataclass

import numpy as np

from benchmarks.forecast.answers import Answer
from benchmarks.forecast.tasks import Task
from domain.series import Array

LEAD_DAYS = 14
SEARCH_DAYS = 180


def relative_error(task: Task, mean: Array) -> float:
    """Mean absolute error over that of the seasonal naive forecast; both lifted by a thousandth of the usual movement.

    Without that a series that stands still would divide nought by nought.
    """
    season, future = task.season, task.future
    seen = np.flatnonzero(~np.isnan(task.values))
    past = np.interp(np.arange(len(task.values)), seen, task.values[seen])
    naive = np.resize(past[-season:], len(future))
    movement = float(np.abs(past[season:] - past[:-season]).mean())
    floor = 1e-3 * max(movement, 1e-6 * float(np.abs(past).mean())) + 1e-12
    errors = [float(np.nanmean(np.abs(line[: len(future)] - future))) for line in (mean, naive)]
    return (errors[0] + floor) / (errors[1] + floor)


def geometric_mean(values: list[float]) -> float:
    """Average ratios so that half and double cancel."""
    return float(np.exp(np.mean(np.log(values)))) if values else float("nan")


def scored(tasks: list[Task], answers: dict[str, Answer]) -> list[Task]:
    """Keep the tasks that were answered and whose future is known."""
    return [task for task in tasks if task.task_id in answers and (~np.isnan(task.future)).any()]


def accuracy(tasks: list[Task], answers: dict[str, Answer]) -> float:
    """Geometric mean of the relative errors."""
    known = scored(tasks, answers)
    return geometric_mean([relative_error(task, answers[task.task_id].lines[0]) for task in known])


def coverage(tasks: list[Task], answers: dict[str, Answer]) -> tuple[float, float]:
    """Share of what came true that lies within the 80 % and the 95 % bounds; each task counts the same."""
    shares: list[tuple[float, float]] = []
    for task in scored(tasks, answers):
        lines, future = answers[task.task_id].lines[:, : len(task.future)], task.future
        known = ~np.isnan(future)
        inside = [(lines[low] <= future) & (future <= lines[low + 1]) for low in (1, 3)]
        shares.append((float(inside[0][known].mean()), float(inside[1][known].mean())))
    if not shares or np.isnan(answers[tasks[0].task_id].lines[1]).all():
        return float("nan"), float("nan")
    return float(np.mean([share[0] for share in shares])), float(np.mean([share[1] for share in shares]))


@dataclass(frozen=True, slots=True)
class CrossingScore:
    """How dates of crossing came true."""

    count: int
    error_days_median: float
    """Over crossings that were dated and came."""
    warned: float
    """Share of the real crossings, more than 14 days ahead, that were given a date."""
    false_of_alarms: float
    """Share of the dates given for limits that were then not reached within 180 days."""
    false_of_quiet: float
    """Share of the limits not reached within 180 days that were given a date."""
    brier: float
    brier_base: float
    """Of always saying the share that crosses."""
    inside80: float


def score_crossings(tasks: list[Task], answers: dict[str, Answer]) -> CrossingScore:
    """Score dates and probabilities; a limit not reached before the data end early is left out of what needs an end."""
    errors: list[int] = []
    inside: list[bool] = []
    warned: list[bool] = []
    quiet: list[bool] = []
    squares: list[float] = []
    outcomes: list[bool] = []
    alarms_kept = 0
    for task in tasks:
        dates = answers[task.task_id].dates if task.task_id in answers else None
        if dates is None:
            continue
        dated, day = dates.median is not None, task.crossing_day
        if day is None and task.days_known < SEARCH_DAYS:
            continue
        squares.append((dates.probability - (day is not None)) ** 2)
        outcomes.append(day is not None)
        if day is None:
            quiet.append(dated)
            continue
        if day > LEAD_DAYS:
            warned.append(dated)
        if dates.median is not None:
            alarms_kept += 1
            errors.append(abs(dates.median - day))
            if not np.isnan(answers[task.task_id].lines[1]).all():  # else without bounds
                inside.append((dates.lo80 or 0) <= day <= (dates.hi80 or SEARCH_DAYS + 1))
    base = float(np.mean(outcomes)) if outcomes else float("nan")
    return CrossingScore(
        len(outcomes),
        float(np.median(errors)) if errors else float("nan"),
        float(np.mean(warned)) if warned else float("nan"),
        sum(quiet) / max(sum(quiet) + alarms_kept, 1),
        float(np.mean(quiet)) if quiet else float("nan"),
        float(np.mean(squares)) if squares else float("nan"),
        base * (1 - base),
        float(np.mean(inside)) if inside else float("nan"),
    )
