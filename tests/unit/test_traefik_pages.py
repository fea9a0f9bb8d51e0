"""Traefik's pages are read as what they say: counters by release, configuration as it was told."""

import math
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from blocks.metrics_traefik import parse_counters
from blocks.traefik_config import NOBODY, Timing, is_shown, read_arms, render_routes, services_of
from domain.canonical import sha256_hex
from domain.service import Arm

OLD, NEW = sha256_hex("old"), sha256_hex("new")
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
METRIC = "traefik_service_request_duration_seconds_bucket"


def _page(*rows: tuple[str, str, str, str, str]) -> str:
    """Write bucket lines from (service, code, method, bound, count)."""
    return "\n".join(
        f'{METRIC}{{code="{code}",method="{method}",protocol="http",service="{service}@file",le="{bound}"}} {count}'
        for service, code, method, bound, count in rows
    )


def test_codes_and_methods_are_summed_and_500_and_above_are_failures() -> None:
    name = f"desk-{OLD[:12]}"
    page = _page(
        (name, "200", "GET", "0.1", "3"),
        (name, "200", "GET", "+Inf", "4"),
        (name, "200", "POST", "0.1", "1"),
        (name, "200", "POST", "+Inf", "1"),
        (name, "499", "GET", "0.1", "0"),
        (name, "499", "GET", "+Inf", "2"),
        (name, "500", "GET", "0.1", "1"),
        (name, "500", "GET", "+Inf", "1"),
        (f"{name}-down", "502", "GET", "0.1", "5"),
        (f"{name}-down", "502", "GET", "+Inf", "5"),
    )
    counted = parse_counters(page, "desk", at=AT)[OLD[:12]]
    assert (counted.requests, counted.failures, counted.at) == (13, 6, AT)
    assert (counted.bounds_s, counted.buckets) == ((0.1, math.inf), (10, 13))


def test_other_services_applications_and_metrics_are_left_out() -> None:
    page = _page(
        ("desk", "200", "GET", "+Inf", "1"),
        (f"desk-two-{OLD[:12]}", "200", "GET", "+Inf", "2"),
        (f"desk-{OLD[:12]}-arm", "200", "GET", "+Inf", "3"),
    )
    lines = f'# HELP x\ntraefik_service_requests_total{{code="200",service="desk-{OLD[:12]}@file"}} 7\n{page}\nbroken'
    assert parse_counters(lines, "desk", at=AT) == {}
    assert parse_counters(lines, "desk-two", at=AT)[OLD[:12]].requests == 2


def test_large_counts_are_written_as_floats() -> None:
    page = _page((f"desk-{OLD[:12]}", "200", "GET", "+Inf", "1.234567e+06"))
    assert parse_counters(page, "desk", at=AT)[OLD[:12]].requests == 1_234_567


def test_a_share_of_nothing_is_in_no_weighted_list_and_no_weighted_service_checks_health() -> None:
    arms = [Arm(OLD, 100, ("http://127.0.0.1:1001",)), Arm(NEW, 0, ("http://127.0.0.1:1002",))]
    services = render_routes("desk", arms, Timing())["http"]["services"]
    assert services["desk"] == {"weighted": {"services": [{"name": f"desk-{OLD[:12]}-arm", "weight": 100}]}}
    assert services[f"desk-{NEW[:12]}-down"]["loadBalancer"]["servers"] == [{"url": NOBODY}]


_arms = st.lists(
    st.builds(
        Arm,
        release=st.integers(0, 2**64).map(lambda number: sha256_hex(str(number))),
        weight_percent=st.integers(0, 100),
        addresses=st.lists(st.integers(1024, 65_000).map(lambda port: f"http://127.0.0.1:{port}"), max_size=3).map(
            tuple
        ),
        health_path=st.sampled_from(["/", "/healthz", "/a/b?c=d"]),
    ),
    unique_by=lambda arm: arm.release,
    max_size=4,
)


@given(_arms)
def test_what_is_rendered_reads_back(arms: list[Arm]) -> None:
    told = render_routes("desk", arms, Timing())["http"]["services"]
    shown = [{"name": f"{name}@file", "status": "enabled", **service} for name, service in told.items()]
    foreign = {"name": "desk-two@file", "weighted": {"services": []}}
    services = services_of("desk", [*shown, foreign])
    assert is_shown(told, services)
    assert sorted(read_arms("desk", services), key=str) == sorted(arms, key=str)


def test_durations_and_names_are_compared_by_what_they_mean() -> None:
    told = {"interval": "60000ms", "timeout": "1500ms", "name": "a", "list": [{"weight": 1}]}
    shown = {"interval": "1m0s", "timeout": "1.5s", "name": "a@file", "list": [{"weight": 1, "more": 2}], "more": 3}
    assert is_shown(told, shown)
    for key, value in {"interval": "1m1s", "name": "b@file", "list": [], "timeout": None}.items():
        assert not is_shown(told, {**shown, key: value})
    assert not is_shown(told, None)
    assert not is_shown({"list": [1]}, {"list": None})
