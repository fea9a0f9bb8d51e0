"""Reads forecasting tasks and their series: the formats of the capacity study's data folder."""

import csv
import itertools
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast.arrow import provide_pyarrow
from domain.series import Array, Kind, Series

STEPS_S = {"h": 3600, "H": 3600, "D": 86400, "d": 86400}
SEARCH_DAYS = 180
MEAN_DAYS = 7
STEPS_MAX = 100_000
NEEDED = ("task_id", "file", "unique_id", "freq", "cutoff_first_forecast_ts", "horizon")

Found = dict[tuple[str, str], tuple[NDArray[np.datetime64], Array]]


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


@dataclass(frozen=True, slots=True)
class Refused:
    """A task that can't be forecast, and why; it keeps its place in what is written."""

    task_id: str
    reason: str
    horizon: int
    is_limited: bool


class TaskError(ValueError):
    """One task is wrong; the others can go on."""


def read_series(data: Path, names: set[str]) -> Found:
    """Read whole files: times and values by file and series; a file that can't be read is told and left out."""
    provide_pyarrow()
    import pyarrow
    import pyarrow.parquet as parquet

    found: Found = {}
    for name in sorted(names):
        path = data / f"{name}.parquet"
        if not path.exists():
            continue
        try:
            table = parquet.read_table(path, columns=["unique_id", "ds", "y"])
            times = table["ds"].cast(pyarrow.timestamp("us"), safe=False).to_numpy().astype("datetime64[s]")
            values = table["y"].cast(pyarrow.float64(), safe=False).to_numpy().astype(float)
            ids = np.array(table["unique_id"].to_pylist(), dtype=str)
        except (pyarrow.ArrowException, KeyError, OSError) as exc:
            print(f"{path}: {str(exc)[:256]}. It needs the columns unique_id, ds (timestamp), y.", file=sys.stderr)
            continue
        known = ~np.isnat(times)
        found |= {(name, key): series for key, series in split(ids[known], times[known], values[known])}
    return found


def split(
    ids: NDArray[np.str_], times: NDArray[np.datetime64], values: Array
) -> Iterable[tuple[str, tuple[NDArray[np.datetime64], Array]]]:
    """Split long columns into series, each sorted by time."""
    order = np.lexsort((times, ids))
    ids, times, values = ids[order], times[order], values[order]
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.array([], dtype=int)
    for a, b in itertools.pairwise([*starts, len(ids)]):
        yield str(ids[a]), (times[a:b], values[a:b])


def file_names(cell: str) -> list[str]:
    """Split `hourly_demand/hourly_nab` (with or without endings): the series is in one of them."""
    return [name.removesuffix(".parquet") for name in cell.split("/")]


def read_tasks(data: Path, tasks: Path) -> tuple[list[Task], list[Refused]]:
    """Read all tasks of a CSV: those that can be tried, and those that are wrong with the reason.

    Raises:
        SystemExit: the file is missing or lacks a column that every task needs.
    """
    try:
        with tasks.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            rows = [{name: value or "" for name, value in row.items() if name} for row in reader]
            names = reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise SystemExit(f"Can't read the tasks: {exc}. Name a CSV with the columns {', '.join(NEEDED)}.") from None
    if missing := [name for name in NEEDED if name not in names]:
        raise SystemExit(f"{tasks} has no column {', '.join(missing)}. It needs: {', '.join(NEEDED)}.")
    series = read_series(data, {name for row in rows for name in file_names(row["file"])})
    made: dict[str, Task] = {}
    refused: list[Refused] = []
    for row in rows:
        task_id = row["task_id"]
        if task_id in made:
            print(f"Task {task_id} stands twice; only the first one is forecast.", file=sys.stderr)
            continue
        try:
            made[task_id] = make_task(row, series)
        except TaskError as exc:
            refused.append(Refused(task_id, str(exc), read_steps(row["horizon"]) or 0, row.get("limit", "") != ""))
    return list(made.values()), refused


def make_task(row: dict[str, str], series: Found) -> Task:
    """Cut one task out of its series.

    Raises:
        TaskError: a cell can't be read, or no file has the series.
    """
    found = [series[name, row["unique_id"]] for name in file_names(row["file"]) if (name, row["unique_id"]) in series]
    if not found:
        raise TaskError(f"No series '{row['unique_id']}' in {row['file']}. Check the name and --data.")
    if row["freq"] not in STEPS_S:
        raise TaskError(f"freq '{row['freq']}' is neither h nor D.")
    if (horizon := read_steps(row["horizon"])) is None:
        raise TaskError(f"horizon '{row['horizon']}' is no number of steps from 1 to {STEPS_MAX}.")
    times, values = found[0]
    first = read_moment(row["cutoff_first_forecast_ts"])
    begin = int(np.searchsorted(times, read_moment(row["train_start"]))) if row.get("train_start") else 0
    cut = int(np.searchsorted(times, first))
    step_s = STEPS_S[row["freq"]]
    limit = read_limit(row.get("limit", ""))
    per_day = STEPS_S["D"] // step_s
    ahead = values[cut : cut + SEARCH_DAYS * per_day]
    return Task(
        row["task_id"],
        row.get("group", ""),
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


def read_steps(text: str) -> int | None:
    """Read a number of steps, also written as 30.0; None where it is none, or none that can be forecast."""
    whole = text.strip().removesuffix(".0")
    return int(whole) if whole.isdecimal() and 1 <= int(whole) <= STEPS_MAX else None


def read_limit(text: str) -> float | None:
    """Read a limit; an empty cell or nan is none."""
    try:
        limit = float(text or "nan")
    except ValueError:
        raise TaskError(f"limit '{text}' is no number.") from None
    return None if np.isnan(limit) else limit


def read_moment(text: str) -> np.datetime64:
    """Read a moment as it is written, without a zone (then UTC) or with one."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise TaskError(f"'{text}' is no moment. Write it like 2026-03-02T00:00:00.") from None
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment, "s")


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
