"""What sources of usage promise, on the real parts: this machine, a PostgreSQL, a Prometheus with a node exporter, an
S3, a Traefik, a Redis; on recorded answers of a Kubernetes and a RabbitMQ; and in memory."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import psycopg
import pytest
import redis as redis_client
from fixtures_recorded import Hostile, Recorded
from fixtures_s3 import s3_account, s3_admin
from fixtures_traefik import TraefikSite
from free_ports import free_ports
from needs_middleware import needs_redis

from blocks.bucket import Account
from blocks.heavy_queries_postgres import PostgresHeavyQueries, without_values
from blocks.installation import Installation, Users
from blocks.memory_usage_source import MemoryUsageSource
from blocks.middleware import HOST, RedisServer
from blocks.postgres_server import PostgresServer, wait_ready
from blocks.traefik_api import TraefikApi
from blocks.usage_kubernetes import Access, KubernetesUsage, read_context, read_quantity
from blocks.usage_machine import MachineUsage
from blocks.usage_postgres import PostgresUsage
from blocks.usage_prometheus import PrometheusUsage
from blocks.usage_rabbitmq import RabbitUsage
from blocks.usage_redis import RedisUsage
from blocks.usage_s3 import S3Usage
from blocks.usage_traefik import TraefikUsage
from domain.canonical import sha256_hex
from domain.errors import ConfigError, TransientError
from domain.limits import Limit
from domain.ports import UsageSource
from domain.service import Arm
from domain.usage import Interval, Metric, Reading, Resource, believable

EXPORTED = """
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1",modelName="NVIDIA A100",Hostname="gpu1"} 83
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-1",modelName="NVIDIA A100",Hostname="gpu1"} 30720
DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-1",modelName="NVIDIA A100",Hostname="gpu1"} 10240
DCGM_FI_DEV_FB_USED{gpu="1",GPU_I_ID="3",UUID="GPU-2",modelName="NVIDIA A100",Hostname="gpu1"} 1024
DCGM_FI_DEV_FB_FREE{gpu="1",GPU_I_ID="3",UUID="GPU-2",modelName="NVIDIA A100",Hostname="gpu1"} 9216
DCGM_FI_DEV_FB_USED{gpu="1",GPU_I_ID="4",UUID="GPU-2",modelName="NVIDIA A100",Hostname="gpu1"} 2048
DCGM_FI_DEV_FB_FREE{gpu="1",GPU_I_ID="4",UUID="GPU-2",modelName="NVIDIA A100",Hostname="gpu1"} 8192
pg_database_size_bytes{datname="shop"} 7e9
pg_stat_activity_count{datname="shop",state="active"} 12
pg_stat_activity_count{datname="shop",state="idle"} 30
pg_settings_max_connections 100
container_memory_working_set_bytes{namespace="shop",pod="web-1",container="web"} 1e8
container_memory_working_set_bytes{namespace="shop",pod="web-2",container="web"} 2e8
kube_pod_container_resource_limits{namespace="shop",pod="web-1",container="web",resource="memory",unit="byte"} 5e8
kube_pod_container_resource_limits{namespace="shop",pod="web-2",container="web",resource="memory",unit="byte"} 5e8
rabbitmq_queue_messages{queue="mail",vhost="/"} 17
"""
"""What a DCGM exporter, a PostgreSQL exporter, cAdvisor with kube-state-metrics and RabbitMQ say, in their names."""

NEEDED = ("prometheus", "prometheus-node-exporter")


def last_minute() -> Interval:
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    return Interval(end - timedelta(minutes=1), end)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A real Prometheus that scrapes a real node exporter, and a page with the names of others, every second."""
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        reason = f"{', '.join(missing)} not installed; .ci/run installs Debian's"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = tmp_path_factory.mktemp("prometheus")
    port, exporter = free_ports(2)
    page = Hostile(EXPORTED.encode())
    page.content_type = "text/plain; version=0.0.4"
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        f"  - {{job_name: node, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}\n"
        f"  - {{job_name: others, static_configs: [{{targets: ['localhost:{page.server_address[1]}']}}]}}\n"
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
            page.server_close()
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


