"""A load balancer shares an application's traffic as told, loses nothing while it changes, and says so."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from fixtures_traefik import TraefikSite, Upstream
from load import Load

from blocks.connections import await_idle, connected_ports
from blocks.memory_balancer import MemoryBalancer
from domain.canonical import sha256_hex
from domain.errors import ConfigError, TransientError
from domain.ports import Balancer
from domain.release import short
from domain.service import Arm

OLD, NEW, NEXT = (sha256_hex(name) for name in ("old", "new", "next"))


@dataclass
class Bench:
    """A balancer, how to get addresses of a release, and how to send requests: answers by digest."""

    balancer: Balancer
    address: Callable[[str], str]
    send: Callable[[str, int], Counter[str]]

    def arm(self, release: str, weight_percent: int, *, instances: int = 1) -> Arm:
        return Arm(release, weight_percent, tuple(self.address(release) for _ in range(instances)))


def _memory_bench() -> Bench:
    balancer = MemoryBalancer()
    ports = iter(range(9000, 9999))
    return Bench(
        balancer,
        address=lambda release: f"http://127.0.0.1:{next(ports)}",
        send=lambda application, times: balancer.send(application, times=times),
    )


def _traefik_bench(site: TraefikSite) -> Bench:
    def send(application: str, times: int) -> Counter[str]:
        answers = site.ask(application, times=times)
        return Counter({name.removeprefix("200 "): count for name, count in answers.items() if name.startswith("200 ")})

    return Bench(site.balancer, address=lambda release: site.upstream(release).url, send=send)


@pytest.fixture(params=["memory", "traefik"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return _memory_bench() if request.param == "memory" else _traefik_bench(request.getfixturevalue("traefik_site"))


def test_what_was_routed_is_in_force_with_whole_digests_and_addresses(bench: Bench) -> None:
    arms = [bench.arm(OLD, 90, instances=2), bench.arm(NEW, 10)]
    bench.balancer.route("desk", arms)
    assert bench.balancer.routes("desk") == arms


def test_one_release_with_two_settings_has_two_arms(bench: Bench) -> None:
    bare, old, new = OLD, f"{OLD}@1", f"{OLD}@12"
    arms = [bench.arm(old, 60), bench.arm(new, 40), bench.arm(bare, 0)]
    bench.balancer.route("desk", arms)
    assert bench.balancer.routes("desk") == arms
    assert bench.send("desk", 10) == {old: 6, new: 4}


def test_an_unknown_application_has_no_routes(bench: Bench) -> None:
    assert bench.balancer.routes("nothing") == []


def test_arms_that_are_not_named_are_gone(bench: Bench) -> None:
    new = bench.arm(NEW, 100)
    bench.balancer.route("desk", [bench.arm(OLD, 100)])
    bench.balancer.route("desk", [new])
    assert bench.balancer.routes("desk") == [new]
    assert bench.send("desk", 10) == {NEW: 10}


def test_a_share_of_nothing_stays_configured_and_gets_nothing(bench: Bench) -> None:
    arms = [bench.arm(NEW, 100), bench.arm(OLD, 0)]
    bench.balancer.route("desk", arms)
    assert bench.balancer.routes("desk") == arms
    assert bench.send("desk", 20) == {NEW: 20}


def test_a_share_of_nothing_needs_no_instance(bench: Bench) -> None:
    arms = [bench.arm(NEW, 100), bench.arm(OLD, 0, instances=0)]
    bench.balancer.route("desk", arms)
    assert bench.balancer.routes("desk") == arms
    assert bench.send("desk", 5) == {NEW: 5}


def test_a_canary_gets_its_share_exactly(bench: Bench) -> None:
    bench.balancer.route("desk", [bench.arm(OLD, 95), bench.arm(NEW, 5)])
    assert bench.send("desk", 100) == {OLD: 95, NEW: 5}


def test_instances_come_and_go_while_every_release_keeps_its_share(bench: Bench) -> None:
    many, warm = bench.arm(NEW, 100, instances=3), bench.arm(OLD, 0)
    bench.balancer.route("desk", [many, warm])
    few = replace(many, addresses=many.addresses[1:2])
    more = replace(many, addresses=(*many.addresses, bench.address(NEW)))
    for changed in (few, more):
        bench.balancer.route("desk", [changed, warm])
        assert bench.balancer.routes("desk") == [changed, warm]
        assert bench.send("desk", 8) == {NEW: 8}


def test_three_arms_share(bench: Bench) -> None:
    bench.balancer.route("desk", [bench.arm(OLD, 50), bench.arm(NEW, 30), bench.arm(NEXT, 20)])
    assert bench.send("desk", 100) == {OLD: 50, NEW: 30, NEXT: 20}


def test_routing_the_same_again_changes_nothing(bench: Bench) -> None:
    arms = [bench.arm(OLD, 50), bench.arm(NEW, 50)]
    for _ in range(3):
        bench.balancer.route("desk", arms)
    assert sorted(bench.balancer.routes("desk"), key=str) == sorted(arms, key=str)


def test_no_arms_take_the_application_away(bench: Bench) -> None:
    bench.balancer.route("desk", [bench.arm(OLD, 100)])
    bench.balancer.route("desk", [])
    assert bench.balancer.routes("desk") == []
    assert bench.send("desk", 3) == {}


def test_applications_do_not_touch_each_other(bench: Bench) -> None:
    """Not even when one is called like a release of the other."""
    like_a_release = f"desk-{OLD[:12]}"
    bench.balancer.route("desk", [bench.arm(OLD, 100)])
    bench.balancer.route("desk-two", [bench.arm(NEW, 100)])
    bench.balancer.route(like_a_release, [bench.arm(NEXT, 100)])
    assert bench.send("desk-two", 4) == {NEW: 4}
    assert bench.send(like_a_release, 4) == {NEXT: 4}
    bench.balancer.route(like_a_release, [])
    bench.balancer.route("desk-two", [])
    assert bench.send("desk", 4) == {OLD: 4}
    assert len({bench.balancer.entry(name) for name in ("desk", "desk-two")}) == 2


WRONG_ARMS: dict[str, tuple[list[Arm], str]] = {
    "too little": ([Arm(OLD, 60, ("http://127.0.0.1:1",))], "add up to 100"),
    "too much": ([Arm(OLD, 60, ("http://127.0.0.1:1",)), Arm(NEW, 60, ("http://127.0.0.1:2",))], "add up to 100"),
    "negative": ([Arm(OLD, 110, ("http://127.0.0.1:1",)), Arm(NEW, -10, ("http://127.0.0.1:2",))], "0..100"),
    "twice": ([Arm(OLD, 50, ("http://127.0.0.1:1",)), Arm(OLD, 50, ("http://127.0.0.1:2",))], "two arms"),
    "nowhere": ([Arm(OLD, 100, ())], "no instance"),
}


@pytest.mark.parametrize("wrong", WRONG_ARMS)
def test_wrong_arms_are_refused_and_change_nothing(bench: Bench, wrong: str) -> None:
    right = [bench.arm(NEXT, 100)]
    bench.balancer.route("desk", right)
    arms, reason = WRONG_ARMS[wrong]
    with pytest.raises(ConfigError, match=reason):
        bench.balancer.route("desk", arms)
    assert bench.balancer.routes("desk") == right


def test_a_balancer_that_is_away_is_a_transient_error() -> None:
    balancer = MemoryBalancer(is_away=True)
    _refuses_for_now(balancer)


# What only the real one can show.


def _refuses_for_now(balancer: Balancer) -> None:
    with pytest.raises(TransientError, match="does not answer"):
        balancer.route("desk", [Arm(OLD, 100, ("http://127.0.0.1:1",))])
    with pytest.raises(TransientError, match="does not answer"):
        balancer.routes("desk")


def test_instances_come_and_go_under_load_without_a_lost_request(traefik_site: TraefikSite) -> None:
    """Over kept connections and fresh ones; what leaves is ended once nobody is connected to it."""
    upstreams = [traefik_site.upstream(NEW) for _ in range(4)]
    addresses = [one.url for one in upstreams]
    traefik_site.balancer.route("desk", [Arm(NEW, 100, tuple(addresses[:1]))])
    with Load(*traefik_site.balancer.entry("desk")) as load:
        for count in (4, 2, 3, 1):
            before = load.total
            traefik_site.balancer.route("desk", [Arm(NEW, 100, tuple(addresses[:count]))])
            gone = {int(url.rpartition(":")[2]) for url in addresses[count:]}
            assert await_idle(gone, limit_s=10), "a request never ended, or somebody was still sent there"
            while load.total < before + 60:
                time.sleep(0.01)
        assert not connected_ports(gone)
        for one in upstreams[1:]:
            one.end()
        before = load.total
        while load.total < before + 60:
            time.sleep(0.01)
    assert load.problems == [] and load.failed == {}
    assert all(one.requests > 0 for one in upstreams)


def test_routes_survive_a_killed_traefik_and_what_was_meant_is_in_force_after_it(traefik_site: TraefikSite) -> None:
    before = Arm(OLD, 100, (traefik_site.upstream(OLD).url,))
    traefik_site.balancer.route("desk", [before])
    traefik_site.stop()
    _refuses_for_now(traefik_site.balancer)
    traefik_site.start()
    after = Arm(NEW, 100, (traefik_site.upstream(NEW).url,))
    traefik_site.balancer.route("desk", [after])
    assert traefik_site.balancer.routes("desk") == [after]
    assert traefik_site.ask("desk", times=4) == {f"200 {NEW}": 4}


def test_a_change_that_traefik_does_not_take_in_time_is_a_transient_error(traefik_site: TraefikSite) -> None:
    before, after = (Arm(release, 100, (traefik_site.upstream(release).url,)) for release in (OLD, NEW))
    balancer = traefik_site.balancer
    balancer.settle_limit_s = 0.5
    balancer.route("desk", [before])
    broken = traefik_site.installation.state / "traefik/test-main/dynamic/broken.yml"
    broken.write_text("http: [")  # one file that can't be read keeps Traefik from reading all
    with pytest.raises(TransientError, match="did not take the routes of desk within"):
        balancer.route("desk", [after])
    assert balancer.routes("desk") == [before]
    broken.unlink()
    balancer.route("desk", [after])
    assert balancer.routes("desk") == [after]


def test_the_application_sees_the_host_that_was_asked_for_and_whole_bodies(traefik_site: TraefikSite) -> None:
    upstream = traefik_site.upstream("one")
    traefik_site.balancer.route("desk", [Arm(OLD, 100, (upstream.url,))])
    assert traefik_site.ask("desk", body=b"x" * 5_000_000) == {"200 one": 1}
    url, host = traefik_site.balancer.entry("desk")
    assert host == "desk.localhost"
    assert traefik_site.ask("elsewhere") == {"404 404": 1}
    assert url.startswith("http://127.0.0.1:")


def _pair(site: TraefikSite, release: str) -> tuple[list[Upstream], tuple[str, ...]]:
    upstreams = [site.upstream(f"{release[:6]}-{number}") for number in range(2)]
    return upstreams, tuple(upstream.url for upstream in upstreams)


def test_twenty_switches_under_load_lose_no_request(traefik_site: TraefikSite) -> None:
    _, old = _pair(traefik_site, OLD)
    _, new = _pair(traefik_site, NEW)
    balancer = traefik_site.balancer
    balancer.route("desk", [Arm(OLD, 100, old)])
    with Load(*balancer.entry("desk")) as load:
        for turn in range(20):
            share = (5, 50, 100, 0)[turn % 4]
            balancer.route("desk", [Arm(OLD, 100 - share, old), Arm(NEW, share, new)])
            time.sleep(0.05)
    assert load.problems == []
    assert load.failed == {}
    assert load.answers.total() > 500
    assert {name[4:10] for name in load.answers} == {OLD[:6], NEW[:6]}


def test_a_drained_release_stops_without_a_lost_request(traefik_site: TraefikSite) -> None:
    upstreams, old = _pair(traefik_site, OLD)
    _, new = _pair(traefik_site, NEW)
    balancer = traefik_site.balancer
    balancer.route("desk", [Arm(OLD, 100, old)])
    with Load(*balancer.entry("desk")) as load:
        balancer.route("desk", [Arm(NEW, 100, new), Arm(OLD, 0, old)])
        time.sleep(0.3)
        served = sum(upstream.requests for upstream in upstreams)
        for upstream in upstreams:
            upstream.end()
        balancer.route("desk", [Arm(NEW, 100, new)])
        time.sleep(0.5)
    assert (load.problems, load.failed) == ([], {})
    assert served == sum(upstream.requests for upstream in upstreams)


def test_an_instance_that_is_gone_costs_no_request_that_it_had_not_taken(traefik_site: TraefikSite) -> None:
    (first, _), old = _pair(traefik_site, OLD)
    balancer = traefik_site.balancer
    balancer.route("desk", [Arm(OLD, 100, old)])
    first.end()  # before the next health check
    assert traefik_site.ask("desk", times=40) == {f"200 {OLD[:6]}-1": 40}


def test_a_dead_canary_harms_nobody_and_its_failures_are_counted(traefik_site: TraefikSite) -> None:
    _, old = _pair(traefik_site, OLD)
    canary, new = _pair(traefik_site, NEW)
    traefik_site.balancer.route("desk", [Arm(OLD, 50, old), Arm(NEW, 50, new)])
    for upstream in canary:
        upstream.end()
    live = {f"200 {OLD[:6]}-0", f"200 {OLD[:6]}-1"}
    assert set(traefik_site.ask("desk", times=20)) == live  # before a health check noticed
    time.sleep(2 * traefik_site.check_interval_s)
    before = traefik_site.metrics.read("desk")[short(NEW)]
    assert set(traefik_site.ask("desk", times=20)) == live
    after = traefik_site.metrics.read("desk")[short(NEW)]
    assert after.failures - before.failures == after.requests - before.requests >= 10


def test_a_sick_canary_harms_nobody_once_a_health_check_has_failed(traefik_site: TraefikSite) -> None:
    _, old = _pair(traefik_site, OLD)
    canary, new = _pair(traefik_site, NEW)
    traefik_site.balancer.route("desk", [Arm(OLD, 50, old), Arm(NEW, 50, new)])
    for upstream in canary:
        upstream.is_well = False
    time.sleep(3 * traefik_site.check_interval_s)
    assert set(traefik_site.ask("desk", times=10)) == {f"200 {OLD[:6]}-0", f"200 {OLD[:6]}-1"}


def test_a_share_of_nothing_does_not_hang_traefik_when_the_serving_release_dies(traefik_site: TraefikSite) -> None:
    """Listed with weight 0 and coming up while the others are down, it made Traefik loop for ever."""
    serving, old = _pair(traefik_site, OLD)
    warm, new = _pair(traefik_site, NEW)
    traefik_site.balancer.route("desk", [Arm(OLD, 100, old), Arm(NEW, 0, new)])
    for sick, well in ((serving, warm), (warm, serving), (serving, warm)):
        for upstream in sick:
            upstream.is_well = False
        for upstream in well:
            upstream.is_well = True
        time.sleep(2.5 * traefik_site.check_interval_s)
    assert traefik_site.ask("desk", times=2) == {"502 Bad": 2}
    traefik_site.balancer.route("desk", [Arm(NEW, 100, new), Arm(OLD, 0, old)])
    assert set(traefik_site.ask("desk", times=4)) == {f"200 {NEW[:6]}-0", f"200 {NEW[:6]}-1"}


def test_a_release_that_answers_too_late_is_cut_off_with_a_failure(traefik_site: TraefikSite) -> None:
    upstream = traefik_site.upstream("late")
    balancer = traefik_site.balancer
    balancer.answer_limit_s = 0.2
    balancer.route("desk", [Arm(OLD, 100, (upstream.url,))])
    assert traefik_site.ask("desk", "/slow") == {"504 Gateway": 1}
