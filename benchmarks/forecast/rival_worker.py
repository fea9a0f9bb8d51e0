"""Runs one rival over tasks, in the rivals' own environment: `python rival_worker.py RIVAL TASKS.npz OUT.npz`.

Imports nothing of ours. Prints one line of JSON: seconds and memory of the import, CPU seconds per kind of series.
"""

import json
import logging
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")
SEARCH_DAYS = 180


def megabytes():
    # not ru_maxrss: a child inherits its parent's peak
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def load_statsforecast():
    from statsforecast.models import MSTL, AutoETS

    def run(values, times, daily, horizon):
        seasons = [7] if daily else [24, 168] if len(values) >= 336 else [24]
        model = MSTL(season_length=seasons, trend_forecaster=AutoETS(model="ZZN"))
        model.fit(values)
        said = model.predict(h=horizon, level=[80, 95])
        return np.stack([said[key] for key in ("mean", "lo-80", "hi-80", "lo-95", "hi-95")])

    return run


def load_prophet():
    logging.getLogger("prophet.plot").disabled = True
    import pandas
    from prophet import Prophet

    logging.getLogger("cmdstanpy").disabled = True
    logging.getLogger("prophet").disabled = True

    def run(values, times, daily, horizon):
        step = times[1] - times[0]
        ahead = pandas.DataFrame({"ds": times[-1] + step * np.arange(1, horizon + 1)})
        lines = {}
        for width in (0.80, 0.95):
            model = Prophet(interval_width=width, uncertainty_samples=200)
            if width == 0.80:
                model.fit(pandas.DataFrame({"ds": times, "y": values}))
                fitted = model
            fitted.interval_width = width
            said = fitted.predict(ahead)
            lines[width] = said
        near, far = lines[0.80], lines[0.95]
        return np.stack([near.yhat, near.yhat_lower, near.yhat_upper, far.yhat_lower, far.yhat_upper])

    return run


def load_predict_linear():
    def run(values, times, daily, horizon):
        width = min(28 * (1 if daily else 24), len(values))
        slope, base = np.polyfit(np.arange(width) - width + 1, values[-width:], 1)
        line = base + slope * np.arange(1, horizon + 1)
        return np.stack([line, *[np.full(horizon, np.nan)] * 4])

    return run


RIVALS = {"statsforecast": load_statsforecast, "prophet": load_prophet, "predict_linear": load_predict_linear}


def fill(values):
    seen = np.flatnonzero(~np.isnan(values))
    return np.interp(np.arange(len(values)), seen, values[seen])


def main():
    name, tasks_path, out_path = sys.argv[1:]
    before, begun = megabytes(), time.perf_counter()
    run = RIVALS[name]()
    facts = {"import_s": time.perf_counter() - begun, "import_mb": megabytes() - before}
    tasks = np.load(tasks_path)
    answers, seconds = {}, {"hourly": [], "daily": []}
    for i, (daily, horizon, limited) in enumerate(zip(tasks["daily"], tasks["horizon"], tasks["limited"], strict=True)):
        values = fill(tasks[f"values_{i}"])
        times = tasks[f"times_{i}"].astype("datetime64[ns]")
        if i == 0:
            run(values, times, bool(daily), int(horizon))  # compiling and caches are not counted
        start = time.process_time()
        steps = max(int(horizon), SEARCH_DAYS * (1 if daily else 24)) if limited else int(horizon)
        try:
            answers[f"lines_{i}"] = run(values, times, bool(daily), steps)
        except (
            ValueError,
            RuntimeError,
            ArithmeticError,
            LookupError,
        ) as exc:  # a rival that gives up on a series is noted, not fatal
            print(f"{name}: task {i}: {exc!r}"[:200], file=sys.stderr)
        seconds["daily" if daily else "hourly"].append(time.process_time() - start)
    facts["cpu_ms"] = {kind: 1000 * float(np.mean(spent)) if spent else None for kind, spent in seconds.items()}
    np.savez(out_path, **answers)
    print(json.dumps(facts))


main()
