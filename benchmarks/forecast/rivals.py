"""Gives the rivals an environment of their own and runs them on the same tasks."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.forecast.answers import Answer, Dates
from benchmarks.forecast.tasks import MEAN_DAYS, SEARCH_DAYS, Task
from domain.series import Array

HERE = Path(__file__).parent
LOCK = HERE / "rivals.txt"
NAMES = ("statsforecast", "prophet", "predict_linear")
ONE_THREAD = {key: "1" for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}


def rivals_python() -> Path:
    """Return the interpreter of the rivals' environment; make it where it is missing or its lock changed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / "slipway" / "benchmarks" / f"forecast-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        print(f"Making the rivals' environment in {folder} (once, a minute or two)", flush=True)
        venv.create(folder, clear=True, with_pip=False)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "-q",
            "--require-hashes",
            "-r",
            str(LOCK),
        ]
        subprocess.run(pip, check=True)
        (folder / "installed").touch()
    return python


def run_rival(name: str, tasks: list[Task]) -> tuple[dict[str, Answer], dict[str, Any]]:
    """Run one rival in its own process: its answers by task, and what it cost."""
    with tempfile.TemporaryDirectory(prefix="slipway-rivals-") as folder:
        given, taken = Path(folder) / "tasks.npz", Path(folder) / "answers.npz"
        arrays: dict[str, Any] = {f"values_{i}": task.values for i, task in enumerate(tasks)}
        arrays |= {f"times_{i}": task.times for i, task in enumerate(tasks)}
        np.savez(
            given,
            daily=[task.step_s == 86400 for task in tasks],
            horizon=[task.horizon for task in tasks],
            limited=[task.limit is not None for task in tasks],
            **arrays,
        )
        command = [str(rivals_python()), str(HERE / "rival_worker.py"), name, str(given), str(taken)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD})
        said = np.load(taken)
        lines = {i: said[f"lines_{i}"] for i in range(len(tasks)) if f"lines_{i}" in said}
    answers = {tasks[i].task_id: answer_of(tasks[i], found) for i, found in lines.items()}
    return answers, json.loads(done.stdout.splitlines()[-1])


def answer_of(task: Task, lines: Array) -> Answer:
    """Read a rival's crossing off its lines: the mean's and the bounds' first passage."""
    if task.limit is None:
        return Answer(lines, None)
    median, lo80, hi80, lo95, hi95 = (passage(task, line) for line in (lines[0], *lines[[2, 1, 4, 3]]))
    return Answer(lines[:, : task.horizon], Dates(float(median is not None), median, lo80, hi80, lo95, hi95))


def passage(task: Task, line: Array) -> int | None:
    """Find the day on which the trailing weekly mean of past and line reaches the limit."""
    assert task.limit is not None
    per_day = 86400 // task.step_s
    width = MEAN_DAYS * per_day
    joined = np.concatenate([task.values[-(width - 1) :], line[: SEARCH_DAYS * per_day]])
    means = np.convolve(joined, np.ones(width) / width, "valid")
    hits = np.flatnonzero(means >= task.limit)
    return int(hits[0]) // per_day + 1 if len(hits) else None