@dataclass(frozen=True)
class Redis:
    """A real Redis, how it is reached, and a client that fills it."""

    url: str
    password: str
    client: Any

    def usage(self, memory: Path, *, queues: Sequence[str] = (), user: str = "", password: str = "") -> RedisUsage:
        return RedisUsage("redis", self.url, memory, user=user, password=password or self.password, queues=queues)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Redis]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    with server.running():
        access = server.access()
        client = redis_client.Redis(HOST, access.port, password=access.password)
        yield Redis(f"redis://{HOST}:{access.port}/0", access.password, client)
        client.close()


@pytest.fixture
def redis(redis_server: Redis) -> Redis:
    """The same Redis, emptied."""
    redis_server.client.flushall()
    return redis_server


SOURCES = ["memory", "machine", "postgres", "prometheus", "s3", "traefik", "kubernetes", "rabbitmq"]


@pytest.fixture(params=[*SOURCES, pytest.param("redis", marks=needs_redis)])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> UsageSource:
    match request.param:
        case "memory":
            disk = Resource(Metric.DISK, "db1", "/")
            limits = [Limit(disk, 9.0, "df")]
            return MemoryUsageSource(courses={disk: lambda _: 5.0}, known_limits=limits, now=lambda: datetime.now(UTC))
        case "machine":
            return MachineUsage("here")
        case "postgres":
            url = request.getfixturevalue("postgres")
            return PostgresUsage("main", lambda name: psycopg.conninfo.make_conninfo(url, dbname=name))
        case "s3":
            return s3_usage(request.getfixturevalue("s3"))
        case "traefik":
            return seen_traefik(request.getfixturevalue("traefik_site"), tmp_path / "looks.json")
        case "kubernetes":
            return KubernetesUsage("main", Access(request.getfixturevalue("recorded").url, "a-token"))
        case "rabbitmq":
            return RabbitUsage("main", request.getfixturevalue("recorded").url, user="guest", password="a-token")
        case "redis":
            served: Redis = request.getfixturevalue("redis")
            served.client.rpush("mail", "a", "b")
            return served.usage(tmp_path / "seen.json")
        case _:
            return PrometheusUsage(request.getfixturevalue("prometheus"))


def s3_usage(installation: Installation) -> S3Usage:
    client = s3_admin(installation).client()
    for key in ("a/1", "a/2", "b/1", "top"):
        client.put_object(Bucket="releases", Key=f"usage-{key}", Body=b"x" * 1000)
    return S3Usage("main", s3_account(installation, "s3_usage"))


def seen_traefik(site: TraefikSite, looks: Path) -> TraefikUsage:
    """Traefik after thirty requests, looked at once a minute ago."""
    release = sha256_hex("usage")
    site.balancer.route("busy", [Arm(release, 100, (site.upstream("one").url,))])
    usage = TraefikUsage("test", [TraefikApi.of(site.installation, "test-main")], looks)
    site.ask("busy", times=1)
    usage.read(last_minute())
    kept = json.loads(looks.read_text())
    kept[0]["at"] -= 60
    looks.write_text(json.dumps(kept))
    site.ask("busy", times=30)
    return usage


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
    knows_none = source.name.startswith(("s3:", "traefik:", "rabbitmq:"))  # a team sets them in capacity.yaml
    assert bool(limits) != knows_none and all(limit.source for limit in limits)
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
    theirs = {m.resource: m.values[-1] for m in reading.measured}
    memory, cpu = Resource(Metric.MEMORY, "127.0.0.1"), Resource(Metric.CPU, "127.0.0.1")
    assert theirs[memory] == pytest.approx(ours[Metric.MEMORY], abs=psutil.virtual_memory().total / 4)
    limits = {limit.resource: limit.value for limit in PrometheusUsage(prometheus).limits()}
    assert limits[memory] == psutil.virtual_memory().total and limits[cpu] == psutil.cpu_count()


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


