"""What Traefik of one site counted: requests, failures and durations of every release.

Read from its Prometheus page, where every child service of an application is one release. A canary is measured there
the same way on every kind of target.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import Field

from blocks.installed_block import InstalledBlock
from blocks.traefik_api import TraefikApi
from blocks.traefik_config import counted_release
from domain.errors import TransientError
from domain.traffic import Counters

FAILURE_CODE_MIN = 500
"""From this status on an answer counts as a failure. 499 (the client left) and 0 do not: the release may be blameless,
and if it kept the client waiting, the duration tells."""

_BUCKET = "traefik_service_request_duration_seconds_bucket"
_LINE = re.compile(rf"{_BUCKET}\{{(.*)\}} ([0-9.e+]+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class TraefikMetrics(InstalledBlock):
    """Reads the counters of one site's load balancer."""

    _block_type_name = "Slipway Traefik Metrics"
    _block_type_slug = "slipway-traefik-metrics"

    environment: str = Field(description="Name of the environment")
    site: str = Field(description="Name of the site in it")

    def read(self, application: str) -> dict[str, Counters]:
        """Read the counters of every release that has some, by the first 12 digits of its digest.

        Attempts are counted: a request that found no connection, or a release without a living instance, is one failure
        of that release for each attempt, though the client may have got its answer from another instance.

        Raises: TransientError where Traefik does not answer.
        """
        api = TraefikApi.of(self.installation, f"{self.environment}-{self.site}")
        page = api.read_text("/metrics")
        if page is None:
            raise TransientError(f"Traefik of {api.place} has no metrics page. Run `slipway up`, which configures it.")
        return parse_counters(page, application, at=datetime.now(UTC))


@dataclass(slots=True)
class _Sums:
    buckets: dict[float, int] = field(default_factory=lambda: defaultdict(int))
    failures: int = 0


def parse_counters(page: str, application: str, *, at: datetime) -> dict[str, Counters]:
    """Sum a page of Traefik's metrics over methods, protocols and codes, for each release of an application.

    All figures come from the one histogram: its infinite bucket is the number of requests, so that requests, failures
    and buckets of one reading agree.
    """
    sums: defaultdict[str, _Sums] = defaultdict(_Sums)
    for release, code, bound, count in _samples(page, application):
        sums[release].buckets[bound] += count
        if bound == math.inf and code >= FAILURE_CODE_MIN:
            sums[release].failures += count
    return {release: _counters(total, at=at) for release, total in sums.items()}


def _counters(sums: _Sums, *, at: datetime) -> Counters:
    bounds = tuple(sorted(sums.buckets))
    return Counters(
        at=at,
        requests=sums.buckets[math.inf],
        failures=sums.failures,
        bounds_s=bounds,
        buckets=tuple(sums.buckets[bound] for bound in bounds),
    )


def _samples(page: str, application: str) -> Iterator[tuple[str, int, float, int]]:
    """Yield release (12 digits), status code, upper bound in seconds and cumulative count of each line that matters."""
    for line in page.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        labels = dict(_LABEL.findall(found[1]))
        release = counted_release(application, labels.get("service", ""))
        if release:
            yield release, int(labels["code"]), float(labels["le"]), int(float(found[2]))
