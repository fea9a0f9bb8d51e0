"""What Traefik is told about one application on one site, and how what it shows is compared with that.

A router on the Host header with a retry; a weighted service over the releases that have a share; for each release a
service with its instances, and what counts a request that none of them can take. Rendered and read back by
`blocks/balancer_traefik.py`, counted by `blocks/metrics_traefik.py`; the reasons were found by trying
(docs/reference/targets.md).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from domain.service import SETTINGS_SIGN, Arm, service_name

RELEASE_HEADER = "X-Slipway-Release"
"""Sent with every health check, so that Traefik's API shows the whole digest of a child service."""


_REVISION = rf"[0-9a-f]{{12}}(?:{SETTINGS_SIGN}[0-9]+)?"

NOBODY = "http://127.0.0.1:1"
"""Where a release without a living instance sends a request: refused at once, so that it is counted and tried again."""


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
    services = {application: {"weighted": {"services": _render_shares(application, arms)}}}
    for arm in arms:
        services |= _render_release(application, arm, timing)
    router = {"rule": f"Host(`{host_of(application)}`)", "service": application, "middlewares": [application]}
    return {
        "http": {
            "routers": {application: router},
            "services": services,
            "middlewares": {application: {"retry": _render_retry(timing)}},
            "serversTransports": {application: _render_transport(timing)},
        }
    }


def counted_release(application: str, service: str) -> str | None:
    """Say which revision (shortened) of an application Traefik counts under a service's name; None for none."""
    found = re.fullmatch(rf"{re.escape(application)}-({_REVISION})(-down)?@file", service)
    return _plain_revision(found[1]) if found else None


def application_of(service: str) -> str | None:
    """Say whose release Traefik counts under a service's name; None where it is no release of ours."""
    found = re.fullmatch(rf"(.+)-{_REVISION}(-down)?@file", service)
    return found[1] if found else None


def read_arms(application: str, services: Mapping[str, Mapping[str, Any]]) -> list[Arm]:
    """Read the arms from the services that Traefik shows, by falling share."""
    shares = cast(list[dict[str, Any]], services.get(application, {}).get("weighted", {}).get("services", []))
    weights = {_plain(str(share["name"])).removesuffix("-arm"): int(share["weight"]) for share in shares}
    arms = [
        _read_arm(name, cast(dict[str, Any], service["loadBalancer"]), weights.get(name, 0))
        for name, service in services.items()
        if "loadBalancer" in service and not name.endswith("-down")
    ]
    return sorted(arms, key=lambda arm: (-arm.weight_percent, arm.release))


def services_of(application: str, shown: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Choose an application's services from all that Traefik shows, by name without `@file`."""
    names = re.compile(rf"{re.escape(application)}(?:-{_REVISION}(-arm|-down)?)?@file")
    found: dict[str, Mapping[str, Any]] = {}
    for service in shown:
        match = names.fullmatch(str(service.get("name")))
        if match is None:
            continue
        name = _plain(str(service["name"]))
        kind = "weighted" if name == application else "failover" if match[1] == "-arm" else "loadBalancer"
        # Another application may be called like a release of this one; what kind a service is tells them apart.
        if kind in service:
            found[name] = service
    return found


def is_shown(expected: Any, found: Any) -> bool:
    """Whether all that was told is in what Traefik shows; it adds its defaults, and writes names and times its way."""
    if isinstance(expected, Mapping):
        pairs = cast(Mapping[str, Any], expected)
        shown = cast(Mapping[str, Any], found) if isinstance(found, Mapping) else {}
        return isinstance(found, Mapping) and all(is_shown(pairs[key], shown.get(key)) for key in pairs)
    if isinstance(expected, list):  # an empty one is not shown at all
        wanted, there = cast(list[Any], expected), cast(list[Any], found or [])
        return len(wanted) == len(there) and all(map(is_shown, wanted, there))
    if isinstance(expected, str) and isinstance(found, str):
        return _plain(expected) == _plain(found) or (_seconds(expected) or -1) == _seconds(found)
    return expected == found


def _render_shares(application: str, arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Name the releases that have a share.

    One of weight 0 stays out, and the weighted service has no health check of its own: with both, Traefik 3.7 spins for
    ever, and with it every request of the application, once all releases with a share are down and that one is up.
    """
    return [
        {"name": f"{service_name(application, arm.release)}-arm", "weight": arm.weight_percent}
        for arm in arms
        if arm.weight_percent > 0
    ]


def _render_release(application: str, arm: Arm, timing: Timing) -> dict[str, Any]:
    """The instances of a release; and where its requests go when all of them are down.

    Traefik's own 503 for "no instance" is counted for no service. A refused connection is counted for this release, and
    the retry then finds another release that lives.
    """
    name = service_name(application, arm.release)
    nobody = {"servers": [{"url": NOBODY}], "serversTransport": application}
    return {
        f"{name}-arm": {"failover": {"service": name, "fallback": f"{name}-down"}},
        f"{name}-down": {"loadBalancer": nobody},
        name: {"loadBalancer": _render_instances(application, arm, timing)},
    }


def _render_instances(application: str, arm: Arm, timing: Timing) -> dict[str, Any]:
    interval = _duration(timing.check_interval_s)
    return {
        "servers": [{"url": address} for address in arm.addresses],
        "passHostHeader": True,
        "serversTransport": application,
        "healthCheck": {
            "path": arm.health_path,
            "interval": interval,
            "unhealthyInterval": interval,
            "timeout": _duration(max(1.0, timing.check_interval_s)),
            "headers": {RELEASE_HEADER: arm.release},
        },
    }


def _render_retry(timing: Timing) -> dict[str, Any]:
    """Ask another instance when no connection came about, for longer than a health check needs to notice.

    Twenty attempts find the living release of two even where the dead one has most of the traffic. Traefik never
    repeats a request of which anything was sent.
    """
    return {"attempts": 20, "initialInterval": _duration(timing.check_interval_s / 15)}


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
        release=str(check.get("headers", {}).get(RELEASE_HEADER) or _plain_revision(name.rpartition("-")[2])),
        weight_percent=weight_percent,
        addresses=tuple(str(server["url"]) for server in balancer.get("servers") or ()),
        health_path=str(check.get("path", "")),
    )


def _plain_revision(name: str) -> str:
    return name.replace(SETTINGS_SIGN, "@")


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