class TestS3:
    def test_buckets_and_prefixes_have_bytes_and_objects(self, s3: Installation):
        found = {one.resource: float(one.values[0]) for one in s3_usage(s3).read(last_minute()).measured}
        assert found[Resource(Metric.BUCKET, "main", "releases/usage-a")] == 2000
        assert found[Resource(Metric.OBJECTS, "main", "releases/usage-a")] == 2
        assert found[Resource(Metric.BUCKET, "main", "releases")] >= 4000
        assert Resource(Metric.BUCKET, "main", "anchors") in found  # under lock, and kept apart

    def test_old_versions_are_counted_as_they_take_room(self, s3: Installation):
        client = s3_admin(s3).client()
        client.create_bucket(Bucket="versioned")
        client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
        for body in (b"x" * 700, b"y" * 300):
            client.put_object(Bucket="versioned", Key="one", Body=body)
        found = {one.resource: float(one.values[0]) for one in s3_usage(s3).read(last_minute()).measured}
        assert found[Resource(Metric.BUCKET, "main", "versioned")] == 1000

    def test_a_bucket_too_large_to_be_listed_is_left_out_and_told(self, s3: Installation):
        client = s3_admin(s3).client()
        client.create_bucket(Bucket="large")
        for number in range(1001):
            client.put_object(Bucket="large", Key=f"{number}", Body=b"")
        reading = S3Usage("main", s3_account(s3, "s3_usage"), pages_max=1).read(last_minute())
        names = {one.resource.name for one in reading.measured}
        assert "large" not in names and "releases" in names
        # the anchors of other tests may be as many
        assert any("has over 1000 objects" in problem.text() for problem in reading.problems)

    def test_wrong_keys_and_a_server_that_is_away_say_so(self, s3: Installation):
        url = f"http://127.0.0.1:{s3.ports['s3']}"
        with pytest.raises(ConfigError, match="refuses our keys"):
            S3Usage("main", Account(url, "nobody", "very-secret")).read(last_minute())
        with pytest.raises(TransientError, match="does not answer"):
            S3Usage("main", Account(f"http://127.0.0.1:{free_ports(1)[0]}", "a", "very-secret")).read(last_minute())


class TestTraefik:
    def test_the_rate_is_that_of_the_requests_between_two_looks(self, traefik_site: TraefikSite, tmp_path: Path):
        usage = seen_traefik(traefik_site, tmp_path / "looks.json")
        first = usage.read(last_minute())
        again = usage.read(last_minute())  # a run that was killed asks again for the same interval
        for reading in (first, again):
            rates = {one.resource: float(one.values[0]) for one in reading.measured}
            assert rates[Resource(Metric.REQUESTS, "test", "busy")] == pytest.approx(30 / 60, rel=0.25)

    def test_the_first_look_knows_no_rate(self, traefik_site: TraefikSite, tmp_path: Path):
        usage = TraefikUsage("test", [TraefikApi.of(traefik_site.installation, "test-main")], tmp_path / "looks.json")
        assert usage.read(last_minute()) == Reading()

    def test_counters_that_start_again_are_told_and_never_negative(self, traefik_site: TraefikSite, tmp_path: Path):
        usage = seen_traefik(traefik_site, tmp_path / "looks.json")
        kept = json.loads((tmp_path / "looks.json").read_text())
        kept[0]["counts"] = {key: 1e6 for key in kept[0]["counts"]}
        (tmp_path / "looks.json").write_text(json.dumps(kept))
        reading = usage.read(last_minute())
        assert all((one.values >= 0).all() for one in reading.measured)
        assert any("started again" in problem.text() for problem in reading.problems)

    def test_a_site_that_is_away_is_no_half_of_the_load(self, traefik_site: TraefikSite, tmp_path: Path):
        sites = [TraefikApi.of(traefik_site.installation, "test-main"), TraefikApi(free_ports(1)[0], "test-gone")]
        with pytest.raises(TransientError, match="test-gone does not answer"):
            TraefikUsage("test", sites, tmp_path / "looks.json").read(last_minute())


