"""What clean-up costs: `python -m benchmarks cleanup [--full | --rows=N]`.

Deletes 100,000 of 500,000 rows; --full 1,000,000 of 5,000,000; --rows=N of five times as many.

On a throw-away PostgreSQL that writes durably, as in the stack. Everything is compared within one run: a paced clean-up
with the load before and after it, unpaced batches with one DELETE, dropping partitions with one DELETE (time, and WAL
less what the load would have written). Goals: p99 at most 1.1 times, batches at most 4 times, partitions at most 0.1
times the time and 0.02 times the WAL.
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.ledger.__main__ import durable_server
from blocks.rows_postgres import PostgresRows
from domain.cleanup import next_pause
from domain.cleanup_policy import CleanupPart
from domain.ports_cleanup import Expired, Key

NOW = datetime(2026, 7, 1, tzinfo=UTC)
RATE_PER_S = 60
WATCH_S = 8.0
ROUNDS = 3


@dataclass
class Load:
    """A user that reads and writes rows of today at a fixed rate, and remembers how long each answer took."""

    url: str
    table: str
    seconds: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    _done: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Generator["Load"]:
        user = threading.Thread(target=self._use)
        user.start()
        try:
            yield self
        finally:
            self._done.set()
            user.join()

    def _use(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            due = time.perf_counter()
            number = 0
            while not self._done.wait(max(0.0, due - time.perf_counter())):
                number += 1
                # measured from when it was due: a user who waits in a queue waits all the same
                connection.execute(
                    f"UPDATE {self.table} SET filler = %s WHERE id = %s",  # type: ignore[arg-type]
                    (str(number) * 8, -1 - number % 1000),
                )
                self.seconds.append((due, time.perf_counter() - due))
                due += 1 / RATE_PER_S

    def p99(self, begun: float, ended: float) -> float:
        within = [took for at, took in self.seconds if begun <= at <= ended]
        return statistics.quantiles(within, n=100)[98]


def policy(table: str, **more: Any) -> CleanupPart:
    given = {"name": "x", "table": table, "age_column": "at", "older_than_days": 180, "pause_ms": 0, **more}
    return CleanupPart.model_validate({"batch_rows": 5000, "rows_max": 10**9, **given})


def expired(one: CleanupPart) -> Expired:
    return Expired(one, NOW - timedelta(days=one.older_than_days))


def fill(url: str, table: str, rows: int, expired_rows: int, *, partitioned: bool = False) -> None:
    """Rows of this year and of the last one, and a thousand of today that users work on."""
    with psycopg.connect(url, autocommit=True) as connection:
        run: Callable[[str], Any] = connection.execute  # type: ignore[assignment]
        run(f"DROP TABLE IF EXISTS {table}")
        key, how = ("(id, at)", " PARTITION BY RANGE (at)") if partitioned else ("(id)", "")
        run(f"CREATE TABLE {table} (id bigint, at timestamptz NOT NULL, filler text, PRIMARY KEY {key}){how}")
        if partitioned:
            run(f"CREATE TABLE {table}_old PARTITION OF {table} FOR VALUES FROM ('2025-01-01') TO ('2025-07-01')")
            run(f"CREATE TABLE {table}_new PARTITION OF {table} FOR VALUES FROM ('2025-07-01') TO ('2027-01-01')")
        run(f"CREATE INDEX ON {table} (at)")
        old = (
            f"SELECT n, '2025-01-01'::timestamptz + n * interval '1 s', repeat('x', 60) "
            f"FROM generate_series(1, {expired_rows}) n"
        )
        new = (
            f"SELECT n, '2026-03-01'::timestamptz + n * interval '1 s', repeat('x', 60) "
            f"FROM generate_series({expired_rows + 1}, {rows}) n"
        )
        users = "SELECT -n, '2026-06-30', repeat('x', 60) FROM generate_series(1, 1000) n"
        for part in (old, new, users):
            run(f"INSERT INTO {table} {part}")
        run(f"VACUUM ANALYZE {table}")
        run("CHECKPOINT")


def wal_bytes(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
        return int(row[0]) if row else 0


def walk(rows: PostgresRows, what: Expired, *, paced: bool) -> None:
    """Batch by batch, as the task does."""
    one, after, pause_s = what.policy, None, what.policy.pause_ms / 1000
    baseline_s = rows.load().latency_s
    while True:
        batch = rows.delete_batch(what, after=after, rows=one.batch_rows)
        after: Key | None = batch.last
        if after is None:
            return
        if paced:
            pause_s = next_pause(
                pause_s,
                rows.load(),
                baseline_s=baseline_s,
                least_s=one.pause_ms / 1000,
                latency_ratio_max=one.latency_ratio_max,
                replica_lag_s_max=one.replica_lag_s_max,
            )
            time.sleep(pause_s)


def delete_at_once(url: str, table: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        cutoff = NOW - timedelta(days=180)
        connection.execute(f"DELETE FROM {table} WHERE at < %s", (cutoff,))  # type: ignore[arg-type]


def timed(work: Callable[[], None], url: str) -> tuple[float, int]:
    before, begun = wal_bytes(url), time.perf_counter()
    work()
    return time.perf_counter() - begun, wal_bytes(url) - before


def drop(rows: PostgresRows, what: Expired) -> None:
    for one in rows.pending_partitions(what):
        rows.drop_partition(what, one)


def _rows(url: str) -> PostgresRows:
    return PostgresRows(lambda: url)


def compare_ways(url: str, count: int) -> None:
    """One DELETE, unpaced batches, partitions: in turn, without a load."""
    found: dict[str, list[tuple[float, int]]] = {"DELETE": [], "batches": [], "partitions": []}
    for _ in range(ROUNDS):
        fill(url, "plain", 5 * count, count)
        found["DELETE"].append(timed(lambda: delete_at_once(url, "plain"), url))
        fill(url, "plain", 5 * count, count)
        found["batches"].append(timed(lambda: walk(_rows(url), expired(policy("plain")), paced=False), url))
        fill(url, "parted", 5 * count, count, partitioned=True)
        found["partitions"].append(timed(lambda: drop(_rows(url), expired(policy("parted"))), url))
    for name, measured in found.items():
        pairs = list(zip(measured, found["DELETE"], strict=True))
        time_ratio = statistics.median(mine[0] / whole[0] for mine, whole in pairs)
        wal_ratio = statistics.median(mine[1] / whole[1] for mine, whole in pairs)
        seconds = statistics.median(mine[0] for mine in measured)
        print(
            f"{name}: {count:,} rows in {seconds:.2f} s; / DELETE: time {time_ratio:.3f}, WAL {wal_ratio:.4f}",
            flush=True,
        )


def compare_load(url: str, count: int) -> None:
    """The p99 of users while a paced clean-up works, against before and after it."""
    ratios: list[float] = []
    for _ in range(ROUNDS):
        fill(url, "plain", 5 * count, count)
        rows = _rows(url)
        with Load(url, "plain").running() as load:
            time.sleep(WATCH_S)
            begun = time.perf_counter()
            walk(rows, expired(policy("plain", batch_rows=1000, pause_ms=50)), paced=True)
            ended = time.perf_counter()
            time.sleep(WATCH_S)
        rows.close()
        around = statistics.mean([load.p99(begun - WATCH_S, begun), load.p99(ended, ended + WATCH_S)])
        ratios.append(load.p99(begun, ended) / around)
        told = f"p99 {load.p99(begun, ended) * 1000:.1f} ms, around it {around * 1000:.1f} ms"
        print(f"paced: {ended - begun:.1f} s, {told}", flush=True)
    print(f"paced clean-up: p99 / baseline {statistics.median(ratios):.2f} (median of {ROUNDS})", flush=True)


def main() -> None:
    count = 1_000_000 if "--full" in sys.argv else 100_000
    for word in sys.argv:
        if word.startswith("--rows="):
            count = int(word.removeprefix("--rows="))
    with tempfile.TemporaryDirectory(prefix="slipway-bench-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with durable_server(folder) as url:
            compare_ways(url, count)
            compare_load(url, count)


if __name__ == "__main__":
    main()
