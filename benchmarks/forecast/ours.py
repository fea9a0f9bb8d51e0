"""Forecasts tasks with ours."""

import csv
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.forecast.answers import Answer, Dates
from benchmarks.forecast.tasks import MEAN_DAYS, SEARCH_DAYS, Refused, Task
from domain.crossing import Crossing, chance_of, find_crossing, scores_above
from domain.forecast import Forecast, forecast_all

DAY_S = 86400
CROSSING = ["task_id", "probability", "date_median", "date_lo80", "date_hi80", "date_lo95", "date_hi95"]


def forecast_tasks(tasks: list[Task]) -> tuple[dict[str, Answer], dict[str, str]]:
    """Forecast all tasks: answers by task, and the reasons of those that have none."""
    answers: dict[str, Answer] = {}
    refused: dict[str, str] = {}
    by_horizon: defaultdict[int, list[Task]] = defaultdict(list)
    for task in tasks:
        by_horizon[task.horizon].append(task)
    for horizon, group in by_horizon.items():
        made = forecast_all([task.series() for task in group], first=[task.first for task in group], horizon=horizon)
        for task, answer in zip(group, made, strict=True):
            if isinstance(answer, Forecast):
                lines = np.stack([answer.mean, answer.lo80, answer.hi80, answer.lo95, answer.hi95])
                answers[task.task_id] = Answer(lines, None if task.limit is None else cross(task, answer))
            else:
                refused[task.task_id] = answer.reason.text()
    return answers, refused


def cross(task: Task, forecast: Forecast) -> Dates:
    """Find the crossing of a task that has a limit, 180 days ahead also where it comes and goes."""
    assert task.limit is not None
    if not forecast.piles_up:
        horizon = SEARCH_DAYS * DAY_S // task.step_s
        longer = forecast_all([task.series()], first=task.first, horizon=horizon)[0]
        if isinstance(longer, Forecast):
            return cross_by_level(longer, task.limit)
    return dates_of(find_crossing(forecast, limit=task.limit, days=SEARCH_DAYS), forecast.start)


def cross_by_level(forecast: Forecast, limit: float) -> Dates:
    """Find when the weekly mean of what comes and goes is at the limit: the task's question, not `capacity`'s.

    There, one bad hour counts, and no date is given; here the mean of seven days does, which moves slowly.
    """
    per_day = DAY_S // forecast.series.step_s
    width = MEAN_DAYS * per_day
    rows = np.stack([forecast.mean, forecast.lo80, forecast.hi80, forecast.lo95, forecast.hi95])
    past = np.broadcast_to(forecast.history[-(width - 1) :], (len(rows), min(width - 1, len(forecast.history))))
    sums = np.concatenate([np.zeros((len(rows), 1)), past, rows], axis=1).cumsum(axis=1)
    means = (sums[:, width:] - sums[:, :-width]) / width
    steps = [int(row.argmax()) // per_day + 1 if row.any() else None for row in means >= limit]
    median, late80, early80, late95, early95 = steps
    level = replace(forecast, **dict(zip(("mean", "lo80", "hi80", "lo95", "hi95"), means, strict=True)))
    probability = chance_of(float(scores_above(level, limit).min(initial=np.inf)))
    return Dates(probability, median, early80, late80, early95, late95)


def dates_of(crossing: Crossing, start: np.datetime64) -> Dates:
    """Count dates as days from the start, 1 the first."""
    first = start.astype("datetime64[D]")
    whens = (crossing.median, crossing.lo80, crossing.hi80, crossing.lo95, crossing.hi95)
    days = [None if when is None else int((when - first) / np.timedelta64(1, "D")) + 1 for when in whens]
    return Dates(crossing.probability, *days)


def write_predictions(tasks: list[Task], wrong: list[Refused], out: Path) -> None:
    """Forecast tasks and write PREDICTIONS.parquet; where tasks have limits also PREDICTIONS.crossing.csv beside it.

    Every task has its rows: empty ones where it can't be forecast, with the reason in PREDICTIONS.refused.csv.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    answers, reasons = forecast_tasks(tasks)
    refused = [
        *wrong,
        *(
            Refused(t.task_id, reasons[t.task_id], t.horizon, t.limit is not None)
            for t in tasks
            if t.task_id in reasons
        ),
    ]
    nothing = {one.task_id: Answer(np.full((5, one.horizon), np.nan), None) for one in refused}
    all_answers = answers | nothing
    steps = [answer.lines.shape[1] for answer in all_answers.values()]
    ids = np.repeat(np.array(list(all_answers), dtype=str), steps)
    is_number = all(task_id.isdecimal() and str(int(task_id)) == task_id for task_id in all_answers)
    columns: dict[str, Any] = {
        "task_id": ids.astype(np.int64) if is_number else ids,
        "step": np.concatenate([np.arange(0), *(np.arange(1, count + 1) for count in steps)]),
    }
    lines = np.concatenate([np.empty((5, 0)), *(answer.lines for answer in all_answers.values())], axis=1)
    for name, line in zip(("mean", "lo80", "hi80", "lo95", "hi95"), lines, strict=True):
        columns[name] = pyarrow.array(line, mask=np.isnan(line))
    out.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(columns), out, compression="zstd")
    limited = [task for task in tasks if task.limit is not None and task.task_id in answers]
    unlimited = [one for one in refused if one.is_limited]
    write_crossings(limited, answers, unlimited, out.with_suffix(".crossing.csv"))
    write_reasons(refused, out.with_suffix(".refused.csv"))
    print(f"{len(answers)} tasks forecast, {len(refused)} refused, {len(limited)} with a limit: {out}")


def write_reasons(refused: list[Refused], out: Path) -> None:
    """Write why tasks have no forecast; where all have one there is no such file."""
    out.unlink(missing_ok=True)
    if not refused:
        return
    with out.open("w", newline="") as file:
        csv.writer(file).writerows([["task_id", "reason"], *([one.task_id, one.reason] for one in refused)])
    for one in refused:
        print(f"task {one.task_id}: {one.reason}", file=sys.stderr)


def write_crossings(tasks: list[Task], answers: dict[str, Answer], refused: list[Refused], out: Path) -> None:
    """Write dates and probabilities of crossing; a date is empty where nothing crosses, all of a refused task."""
    out.unlink(missing_ok=True)
    if not tasks and not refused:
        return
    rows: list[list[str]] = []
    for task in tasks:
        dates = answers[task.task_id].dates
        assert dates is not None
        start = task.first.astype("datetime64[D]")
        cells = ["" if day is None else str(start + np.timedelta64(day - 1, "D")) for day in dates.days()]
        rows.append([task.task_id, f"{dates.probability:.4f}", *cells])
    rows += [[one.task_id, *[""] * (len(CROSSING) - 1)] for one in refused]
    with out.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([CROSSING, *rows])