class TestKubernetes:
    def test_nodes_and_workloads_in_our_units(self, recorded: Recorded):
        usage = KubernetesUsage("main", Access(recorded.url, "a-token"))
        found = {one.resource: float(one.values[0]) for one in usage.read(last_minute()).measured}
        assert found[Resource(Metric.CPU, "node-1")] == pytest.approx(0.25)
        assert found[Resource(Metric.MEMORY, "node-1")] == 2 * 1024**3
        assert found[Resource(Metric.CPU, "shop", "web")] == pytest.approx(0.3)  # two pods
        assert found[Resource(Metric.GPU, "node-1", "allocated")] == 0.5
        limits = {limit.resource: limit.value for limit in usage.limits()}
        assert limits[Resource(Metric.CPU, "node-1")] == pytest.approx(3.92)
        assert limits[Resource(Metric.MEMORY, "shop", "web")] == 2 * 512 * 1024**2
        assert Resource(Metric.CPU, "shop", "web") not in limits  # one of its pods has none

    def test_what_is_not_answered_is_told_and_the_rest_is_kept(self, recorded: Recorded):
        recorded.broken = "/apis/metrics.k8s.io/v1beta1/pods"
        reading = KubernetesUsage("main", Access(recorded.url, "a-token")).read(last_minute())
        assert {one.resource.owner for one in reading.measured} == {"node-1"}
        assert "answered 2 of 3" in reading.problems[0].text()

    def test_an_answer_without_what_it_should_have_is_told(self, recorded: Recorded):
        recorded.shapeless = "/apis/metrics.k8s.io/v1beta1/nodes"
        reading = KubernetesUsage("main", Access(recorded.url, "a-token")).read(last_minute())
        assert reading.measured and "lacks what it should have" in reading.problems[0].text()

    def test_a_refused_token_is_a_setting(self, recorded: Recorded):
        with pytest.raises(ConfigError, match="refuses our token") as told:
            KubernetesUsage("main", Access(recorded.url, "very-secret")).read(last_minute())
        assert "very-secret" not in str(told.value)

    def test_a_kubeconfig_needs_the_client_and_says_so(self):
        with pytest.raises(ConfigError, match="kubeconfig"):
            read_context("no-such-context")

    @pytest.mark.parametrize(
        ("text", "value"), [("250m", 0.25), ("3", 3.0), ("2Gi", 2 * 1024.0**3), ("1500000n", 0.0015), ("129e6", 129e6)]
    )
    def test_quantities(self, text: str, value: float):
        assert read_quantity(text) == pytest.approx(value)


class TestRabbit:
    def test_queues_have_lengths(self, recorded: Recorded):
        usage = RabbitUsage("main", recorded.url, user="guest", password="a-token")
        found = {one.resource.name: float(one.values[0]) for one in usage.read(last_minute()).measured}
        assert found == {"mail": 12.0, "reports": 0.0}
        with pytest.raises(ConfigError, match="refuses our user"):
            RabbitUsage("main", recorded.url, user="guest", password="wrong").read(last_minute())


