"""What sources of usage promise, on the real parts: this machine, a PostgreSQL, a Prometheus with a node exporter."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import psutil
import psycopg
import pytest
from free_ports import free_ports

from blocks.usage_machine import MachineUsage
from blocks.usage_postgres import PostgresUsage
from blocks.usage_prometheus import PrometheusUsage
from domain.errors import ConfigError, TransientError
from domain.ports import UsageSource
from domain.usage import Interval, Metric, Resource, believable

NEEDED = ("prometheus", "prometheus-node-exporter")


def last_minute() -> Interval:
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    return Interval(end - timedelta(minutes=1), end)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A real Prometheus that scrapes a real node exporter every second."""
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        reason = f"{', '.join(missing)} not installed; .ci/run installs Debian's"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = tmp_path_factory.mktemp("prometheus")
    port, exporter = free_ports(2)
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: node, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}]\n"
    )
    commands = (
        [NEEDED[1], f"--web.listen-address=127.0.0.1:{exporter}"],
        [
            NEEDED[0],
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    )
    with (folder / "log").open("w") as log:
        processes = [subprocess.Popen(command, stdout=log, stderr=log) for command in commands]
        try:
            url = f"http://127.0.0.1:{port}"
            wait(lambda: _count(url) > 4, f"samples in Prometheus: {folder}/log")
            yield url
        finally:
            for process in processes:
                process.terminate()
                process.wait(timeout=30)


def _count(url: str) -> int:
    try:
        query = {"query": "count_over_time(node_memory_MemTotal_bytes[1m])"}
        found = httpx.get(f"{url}/api/v1/query", params=query, trust_env=False).json()["data"]["result"]
        return int(found[0]["value"][1]) if found else 0
    except httpx.HTTPError:
        return 0


def wait(condition: Callable[[], object], what: str, *, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


@pytest.fixture
def database(postgres: str) -> Generator[str]:
    """A database with a table of some size, vectors, and an index over them."""
    name = "usage_of_vectors"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        with psycopg.connect(psycopg.conninfo.make_conninfo(postgres, dbname=name), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute("CREATE TABLE piece (id serial, words text, at vector(64))")
            connection.execute(
                "INSERT INTO piece (words, at)"
                " SELECT repeat('word ', 200), array_fill(random()::real, ARRAY[64])::vector"
                " FROM generate_series(1, 3000)"
            )
            connection.execute("CREATE INDEX ON piece USING hnsw (at vector_l2_ops)")
        yield name
    finally:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["machine", "postgres", "prometheus"])
def source(request: pytest.FixtureRequest) -> UsageSource:
    if request.param == "machine":
        return MachineUsage("here")
    if request.param == "postgres":
        url = request.getfixturevalue("postgres")
        return PostgresUsage("main", lambda name: psycopg.conninfo.make_conninfo(url, dbname=name))
    return PrometheusUsage(request.getfixturevalue("prometheus"))


def test_it_gives_believable_samples_of_the_interval_in_the_units_of_the_metrics(source: UsageSource):
    interval = last_minute()
    if source.name.startswith("prometheus"):  # it has not scraped for a whole minute yet: ask up to now
        now = datetime.now(UTC).replace(microsecond=0)
        interval = Interval(now - timedelta(seconds=1), now + timedelta(seconds=59))
    reading = source.read(interval)
    assert reading.measured and reading.problems == ()
    assert len({one.resource for one in reading.measured}) == len(reading.measured)
    for one in reading.measured:
        kept, remarks = believable(one, interval)
        assert remarks == () and len(kept.values) == len(one.values) > 0, one.resource.key


def test_limits_are_above_what_is_used_and_say_where_they_are_from(source: UsageSource):
    limits = source.limits()
    assert limits and all(limit.source for limit in limits)
    interval = last_minute()
    used = {one.resource: float(one.values.max()) for one in source.read(interval).measured if len(one.values)}
    for limit in limits:
        assert used.get(limit.resource, 0.0) <= limit.value * 1.01, limit


def test_a_source_of_the_present_knows_no_past(source: UsageSource):
    long_ago = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=3)
    assert source.read(Interval(long_ago, long_ago + timedelta(hours=1))).measured == ()


def test_the_machine_agrees_with_what_it_says_of_itself(prometheus: str):
    now = datetime.now(UTC).replace(microsecond=0)
    ours = {m.resource.metric: m.values[-1] for m in MachineUsage("127.0.0.1").read(last_minute()).measured}
    reading = PrometheusUsage(prometheus).read(Interval(now - timedelta(seconds=1), now + timedelta(seconds=59)))
    theirs = {m.resource.metric: m.values[-1] for m in reading.measured}
    assert theirs[Metric.MEMORY] == pytest.approx(ours[Metric.MEMORY], abs=psutil.virtual_memory().total / 4)
    limits = {limit.resource.metric: limit.value for limit in PrometheusUsage(prometheus).limits()}
    assert limits[Metric.MEMORY] == psutil.virtual_memory().total and limits[Metric.CPU] == psutil.cpu_count()


def test_vectors_and_tables_are_counted_by_database(postgres: str, database: str):
    source = PostgresUsage("main", lambda name: psycopg.conninfo.make_conninfo(postgres, dbname=name))
    found = {one.resource: float(one.values[0]) for one in source.read(last_minute()).measured}
    assert found[Resource(Metric.TABLE, "main", f"{database}/public.piece")] > 1_000_000
    vectors = {resource.name: size for resource, size in found.items() if resource.metric is Metric.VECTORS}
    assert set(vectors) == {f"{database}/public.piece", f"{database}/public.piece_at_idx (hnsw)"}
    assert all(size > 100_000 for size in vectors.values())
    assert found[Resource(Metric.DATABASE, "main", database)] > sum(vectors.values()) * 0.9


def test_a_database_that_refuses_costs_its_own_tables(postgres: str, database: str):
    def url_of(name: str) -> str:
        user = {"user": "nobody_at_all"} if name == database else {}
        return psycopg.conninfo.make_conninfo(postgres, dbname=name, **user)

    reading = PostgresUsage("main", url_of).read(last_minute())
    assert [problem.key for problem in reading.problems] == ["usage.half"]
    assert "nobody_at_all" in reading.problems[0].text()
    assert Resource(Metric.DATABASE, "main", database) in {one.resource for one in reading.measured}
    assert not [one for one in reading.measured if one.resource.name.startswith(f"{database}/")]


def test_what_does_not_answer_says_so_without_a_password(tmp_path: Path):
    closed = f"postgresql://someone:very-secret@127.0.0.1:{free_ports(1)[0]}/postgres"
    with pytest.raises(TransientError) as told:
        PostgresUsage("gone", lambda _: closed).read(last_minute())
    assert "very-secret" not in str(told.value)
    with pytest.raises(TransientError, match="answered nothing"):
        PrometheusUsage(f"http://127.0.0.1:{free_ports(1)[0]}").read(last_minute())
    with pytest.raises(ConfigError, match="no address"):
        PrometheusUsage("ftp://somewhere")


def test_samples_never_come_from_the_future_or_twice(prometheus: str):
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    reading = PrometheusUsage(prometheus).read(Interval(end - timedelta(minutes=30), end))
    for one in reading.measured:
        assert (np.diff(one.times.astype(np.int64)) > 0).all() and one.times.max() < np.datetime64(
            end.replace(tzinfo=None)
        )
