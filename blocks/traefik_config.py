"""What Traefik is told about one application on one site, and how what it shows is compared with that.

A router on the Host header, a weighted service over one child service for each release, a retry, a transport. Rendered
and read back by `blocks/balancer_traefik.py`; the reasons were found by trying (docs/reference/targets.md).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from domain.service import Arm, service_name

RELEASE_HEADER = "X-Slipway-Release"
"""Sent with every health check, so that Traefik's API shows the whole digest of a child service."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Pause between health checks of an instance; how long it may take to begin an answer."""

    check_interval_s: float = 1.0
    answer_limit_s: float = 60.0


def host_of(application: str) -> str:
    """The Host header that reaches an application through a site's entry."""
    return f"{application}.localhost"


def render_routes(application: str, arms: Sequence[Arm], timing: Timing) -> dict[str, Any]:
    """Write Traefik's dynamic configuration for an application."""
    services = {service_name(application, arm.release): _render_arm(application, arm, timing) for arm in arms}
    router = {"rule": f"Host(`{host_of(application)}`)", "service": application, "middlewares": [application]}
    return {
        "http": {
            "routers": {application: router},
            "services": services | {application: {"weighted": _render_shares(application, arms)}},
            "middlewares": {application: {"retry": _render_retry(timing)}},
            "serversTransports": {application: _render_transport(timing)},
        }
    }


def read_arms(application: str, services: Mapping[str, Mapping[str, Any]]) -> list[Arm]:
    """Read the arms from the services that Traefik shows, by falling share."""
    shares = cast(list[dict[str, Any]], services.get(application, {}).get("weighted", {}).get("services", []))
    weights = {_plain(str(share["name"])): int(share["weight"]) for share in shares}
    arms = [
        _read_arm(name, cast(dict[str, Any], service["loadBalancer"]), weights.get(name, 0))
        for name, service in services.items()
        if "loadBalancer" in service
    ]
    return sorted(arms, key=lambda arm: (-arm.weight_percent, arm.release))


def services_of(application: str, shown: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Choose an application's services from all that Traefik shows, by name without `@file`."""
    names = re.compile(rf"{re.escape(application)}(-[0-9a-f]{{12}})?@file")
    found: dict[str, Mapping[str, Any]] = {}
    for service in shown:
        match = names.fullmatch(str(service.get("name")))
        # Another application may be called like a release of this one; what kind a service is tells them apart.
        if match and ("loadBalancer" if match[1] else "weighted") in service:
            found[_plain(str(service["name"]))] = service
    return found


def is_shown(expected: Any, found: Any) -> bool:
    """Whether all that was told is in what Traefik shows; it adds its defaults, and writes names and times its way."""
    if isinstance(expected, Mapping):
        pairs = cast(Mapping[str, Any], expected)
        return isinstance(found, Mapping) and all(key in found and is_shown(pairs[key], found[key]) for key in pairs)
    if isinstance(expected, list):
        wanted, there = cast(list[Any], expected), cast(list[Any], found)
        return len(wanted) == len(there) and all(map(is_shown, wanted, there))
    if isinstance(expected, str) and isinstance(found, str):
        return _plain(expected) == _plain(found) or (_seconds(expected) or -1) == _seconds(found)
    return expected == found


def _render_shares(application: str, arms: Sequence[Arm]) -> dict[str, Any]:
    # An arm of weight 0 stays out of the list: Traefik 3.7 spins for ever, and with it every request of the
    # application, once all listed arms with a weight are down and one of weight 0 is up.
    shares = [
        {"name": service_name(application, arm.release), "weight": arm.weight_percent}
        for arm in arms
        if arm.weight_percent > 0
    ]
    # With two arms, a dead one loses its share to the other. With one there is no other, and its own service must give
    # the 503, so that it is counted as that release's failure.
    return {"services": shares} | ({"healthCheck": {}} if len(shares) > 1 else {})


def _render_arm(application: str, arm: Arm, timing: Timing) -> dict[str, Any]:
    interval = _duration(timing.check_interval_s)
    check = {
        "path": arm.health_path,
        "interval": interval,
        "unhealthyInterval": interval,
        "timeout": _duration(max(1.0, timing.check_interval_s)),
        "headers": {RELEASE_HEADER: arm.release},
    }
    return {
        "loadBalancer": {
            "servers": [{"url": address} for address in arm.addresses],
            "passHostHeader": True,
            "serversTransport": application,
            "healthCheck": check,
        }
    }


def _render_retry(timing: Timing) -> dict[str, Any]:
    """Ask another instance when no connection came about, for longer than a health check needs to notice.

    Traefik never repeats a request of which anything was sent.
    """
    return {"attempts": 12, "initialInterval": _duration(timing.check_interval_s / 10)}


def _render_transport(timing: Timing) -> dict[str, Any]:
    # Idle connections end here before they end there (gunicorn waits 2 s, uvicorn 5 s): a request with a body that
    # meets a connection just being closed could not be sent again.
    timeouts = {
        "dialTimeout": "2s",
        "idleConnTimeout": "1s",
        "responseHeaderTimeout": _duration(timing.answer_limit_s),
    }
    return {"maxIdleConnsPerHost": 200, "forwardingTimeouts": timeouts}


def _read_arm(name: str, balancer: Mapping[str, Any], weight_percent: int) -> Arm:
    check = cast(dict[str, Any], balancer.get("healthCheck") or {})
    return Arm(
        release=str(check.get("headers", {}).get(RELEASE_HEADER) or name.rpartition("-")[2]),
        weight_percent=weight_percent,
        addresses=tuple(str(server["url"]) for server in balancer.get("servers") or ()),
        health_path=str(check.get("path", "")),
    )


def _plain(name: str) -> str:
    return name.removesuffix("@file")


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _seconds(text: str) -> float | None:
    """Read a duration as Go writes it: `1s`, `100ms`, `1m0s`; None where it is none."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return round(sum(float(number) * units[unit] for number, unit in parts), 6)