@needs_redis
class TestRedis:
    def lengths(self, usage: RedisUsage) -> dict[str, float]:
        measured = usage.read(last_minute()).measured
        return {m.resource.name: float(m.values[0]) for m in measured if m.resource.metric is Metric.QUEUE}

    def test_lists_and_streams_have_lengths_and_groups_what_they_have_left(self, redis: Redis, tmp_path: Path):
        client = redis.client
        client.rpush("mail", *range(7))
        client.set("a-setting", "1")
        client.hset("a-hash", "a", 1)
        for number in range(10):
            client.xadd("orders", {"number": number})
        client.xgroup_create("orders", "invoices", id="0")
        client.xgroup_create("orders", "shipping", id="0")
        client.xreadgroup("invoices", "one", {"orders": ">"}, count=4)  # given, not acknowledged
        given = client.xreadgroup("shipping", "one", {"orders": ">"}, count=8)
        client.xack("orders", "shipping", *[identifier for identifier, _ in given[0][1][:6]])
        found = self.lengths(redis.usage(tmp_path / "seen.json"))
        assert found == {
            "mail": 7,
            "orders": 10,
            "orders/invoices": 6 + 4,  # not given yet, and not acknowledged
            "orders/shipping": 2 + 2,
        }

    def test_a_group_whose_lag_redis_lost_is_counted(self, redis: Redis, tmp_path: Path):
        client = redis.client
        added = [client.xadd("orders", {"number": number}) for number in range(10)]
        client.xgroup_create("orders", "late", id=added[2])
        client.xdel("orders", added[5])
        assert client.execute_command("XINFO", "GROUPS", "orders")[0].get(b"lag") is None
        assert self.lengths(redis.usage(tmp_path / "seen.json"))["orders/late"] == 6

    def test_a_queue_that_was_emptied_is_empty_and_no_gap(self, redis: Redis, tmp_path: Path):
        redis.client.rpush("mail", "a")
        usage = redis.usage(tmp_path / "seen.json")
        assert self.lengths(usage) == {"mail": 1}
        redis.client.lpop("mail")
        assert not redis.client.exists("mail")
        assert self.lengths(usage) == {"mail": 0}

    def test_only_the_queues_that_are_named_are_measured(self, redis: Redis, tmp_path: Path):
        for name in ("celery", "rq:queue:high", "rq:workers", "other"):
            redis.client.rpush(name, "a")
        usage = redis.usage(tmp_path / "seen.json", queues=["celery", "rq:queue:*"])
        assert self.lengths(usage) == {"celery": 1, "rq:queue:high": 1}

    def test_a_name_that_is_no_text_has_one(self, redis: Redis, tmp_path: Path):
        redis.client.rpush(b"\xff\x00raw", "a")
        assert self.lengths(redis.usage(tmp_path / "seen.json")) == {"\\xff\\x00raw": 1}

    def test_too_many_keys_that_look_like_queues_are_told(self, redis: Redis, tmp_path: Path):
        with redis.client.pipeline() as pipe:
            for number in range(520):
                pipe.rpush(f"list-{number:03}", "a")
            pipe.execute()
        reading = redis.usage(tmp_path / "seen.json").read(last_minute())
        assert sum(one.resource.metric is Metric.QUEUE for one in reading.measured) == 500
        assert "520 keys look like queues" in reading.problems[0].text()

    def test_memory_and_clients_have_the_limits_that_redis_holds_them_to(self, redis: Redis, tmp_path: Path):
        usage = redis.usage(tmp_path / "seen.json")
        memory, clients = Resource(Metric.MEMORY, "redis", "redis"), Resource(Metric.CONNECTIONS, "redis", "redis")
        most = int(redis.client.config_get("maxclients")["maxclients"])
        assert {limit.resource: limit.value for limit in usage.limits()} == {clients: most}  # memory has none
        redis.client.config_set("maxmemory", 100_000_000)
        try:
            assert {limit.resource: limit.value for limit in usage.limits()} == {memory: 1e8, clients: most}
        finally:
            redis.client.config_set("maxmemory", 0)
        found = {one.resource: float(one.values[0]) for one in usage.read(last_minute()).measured}
        assert 100_000 < found[memory] < 1e8 and 1 <= found[clients] < 50

    def test_who_is_refused_is_told_without_the_password(self, redis: Redis, tmp_path: Path):
        redis.client.execute_command("ACL", "SETUSER", "narrow", "on", ">narrow-word", "~*", "+info")
        for user, password in (("", "very-wrong"), ("nobody", "very-wrong"), ("narrow", "narrow-word")):
            with pytest.raises(ConfigError, match="refuses our user") as told:
                redis.usage(tmp_path / "seen.json", user=user, password=password).read(last_minute())
            assert password not in str(told.value)
        with pytest.raises(ConfigError, match=r"wants a password|refuses our user"):
            RedisUsage("redis", redis.url, tmp_path / "seen.json").read(last_minute())

    def test_one_that_is_away_or_no_redis_says_so(self, redis: Redis, tmp_path: Path, recorded: Recorded):
        for port in (free_ports(1)[0], recorded.server_address[1]):
            with pytest.raises(TransientError, match=r"does not answer|answered"):
                usage = RedisUsage("redis", f"redis://127.0.0.1:{port}", tmp_path / "seen.json", limit_s=1)
                usage.read(last_minute())
        for url in ("http://127.0.0.1:6379", "redis://", "redis://host:port/0"):
            with pytest.raises(ConfigError, match="no address of a Redis"):
                RedisUsage("redis", url, tmp_path / "seen.json")


