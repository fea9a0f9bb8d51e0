"""Forecasts tasks with ours."""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.forecast.answers import Answer, Dates
from benchmarks.forecast.tasks import SEARCH_DAYS, Task
from domain.crossing import Crossing, find_crossing
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
        forecast = longer if isinstance(longer, Forecast) else forecast
    return dates_of(find_crossing(forecast, limit=task.limit, days=SEARCH_DAYS), forecast.start)


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
