"""Forecasts tasks with ours."""

import csv
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.forecast.answers import Answer, Dates
from benchmarks.forecast.tasks import MEAN_DAYS, SEARCH_DAYS, Task
from domain.crossing import Crossing, chance_of, find_crossing, scores_above
from domain.forecast import Forecast, forecast_all

DAY_S = 86400


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


def write_predictions(tasks: list[Task], out: Path) -> None:
    """Forecast tasks and write PREDICTIONS.parquet; where tasks have limits also PREDICTIONS.crossing.csv beside it."""
    import pyarrow
    import pyarrow.parquet as parquet

    answers, refused = forecast_tasks(tasks)
    for task_id, reason in refused.items():
        print(f"task {task_id}: {reason}", file=sys.stderr)
    if refused:  # no data is no forecast, and a reason
        rows = [["task_id", "reason"], *([task_id, reason] for task_id, reason in refused.items())]
        with out.with_suffix(".refused.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    known = [task for task in tasks if task.task_id in answers]
    steps = [answers[task.task_id].lines.shape[1] for task in known]
    ids = np.repeat([task.task_id for task in known], steps) if known else np.array([], dtype=str)
    columns = {
        "task_id": ids.astype(np.int64) if all(task.task_id.isdigit() for task in tasks) else ids,
        "step": np.concatenate([np.arange(1, count + 1) for count in steps]) if steps else np.array([], dtype=np.int64),
    }
    for i, name in enumerate(("mean", "lo80", "hi80", "lo95", "hi95")):
        lines = [answers[task.task_id].lines[i] for task in known]
        columns[name] = np.concatenate(lines) if lines else np.array([], dtype=float)
    parquet.write_table(pyarrow.table(columns), out, compression="zstd")
    limited = [task for task in known if task.limit is not None]
    if limited:
        write_crossings(limited, answers, out.with_suffix(".crossing.csv"))
    print(f"{len(known)} tasks forecast, {len(refused)} refused, {len(limited)} with a limit: {out}")


def write_crossings(tasks: list[Task], answers: dict[str, Answer], out: Path) -> None:
    """Write dates and probabilities of crossing; a date is empty where nothing crosses."""
    rows = ["task_id,probability,date_median,date_lo80,date_hi80,date_lo95,date_hi95"]
    for task in tasks:
        dates = answers[task.task_id].dates
        assert dates is not None
        start = task.first.astype("datetime64[D]")
        cells = ["" if day is None else str(start + np.timedelta64(day - 1, "D")) for day in dates.days()]
        rows.append(",".join([task.task_id, f"{dates.probability:.4f}", *cells]))
    out.write_text("\n".join(rows) + "\n")