class TestPrometheusThatAnswersHalf:
    def test_a_body_cut_short_is_told(self, recorded: Recorded):
        reading = PrometheusUsage(recorded.url).read(last_minute())
        assert {one.resource.key for one in reading.measured} == {"memory:db1:"}
        assert "answered 1 of" in reading.problems[0].text()

    def test_a_warning_is_told_and_what_came_is_kept(self):
        labels = {"instance": "db1:9100", "mountpoint": "/", "service": "desk", "queue": "mail", "datname": "shop"}
        at = last_minute().begin.timestamp()
        result = [{"metric": labels, "values": [[at, "NaN"], [at + 30, "5"], [1e300, "7"], [at + 31, "+Inf"]]}]
        answer = {"status": "success", "data": {"result": result}, "warnings": ["a store is away"]}
        with Hostile(json.dumps(answer).encode()) as server:
            reading = PrometheusUsage(server.url).read(last_minute())
        assert [problem.text() for problem in reading.problems] == [
            "prometheus:main answered with a warning, so that something may be missing: a store is away"
        ]
        kept = believable(reading.measured[0], last_minute())[0]
        assert len(kept.values) == 1

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b'{"status": "error", "error": "query timed out"}', "query timed out"),
            (b'{"status": "success", "data": {"resultType": "matrix"}}', "has no result"),
            (b'{"status": "success", "data": [1]}', "has no result"),
            (b'{"status": "success", "data": {"result": [1, null]}}', "cut its answer short"),
            (b'{"status": "success", "data": {"result": [{"values": []}]}}', "cut its answer short"),
            (b'{"status": "success", "data": {"result": [{"metric": 5, "values": []}]}}', "cut its answer short"),
            (b'[{"status": "success"}]', "not as Prometheus"),
            (b"<html>log in</html>", "no JSON"),
            (b"[" * 100_000, "no JSON"),
            (b"", "no JSON"),
        ],
    )
    def test_what_makes_no_sense_is_told_and_gives_nothing(self, body: bytes, words: str):
        with Hostile(body) as server:
            source = PrometheusUsage(server.url)
            with pytest.raises(TransientError, match=words):
                source.read(last_minute())
            assert source.limits() == []

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [({"missing": 10}, "does not answer as Prometheus"), ({"pause_s": 0.05}, r"does not answer within 0\.3 s")],
        ids=["early", "never"],  # each byte in time, the whole never
    )
    def test_an_answer_that_ends_early_or_never_is_told(self, wrong: dict[str, Any], words: str):
        with (
            Hostile(b'{"status": "success", "data": {"result": []}}', **wrong) as server,
            pytest.raises(TransientError, match=words),
        ):
            PrometheusUsage(server.url, limit_s=0.3).read(last_minute())

    def test_who_is_refused_is_told_what_to_set(self):
        with (
            Hostile(b"<html>Unauthorized</html>", status=401) as server,
            pytest.raises(ConfigError, match="token_secret"),
        ):
            PrometheusUsage(server.url, user="me", password="very-secret").read(last_minute())


