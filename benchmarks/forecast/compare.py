"""Runs ours and the rivals on the same tasks and prints the tables."""

import dataclasses
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.forecast import measure
from benchmarks.forecast.answers import Answer
from benchmarks.forecast.ours import forecast_tasks
from benchmarks.forecast.rivals import NAMES, run_rival
from benchmarks.forecast.tasks import Task

IMPORT = """
import json, pathlib, resource, time
mb = lambda: int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
before, begun = mb(), time.perf_counter()
import domain.crossing
print(json.dumps({"import_s": time.perf_counter() - begun, "import_mb": mb() - before}))
"""


def compare(tasks: list[Task], *, ours_only: bool) -> None:
    """Run everybody and print everything."""
    answers, costs = {}, {}
    answers["ours"], costs["ours"] = run_ours(tasks)
    for name in () if ours_only else NAMES:
        print(f"running {name} on {len(tasks)} tasks", flush=True)
        answers[name], costs[name] = run_rival(name, tasks)
    print_accuracy(tasks, answers)
    print_coverage(tasks, answers)
    print_crossings(tasks, answers)
    print_outage(tasks, answers["ours"])
    print_costs(costs)


def run_ours(tasks: list[Task]) -> tuple[dict[str, Answer], dict[str, Any]]:
    """Run ours, timed by kind of series; the first call warms up."""
    forecast_tasks(tasks[:2])
    answers: dict[str, Answer] = {}
    cpu_ms: dict[str, float | None] = {"hourly": None, "daily": None}
    for kind, step_s in (("hourly", 3600), ("daily", 86400)):
        part = [task for task in tasks if task.step_s == step_s]
        if not part:
            continue
        start = time.process_time()
        made, refused = forecast_tasks(part)
        cpu_ms[kind] = 1000 * (time.process_time() - start) / len(part)
        answers |= made
        for task_id, reason in refused.items():
            print(f"ours: task {task_id}: {reason}", file=sys.stderr)
    done = subprocess.run([sys.executable, "-c", IMPORT], check=True, stdout=subprocess.PIPE, text=True)
    return answers, {**json.loads(done.stdout), "cpu_ms": cpu_ms}


def groups_of(tasks: list[Task]) -> list[str]:
    """List the groups in the order of the tasks."""
    return list(dict.fromkeys(task.group for task in tasks))


def print_row(*cells: object) -> None:
    """Print one row of a markdown table."""
    print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |")


def print_head(title: str, *cells: str) -> None:
    """Print a title and a table's head."""
    print(f"\n{title}\n")
    print_row(*cells)
    print_row(*["---"] * len(cells))


def print_accuracy(tasks: list[Task], answers: dict[str, dict[str, Answer]]) -> None:
    """Print errors relative to the seasonal naive forecast, geometric mean over tasks."""
    print_head("Mean absolute error over that of the seasonal naive forecast", "group", "tasks", *answers)
    for group in groups_of(tasks):
        part = [task for task in tasks if task.group == group]
        print_row(group, len(part), *(measure.accuracy(part, said) for said in answers.values()))
    print_row("**all tasks**", len(tasks), *(measure.accuracy(tasks, said) for said in answers.values()))
    each = [
        [measure.accuracy([task for task in tasks if task.group == group], said) for group in groups_of(tasks)]
        for said in answers.values()
    ]
    print_row("all groups alike", "", *(measure.geometric_mean(found) for found in each))


def print_coverage(tasks: list[Task], answers: dict[str, dict[str, Answer]]) -> None:
    """Print what share of the truth lay within the bounds."""
    print_head("Within the 80 % / 95 % bounds, per cent", "group", *answers)
    for group in groups_of(tasks):
        part = [task for task in tasks if task.group == group]
        shares = [measure.coverage(part, said) for said in answers.values()]
        print_row(group, *("none" if np.isnan(a) else f"{100 * a:.0f} / {100 * b:.0f}" for a, b in shares))


def print_crossings(tasks: list[Task], answers: dict[str, dict[str, Answer]]) -> None:
    """Print how dates of crossing came true."""
    limited = [task for task in tasks if task.limit is not None]
    if not limited:
        return
    print_head(
        "Crossings, searched to 180 days", "tasks", "forecaster", "scored", "date error, median days",
        "warned > 14 d ahead", "false, of alarms", "false, of quiet", "Brier", "Brier of the base rate", "within 80 %",
    )  # fmt: skip
    for group in [*groups_of(limited), "all"]:
        part = [task for task in limited if group in ("all", task.group)]
        for name, said in answers.items():
            print_row(group, name, *dataclasses.astuple(measure.score_crossings(part, said)))


def print_outage(tasks: list[Task], clean: dict[str, Answer]) -> None:
    """Print how ours errs when the last three days of training read nought, relative to the clean error."""
    print_head(
        "Ours after an outage in the last three days: error over the clean error", "group", "values nought", "a third"
    )
    for group in groups_of(tasks):
        part = [task for task in tasks if task.group == group]
        base = measure.accuracy(part, clean)
        print_row(group, *(measure.accuracy(part, forecast_tasks(with_outage(part, f))[0]) / base for f in (0.0, 0.33)))


def with_outage(tasks: list[Task], factor: float) -> list[Task]:
    """Damage the last three days of training."""
    damaged: list[Task] = []
    for task in tasks:
        values = task.values.copy()
        values[-3 * 86400 // task.step_s :] *= factor
        damaged.append(dataclasses.replace(task, values=values))
    return damaged


def print_costs(costs: dict[str, dict[str, Any]]) -> None:
    """Print CPU, import time and memory."""
    print_head("Cost, one thread", "forecaster", "CPU ms a series: hourly", "daily", "import s", "import MB")
    for name, cost in costs.items():
        print_row(
            name, *(cost["cpu_ms"][kind] or 0.0 for kind in ("hourly", "daily")), cost["import_s"], cost["import_mb"]
        )
