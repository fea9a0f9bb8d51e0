"""Traefik's static configuration for one site: where it listens, what it counts, which folder it watches.

The dynamic part (which release gets which share) is `TraefikBalancer`'s, one file for each application.
"""

from pathlib import Path

import yaml

from blocks.installation import Installation

BUCKETS = 24
BUCKET_FIRST_S, BUCKET_LAST_S = 0.001, 10.0


def bucket_bounds() -> list[float]:
    """The upper bounds of the latency histogram in seconds: log-spaced, since the judge compares ratios."""
    ratio = (BUCKET_LAST_S / BUCKET_FIRST_S) ** (1 / (BUCKETS - 1))
    return [float(f"{BUCKET_FIRST_S * ratio**number:.4g}") for number in range(BUCKETS)]


def traefik_folder(installation: Installation, site: str) -> Path:
    """The folder of one site's Traefik, `site` as `<environment>-<site>`; `dynamic/` in it is watched."""
    return installation.state / "traefik" / site


def static_configuration(installation: Installation, site: str) -> str:
    """Write the static file of one site's Traefik; it holds no secret."""
    folder = traefik_folder(installation, site)
    ports = installation.ports
    return yaml.safe_dump(
        {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "entryPoints": {
                # Kept longer than the ones behind it, so that no answer is lost to a closing connection.
                "web": {
                    "address": f"127.0.0.1:{ports[f'entry-{site}']}",
                    "transport": {"lifeCycle": {"requestAcceptGraceTimeout": "0s", "graceTimeOut": "10s"}},
                },
                # Named so because API, ping and metrics go to the entry point of this name unless told otherwise.
                "traefik": {"address": f"127.0.0.1:{ports[f'metrics-{site}']}"},
            },
            "api": {"insecure": True, "dashboard": True},
            "ping": {},
            "providers": {
                "providersThrottleDuration": "100ms",
                "file": {"directory": str(folder / "dynamic"), "watch": True},
            },
            "metrics": {
                "prometheus": {
                    "addEntryPointsLabels": True,
                    "addRoutersLabels": False,
                    "addServicesLabels": True,
                    "buckets": bucket_bounds(),
                }
            },
            "log": {
                "level": "INFO",
                "filePath": str(folder / "log" / "traefik.log"),
                "maxSize": 10,
                "maxBackups": 3,
                "noColor": True,
            },
            # Standard output: supervisor keeps and rotates it.
            "accessLog": {"format": "json", "fields": {"headers": {"defaultMode": "drop"}}},
        },
        sort_keys=False,
    )
