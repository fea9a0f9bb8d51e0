"""What a load balancer counted: requests, failures and durations of each release, apart from every other."""

import math
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from fixtures_traefik import TraefikSite
from load import Load

from blocks.memory_balancer import MemoryMetrics
from domain.canonical import sha256_hex
from domain.errors import TransientError
from domain.ports import TrafficMetrics
from domain.release import short
from domain.service import Arm

OLD, NEW = (sha256_hex(name) for name in ("old", "new"))


@dataclass
class Bench:
    """Metrics, and how to let a release answer: application, release, how many times, of a kind."""

    metrics: TrafficMetrics
    answer: Callable[[str, str, int, str], None]


def _memory_bench() -> Bench:
    metrics = MemoryMetrics()

    def answer(application: str, release: str, times: int, kind: str) -> None:
        status, seconds = {"ok": (200, 0.004), "fail": (500, 0.004), "slow": (200, 0.5)}[kind]
        metrics.observe(application, release, status=status, seconds=seconds, times=times)

    return Bench(metrics, answer)


def _traefik_bench(site: TraefikSite) -> Bench:
    def answer(application: str, release: str, times: int, kind: str) -> None:
        arms = {arm.release: arm.addresses for arm in site.balancer.routes(application)}
        arms.setdefault(release, (site.upstream(release).url,))
        shares = [Arm(one, 100 if one == release else 0, addresses) for one, addresses in arms.items()]
        site.balancer.route(application, shares)
        path = {"ok": "/", "fail": "/fail", "slow": "/slow"}[kind]
        site.ask(application, path, times=times)

    return Bench(site.metrics, answer)


@pytest.fixture(params=["memory", "traefik"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return _memory_bench() if request.param == "memory" else _traefik_bench(request.getfixturevalue("traefik_site"))


def test_a_release_without_requests_has_no_counters(bench: Bench) -> None:
    assert bench.metrics.read("quiet") == {}


def test_answers_are_counted_for_each_release(bench: Bench) -> None:
    bench.answer("count", OLD, 7, "ok")
    bench.answer("count", NEW, 3, "ok")
    counters = bench.metrics.read("count")
    assert {release: counted.requests for release, counted in counters.items()} == {short(OLD): 7, short(NEW): 3}


def test_answers_are_counted_for_each_version_of_the_settings(bench: Bench) -> None:
    old, new = f"{OLD}@1", f"{OLD}@2"
    bench.answer("both", old, 4, "ok")
    bench.answer("both", new, 3, "fail")
    counters = bench.metrics.read("both")
    assert {name: counted.failures for name, counted in counters.items()} == {short(old): 0, short(new): 3}


def test_answers_of_500_are_failures(bench: Bench) -> None:
    bench.answer("fail", OLD, 5, "ok")
    bench.answer("fail", OLD, 2, "fail")
    counted = bench.metrics.read("fail")[short(OLD)]
    assert (counted.requests, counted.failures) == (7, 2)


def test_counts_only_grow_while_shares_change(bench: Bench) -> None:
    bench.answer("grow", OLD, 4, "ok")
    bench.answer("grow", NEW, 4, "ok")
    bench.answer("grow", OLD, 1, "ok")
    bench.answer("grow", NEW, 0, "ok")
    counters = bench.metrics.read("grow")
    assert (counters[short(OLD)].requests, counters[short(NEW)].requests) == (5, 4)


def test_buckets_are_cumulative_and_end_with_all_requests(bench: Bench) -> None:
    bench.answer("slow", OLD, 6, "ok")
    bench.answer("slow", OLD, 2, "slow")
    counted = bench.metrics.read("slow")[short(OLD)]
    assert counted.bounds_s[-1] == math.inf
    assert list(counted.bounds_s) == sorted(counted.bounds_s)
    assert list(counted.buckets) == sorted(counted.buckets)
    assert counted.buckets[-1] == counted.requests == 8
    fast = max(count for bound, count in zip(counted.bounds_s, counted.buckets, strict=True) if bound < 0.5)
    assert fast == 6


def test_a_later_reading_has_a_later_time(bench: Bench) -> None:
    bench.answer("clock", OLD, 1, "ok")
    first = bench.metrics.read("clock")[short(OLD)].at
    bench.answer("clock", OLD, 1, "ok")
    assert bench.metrics.read("clock")[short(OLD)].at > first


def test_applications_are_counted_apart(bench: Bench) -> None:
    bench.answer("apart", OLD, 2, "ok")
    bench.answer("apart-too", OLD, 5, "ok")
    assert bench.metrics.read("apart")[short(OLD)].requests == 2


def test_metrics_that_are_away_are_a_transient_error() -> None:
    with pytest.raises(TransientError, match="does not answer"):
        MemoryMetrics(is_away=True).read("desk")


# What only the real one can show.


def test_a_traefik_that_is_away_is_a_transient_error_and_counts_anew_when_it_is_back(traefik_site: TraefikSite) -> None:
    arms = [Arm(OLD, 100, (traefik_site.upstream(OLD).url,))]
    traefik_site.balancer.route("away", arms)
    traefik_site.ask("away", times=5)
    assert traefik_site.metrics.read("away")[short(OLD)].requests == 5
    traefik_site.stop()
    with pytest.raises(TransientError, match="does not answer"):
        traefik_site.metrics.read("away")
    traefik_site.start()
    traefik_site.balancer.route("away", arms)
    traefik_site.ask("away", times=2)
    assert traefik_site.metrics.read("away")[short(OLD)].requests == 2


def test_an_outside_client_and_traefik_count_the_same(traefik_site: TraefikSite) -> None:
    old, new = traefik_site.upstream(OLD), traefik_site.upstream(NEW)
    traefik_site.balancer.route("same", [Arm(OLD, 80, (old.url,)), Arm(NEW, 20, (new.url,))])
    with Load(*traefik_site.balancer.entry("same")) as load:
        time.sleep(1)
    counters = traefik_site.metrics.read("same")
    counted = {f"200 {release}": counters[short(release)].requests for release in (OLD, NEW)}
    assert counted == dict(load.answers)
    assert sum(counter.failures for counter in counters.values()) == 0


def test_the_only_release_without_a_living_instance_has_the_outage_counted(traefik_site: TraefikSite) -> None:
    upstream = traefik_site.upstream(OLD)
    traefik_site.balancer.route("down", [Arm(OLD, 100, (upstream.url,))])
    upstream.is_well = False
    time.sleep(3 * traefik_site.check_interval_s)
    assert traefik_site.ask("down", times=2) == {"502 Bad": 2}
    counted = traefik_site.metrics.read("down")[short(OLD)]
    assert counted.requests == counted.failures >= 2


def test_a_client_that_leaves_is_a_request_and_no_failure(traefik_site: TraefikSite) -> None:
    traefik_site.balancer.route("left", [Arm(OLD, 100, (traefik_site.upstream(OLD).url,))])
    url, host = traefik_site.balancer.entry("left")
    with pytest.raises(TimeoutError):
        _ask_and_leave(int(url.rpartition(":")[2]), host)
    deadline = time.monotonic() + 5
    while short(OLD) not in traefik_site.metrics.read("left"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    counted = traefik_site.metrics.read("left")[short(OLD)]
    assert (counted.requests, counted.failures) == (1, 0)


def _ask_and_leave(port: int, host: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET /slow HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        connection.settimeout(0.1)
        connection.recv(1)
