"""Compare forecasts with their rivals: `python -m benchmarks.forecast [--data DIR] [--sample N]`.

Prints accuracy and coverage per group, crossings, error after an outage, and what each forecaster costs. `python -m
benchmarks.forecast predict --data DIR --tasks TASKS.csv --out PREDICTIONS.parquet` forecasts tasks made elsewhere with
ours alone. One thread; pyarrow is fetched where it is lacking.
"""

import argparse
import os
import sys
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy is imported anywhere

DATA = Path("..") / "shared" / "capacity-data"


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the series (parquet)")
    parser.add_argument("--tasks", type=Path, help="the tasks; default DATA/tasks.csv")
    parser.add_argument("--sample", type=int, metavar="N", help="only N tasks of each group")
    parser.add_argument("--ours-only", action="store_true", help="leave the rivals out")
    commands = parser.add_subparsers(dest="command")
    predict = commands.add_parser("predict", help="forecast tasks made elsewhere, with ours alone")
    predict.add_argument("--data", type=Path, required=True)
    predict.add_argument("--tasks", type=Path, required=True)
    predict.add_argument("--out", type=Path, required=True)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Predict or compare."""
    given = parse(sys.argv[1:] if words is None else words)
    from benchmarks.forecast.tasks import read_tasks, sample

    if not given.data.is_dir():
        raise SystemExit(f"No folder {given.data}. Name the one with the series: --data DIR")
    tasks, refused = read_tasks(given.data, given.tasks or given.data / "tasks.csv")
    if given.command == "predict":
        from benchmarks.forecast.ours import write_predictions

        write_predictions(tasks, refused, given.out)
        return
    if refused:
        raise SystemExit("\n".join(f"Task {one.task_id}: {one.reason}" for one in refused))
    from benchmarks.forecast.compare import compare

    compare(sample(tasks, given.sample), ours_only=given.ours_only)


if __name__ == "__main__":
    main()
