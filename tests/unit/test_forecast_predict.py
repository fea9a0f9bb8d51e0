"""`python -m benchmarks.forecast predict`: tasks made elsewhere, of every kind, in the formats that were agreed."""

import csv
import itertools
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet as parquet
import pytest

from benchmarks.forecast.__main__ import main
from benchmarks.forecast.arrow import LOCK, locked_lines

DAYS, HOURS = np.arange(300.0), np.arange(900.0)
GENERATOR = np.random.default_rng(4)
KINDS: dict[str, tuple[np.ndarray, str, int, str]] = {
    "growth": (100 + 2 * DAYS + GENERATOR.normal(0, 1, 300), "D", 90, "800"),
    "far": (100 + 2 * DAYS + GENERATOR.normal(0, 1, 300), "D", 90, "99999"),
    "gaps": (np.where(GENERATOR.random(300) < 0.3, np.nan, 10 + DAYS), "D", 90, "400"),
    "constant": (np.full(200, 7.0), "D", 30, "10"),
    "load": (100 + HOURS / 10 + 20 * np.sin(HOURS * 2 * np.pi / 24), "h", 336, "210"),
    "unlimited": (GENERATOR.random(200), "h", 168, ""),
    "short": (np.arange(5.0), "D", 90, "9"),
    "nothing": (np.full(100, np.nan), "D", 90, "9"),
    "huge": (1e300 * (1 + DAYS), "D", 90, ""),
    "unread": (DAYS, "D", 90, "full"),
    "unknown": (DAYS, "D", 90, ""),
}
REFUSED = {"short", "nothing", "huge", "unread", "unknown"}


@pytest.fixture
def predicted(tmp_path: Path) -> Path:
    columns: dict[str, list[object]] = {"unique_id": [], "ds": [], "y": []}
    with (tmp_path / "tasks.csv").open("w", newline="") as file:
        names = ["task_id", "group", "file", "unique_id", "freq"]
        names += ["train_start", "cutoff_first_forecast_ts", "train_len", "horizon", "limit"]
        writer = csv.writer(file)
        writer.writerow(names)
        for name, (values, freq, horizon, limit) in KINDS.items():
            step = np.timedelta64(86400 if freq == "D" else 3600, "s")
            times = np.datetime64("2025-01-01T00:00:00") + np.arange(len(values) + 1) * step
            columns["unique_id"] += ["another" if name == "unknown" else name] * len(values)
            columns["ds"] += times[:-1].astype("datetime64[us]").tolist()
            columns["y"] += values.tolist()
            writer.writerow([name, "made", "made/other", name, freq, times[0], times[-1], len(values), horizon, limit])
    parquet.write_table(pyarrow.table(columns), tmp_path / "made.parquet")
    main(
        [
            "predict",
            "--data",
            str(tmp_path),
            "--tasks",
            str(tmp_path / "tasks.csv"),
            "--out",
            str(tmp_path / "P.parquet"),
        ]
    )
    return tmp_path


def test_each_task_has_its_steps_in_order_within_its_bounds(predicted: Path):
    table = parquet.read_table(predicted / "P.parquet")
    assert table.column_names == ["task_id", "step", "mean", "lo80", "hi80", "lo95", "hi95"]
    rows = {name: table.filter(pyarrow.compute.equal(table["task_id"], name)) for name in KINDS}
    for name, (_, _, horizon, _) in KINDS.items():
        steps = rows[name]["step"].to_pylist()
        assert steps == list(range(1, horizon + 1)), name
        assert rows[name]["mean"].null_count == (horizon if name in REFUSED else 0), name
    table = table.filter(pyarrow.compute.is_valid(table["mean"]))
    lines = [table[name].to_numpy() for name in ("lo95", "lo80", "mean", "hi80", "hi95")]
    assert all(np.isfinite(line).all() for line in lines)
    assert all((low <= high + 1e-9).all() for low, high in itertools.pairwise(lines))


def test_limits_have_probabilities_and_dates_that_are_empty_where_nothing_crosses(predicted: Path):
    with (predicted / "P.crossing.csv").open() as file:
        rows = {row["task_id"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"growth", "far", "gaps", "constant", "load", *REFUSED} - {"huge", "unknown"}
    assert all(not any(list(rows[name].values())[1:]) for name in ("short", "nothing", "unread"))
    dates = [f"date_{name}" for name in ("median", "lo80", "hi80", "lo95", "hi95")]
    assert list(rows["growth"]) == ["task_id", "probability", *dates]
    assert "2025-12-05" <= rows["growth"]["date_median"] <= "2026-01-10"  # 50 days after its end
    assert "2025-02-14" <= rows["load"]["date_median"] <= "2025-02-22"
    assert (
        rows["far"]["date_median"] == rows["constant"]["date_median"] == "" and float(rows["far"]["probability"]) < 0.2
    )


def test_what_cannot_be_forecast_has_its_reason(predicted: Path):
    with (predicted / "P.refused.csv").open() as file:
        reasons = {row["task_id"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == REFUSED and "only 5 steps" in reasons["short"]
    assert "No series 'unknown'" in reasons["unknown"] and "limit 'full' is no number" in reasons["unread"]
    assert "not one usable sample" in reasons["huge"]


def test_a_file_without_the_columns_says_which_it_lacks(tmp_path: Path):
    (tmp_path / "tasks.csv").write_text("task_id,group\n1,made\n")
    given = ["predict", "--data", str(tmp_path), "--tasks", str(tmp_path / "tasks.csv"), "--out", str(tmp_path / "P")]
    with pytest.raises(SystemExit, match="has no column file, unique_id, freq, cutoff_first_forecast_ts, horizon"):
        main(given)


def test_the_lock_of_the_data_environment_names_the_pyarrow_that_predict_fetches_by_hash():
    locked = locked_lines(LOCK.read_text(), "pyarrow").splitlines()
    assert locked[0].startswith("pyarrow==") and len(locked) > 1
    assert all("--hash=sha256:" in line for line in locked[1:])
