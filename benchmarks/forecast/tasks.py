"""Reads forecasting tasks and their series: the formats of the capacity study's data folder."""

import csv
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domain.series import Array, Kind, Series

STEPS_S = {"h": 3600, "H": 3600, "D": 86400, "d": 86400}
SEARCH_DAYS = 180
MEAN_DAYS = 7


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to forecast, and what came true as far as the data tell."""

    task_id: str
    group: str
    step_s: int
    horizon: int
    limit: float | None
    first: np.datetime64
    times: NDArray[np.datetime64]
    values: Array
    future: Array
    """At most `horizon` steps; empty where the data end at the cut-off."""
    crossing_day: int | None
    """The day (1 the first) on which the trailing weekly mean reached the limit, searched to 180 days."""
    days_known: int

    @property
    def season(self) -> int:
        """Steps of the season that the naive forecast repeats."""
        if self.step_s == STEPS_S["D"]:
            return 7
        return 168 if len(self.values) >= 336 else 24

    def series(self) -> Series:
        """Hand it to the forecaster as collecting would: what has a limit piles up."""
        kind = Kind.USAGE if self.limit is None else Kind.GROWTH
        return Series(self.task_id, self.times, self.values, "units", kind, self.step_s)


def read_series(data: Path, names: set[str]) -> dict[tuple[str, str], tuple[NDArray[np.datetime64], Array]]:
    """Read whole files: times and values by file and series.

    Raises:
        SystemExit: pyarrow is missing.
    """
    try:
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise SystemExit("Reading parquet needs pyarrow. Install it: .venv/bin/python -m pip install pyarrow") from None
    found: dict[tuple[str, str], tuple[NDArray[np.datetime64], Array]] = {}
    for name in sorted(names):
        path = data / f"{name}.parquet"
        if not path.exists():
            continue
        table = parquet.read_table(path, columns=["unique_id", "ds", "y"])
        ids = np.array(table["unique_id"].to_pylist(), dtype=str)
        times = table["ds"].to_numpy().astype("datetime64[s]")
        values = table["y"].to_numpy().astype(float)
        order = np.lexsort((times, ids))
        ids, times, values = ids[order], times[order], values[order]
        starts = [*np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]), len(ids)]
        for a, b in itertools.pairwise(starts):
            found[name, str(ids[a])] = (times[a:b], values[a:b])
    return found


def file_names(cell: str) -> list[str]:
    """Split `hourly_demand/hourly_nab` (with or without endings): the series is in one of them."""
    return [name.removesuffix(".parquet") for name in cell.split("/")]


def read_tasks(data: Path, tasks: Path) -> list[Task]:
    """Read all tasks of a CSV.

    Raises:
        SystemExit: a task names a series that no file has.
    """
    with tasks.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    series = read_series(data, {name for row in rows for name in file_names(row["file"])})
    return [make_task(row, series) for row in rows]


def make_task(row: dict[str, str], series: dict[tuple[str, str], tuple[NDArray[np.datetime64], Array]]) -> Task:
    """Cut one task out of its series."""
    found = [series[name, row["unique_id"]] for name in file_names(row["file"]) if (name, row["unique_id"]) in series]
    if not found:
        raise SystemExit(f"Task {row['task_id']}: no series '{row['unique_id']}' in {row['file']}. Check --data.")
    times, values = found[0]
    first, start = (read_moment(row[name]) for name in ("cutoff_first_forecast_ts", "train_start"))
    begin = int(np.searchsorted(times, start))
    cut = int(np.searchsorted(times, first))
    if row["freq"] not in STEPS_S:
        raise SystemExit(f"Task {row['task_id']}: freq '{row['freq']}' is neither h nor D.")
    step_s, horizon = STEPS_S[row["freq"]], int(row["horizon"])
    limit = float(row.get("limit") or "nan")
    limit = None if np.isnan(limit) else limit
    per_day = STEPS_S["D"] // step_s
    ahead = values[cut : cut + SEARCH_DAYS * per_day]
    return Task(
        row["task_id"],
        row["group"],
        step_s,
        horizon,
        limit,
        first,
        times[begin:cut],
        values[begin:cut],
        values[cut : cut + horizon],
        None if limit is None else find_day(values[begin:cut], ahead, limit, per_day),
        len(ahead) // per_day,
    )


def read_moment(text: str) -> np.datetime64:
    """Read a moment as it is written, without or with a Z."""
    return np.datetime64(text.strip().removesuffix("Z").removesuffix("+00:00")).astype("datetime64[s]")


def find_day(past: Array, ahead: Array, limit: float, per_day: int) -> int | None:
    """Find the day on which the trailing weekly mean first reaches the limit."""
    width = MEAN_DAYS * per_day
    joined = np.concatenate([past[-(width - 1) :], ahead])
    if len(joined) < width or not len(ahead):
        return None
    means = np.lib.stride_tricks.sliding_window_view(joined, width).mean(axis=1)
    hits = np.flatnonzero(means >= limit)
    return int(hits[0]) // per_day + 1 if len(hits) else None


def sample(tasks: list[Task], per_group: int | None) -> list[Task]:
    """Keep some tasks of each group, spread evenly."""
    if per_group is None:
        return tasks
    kept: list[Task] = []
    for group in dict.fromkeys(task.group for task in tasks):
        members = [task for task in tasks if task.group == group]
        kept += [
            members[i] for i in np.unique(np.linspace(0, len(members) - 1, min(per_group, len(members)), dtype=int))
        ]
    return kept
