"""How long `capacity` takes for a thousand resources: `python -m benchmarks.capacity [--resources N]`.

Half of them pile up (a year of days), half come and go (eight weeks of hours, and their days). On a throw-away
PostgreSQL with the stack's durability, through the same tasks as a scheduled run: read, forecast, keep; then the page
with its twenty plots. One thread; imports are done before the clock starts.
"""

import argparse
import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy is imported anywhere

import numpy as np  # noqa: E402
import psycopg  # noqa: E402

from benchmarks.ledger.__main__ import durable_server  # noqa: E402
from blocks.clock import MemoryClock  # noqa: E402
from blocks.ledger_schema import install_schema  # noqa: E402
from blocks.memory_usage_source import MemoryUsageSource  # noqa: E402
from blocks.memory_world import MemoryWorld  # noqa: E402
from blocks.outlook_store_postgres import PostgresOutlookStore  # noqa: E402
from blocks.postgres_session import PostgresSession  # noqa: E402
from blocks.usage_store_postgres import PostgresUsageStore  # noqa: E402
from blocks.world import use_world  # noqa: E402
from domain.limits import Limit  # noqa: E402
from domain.series import DAY_S, HOUR_S  # noqa: E402
from domain.usage import Metric, Resource  # noqa: E402
from tasks.outlook import forecast_usage, publish_page  # noqa: E402
from tasks.recording import without_engine  # noqa: E402

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAYS, HOURS = 365, 1344
RUN_S_MAX, PAGE_S_MAX = 5.0, 10.0


def series_of(number: int, generator: np.random.Generator) -> tuple[Resource, float, dict[int, np.ndarray]]:
    """One made-up resource: what it is, its limit, and its values by step."""
    if number % 2:
        walk = 1e9 * (5 + generator.gamma(2, 0.02, DAYS).cumsum())
        return Resource(Metric.DISK, f"db{number:04}", "/"), float(walk[-1] * generator.uniform(1.05, 4)), {DAY_S: walk}
    hours = np.arange(HOURS)
    load = 4 + 2 * np.sin(hours * 2 * np.pi / 24) + np.sin(hours * 2 * np.pi / 168) + generator.normal(0, 0.3, HOURS)
    load = load.clip(0.01)
    return Resource(Metric.CPU, f"web{number:04}"), 12.0, {HOUR_S: load, DAY_S: load.reshape(-1, 24).mean(axis=1)}


def fill(url: str, count: int) -> list[Limit]:
    """Put the past of so many resources into the tables, past the adapter; returns their limits."""
    generator = np.random.default_rng(11)
    midnight = NOW.replace(hour=0)
    limits: list[Limit] = []
    with psycopg.connect(url, autocommit=True) as connection:
        made = [series_of(number, generator) for number in range(count)]
        keys = [resource.key for resource, _, _ in made]
        connection.execute("INSERT INTO usage.resource (key, source) SELECT unnest(%s::text[]), 'memory:main'", (keys,))
        ids = dict(connection.execute("SELECT key, id FROM usage.resource").fetchall())
        statement = "COPY usage.stretch (resource, step_s, at, mean, maximum, last, count) FROM STDIN"
        with connection.cursor().copy(statement) as copy:
            for resource, limit, by_step in made:
                limits.append(Limit(resource, limit, "made up"))
                for step_s, values in by_step.items():
                    begin = midnight - timedelta(seconds=step_s * len(values))
                    for n, value in enumerate(values.tolist()):
                        at = begin + timedelta(seconds=step_s * n)
                        copy.write_row((ids[resource.key], step_s, at, value, value, value, 60))
        connection.execute("ANALYZE")
    return limits


def measure(url: str, count: int) -> bool:
    """Run twice, as the second run also compares with the first; print both; whether the goals were met."""
    session = PostgresSession(url)
    world = MemoryWorld(
        clock=MemoryClock(NOW),
        usage_store=PostgresUsageStore(session),  # pyright: ignore[reportArgumentType]
        outlooks=PostgresOutlookStore(session),  # pyright: ignore[reportArgumentType]
        measuring=[MemoryUsageSource(known_limits=fill(url, count))],
    )
    use_world(lambda: world)
    is_met = True
    with without_engine():
        for run in ("first", "second"):
            begun, cpu = time.perf_counter(), time.process_time()
            outcome = forecast_usage(run)
            forecast_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
            begun = time.perf_counter()
            publish_page(run)
            page_s = time.perf_counter() - begun
            largest = max(len(text[-1].encode()) for text in world.screen.reports.values())
            plots = sum(text[-1].count("data:image/svg+xml") for text in world.screen.reports.values())
            print(
                f"{run} run: {outcome['resources']} resources forecast and kept in {forecast_s:.2f} s"
                f" ({cpu_s:.2f} s of it ours), {outcome['near']} near; page with {plots} plots in {page_s:.2f} s,"
                f" {len(world.screen.reports)} artifacts of at most {largest / 1000:.0f} kB"
            )
            is_met = is_met and forecast_s < RUN_S_MAX and forecast_s + page_s < PAGE_S_MAX
    session.close()
    return is_met


def main() -> int:
    """Measure, and end with 1 where a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--resources", type=int, default=1000)
    given = parser.parse_args()
    # not below a folder that others may not enter: the server runs as a user of its own
    with tempfile.TemporaryDirectory(prefix="slipway-capacity-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        with durable_server(Path(name)) as url:
            install_schema(url)
            is_met = measure(url, given.resources)
    verdict = "met" if is_met else "missed"
    print(f"goals, forecast and kept below {RUN_S_MAX:g} s and with the page below {PAGE_S_MAX:g} s: {verdict}")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