class TestPrometheusOfManyExporters:
    def test_each_is_read_by_its_own_names_in_our_units(self, prometheus: str):
        now = datetime.now(UTC).replace(microsecond=0)
        source = PrometheusUsage(prometheus)
        reading = source.read(Interval(now - timedelta(seconds=1), now + timedelta(seconds=59)))
        found = {one.resource.key: float(one.values[-1]) for one in reading.measured}
        mib = 1024**2
        expected = {
            "gpu:gpu1:0/NVIDIA A100": 0.83,
            "gpu_memory:gpu1:0/NVIDIA A100": 30720 * mib,
            "gpu_memory:gpu1:1/3/NVIDIA A100": 1024 * mib,
            "gpu_memory:gpu1:1/4/NVIDIA A100": 2048 * mib,
            "database:localhost:shop": 7e9,
            "connections:localhost:": 42,
            "memory:shop:web": 3e8,
            "queue:localhost:mail": 17,
        }
        assert {key: found.get(key) for key in expected} == pytest.approx(expected)
        limits = {limit.resource.key: limit for limit in source.limits()}
        assert {key: limits[key].value for key in expected if key in limits} == pytest.approx(
            {
                "gpu:gpu1:0/NVIDIA A100": 1.0,
                "gpu_memory:gpu1:0/NVIDIA A100": 40960 * mib,
                "gpu_memory:gpu1:1/3/NVIDIA A100": 10240 * mib,
                "gpu_memory:gpu1:1/4/NVIDIA A100": 10240 * mib,
                "connections:localhost:": 100,
                "memory:shop:web": 1e9,
            }
        )
        assert "DCGM_FI_DEV_FB_USED" in limits["gpu_memory:gpu1:0/NVIDIA A100"].source


class TestHeavyQueries:
    def test_nobody_counts_them_without_the_extension(self, postgres: str):
        queries = PostgresHeavyQueries({"main": lambda name: psycopg.conninfo.make_conninfo(postgres, dbname=name)})
        assert queries.heaviest("main", limit=5) == []
        assert queries.heaviest("another", limit=5) == []

    def test_the_heaviest_are_named_without_their_values(self, open_tmp: Path, postgres_bin: Path, users: Users):
        # worse than the stack's own setting, which leaves statements like ALTER ROLE out
        settings = {"shared_preload_libraries": "pg_stat_statements", "fsync": "off"}
        port = free_ports(1)[0]
        server = PostgresServer(
            bin=postgres_bin, data=open_tmp / "data", port=port, user=users.database, settings=settings
        )
        server.initialise("for-tests", durable=False)
        process = server.start(open_tmp / "log")
        try:
            wait_ready(server.url("for-tests"), process=process)
            with psycopg.connect(server.url("for-tests"), autocommit=True) as connection:
                connection.execute("CREATE EXTENSION pg_stat_statements")
                connection.execute("/* very-secret */ SELECT pg_sleep(0.3), 'very-secret'")
                connection.execute("CREATE ROLE somebody PASSWORD 'very-secret'")
                connection.execute("DO $do$ BEGIN PERFORM pg_sleep(0.5), 'very-secret'; END $do$")
            queries = PostgresHeavyQueries({"main": lambda name: server.url("for-tests", database=name)})
            found = queries.heaviest("main", limit=50)
            assert found[0].text == "SELECT pg_sleep($1), $2"
            assert "very-secret" not in str(found) and "ROLE" not in str(found)
            assert found[0].database == "postgres" and found[0].calls == 1 and 0.1 < found[0].share_ratio <= 1
        finally:
            process.terminate()
            process.wait()

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("SELECT  *\nFROM t -- by 'ann'\nWHERE a = 'it''s' AND b = $1", "SELECT * FROM t WHERE a = '…' AND b = $1"),
            ("SELECT $tag$very secret$tag$, $$so is this$$, 'and this", "SELECT '…', '…', '…'"),
            ("/* who=ann */ UPDATE t SET a = $1 /* cut", "UPDATE t SET a = $1"),
        ],
    )
    def test_what_the_extension_leaves_of_values_goes(self, text: str, shown: str):
        assert without_values(text) == shown

    def test_a_server_that_is_away_says_so(self):
        away = f"postgresql://x@127.0.0.1:{free_ports(1)[0]}/x"
        with pytest.raises(TransientError, match="can't be read"):
            PostgresHeavyQueries({"main": lambda _: away}).heaviest("main", limit=5)
