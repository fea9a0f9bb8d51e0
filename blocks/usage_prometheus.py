"""Usage from Prometheus, by range queries on the names that the usual exporters give.

Known are node exporter, cAdvisor, DCGM, the PostgreSQL exporter, Traefik and RabbitMQ. A server that knows an exporter
only by half gives what it has; each question that fails is told with its reason.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import httpx
import numpy as np

from domain.errors import ConfigError, TransientError
from domain.limits import Limit
from domain.series import Remark
from domain.usage import Interval, Measured, Metric, Reading, Resource

STEP_S = 60
MIB = 1024.0**2
ANSWER_BYTES_MAX = 200_000_000

_NO_DISK = "tmpfs|devtmpfs|overlay|squashfs|ramfs|nsfs|proc|sysfs|cgroup.*|fuse.lxcfs|iso9660"
_DISKS = f'{{fstype!~"{_NO_DISK}",mountpoint!~"/(proc|sys|run|dev)($|/.*)"}}'


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask for one metric: used, and the limit where there is one.

    Args:
        owner, names: labels of the answer that make up the resource.
        factor: from the exporter's unit to ours.
    """

    metric: Metric
    used: str
    limit: str = ""
    owner: str = "instance"
    names: tuple[str, ...] = ()
    factor: float = 1.0


QUESTIONS = (
    # node exporter
    Question(
        Metric.CPU,
        'sum by (instance) (rate(node_cpu_seconds_total{mode!~"idle|iowait"}[5m]))',
        'count by (instance) (node_cpu_seconds_total{mode="idle"})',
    ),
    Question(
        Metric.MEMORY,
        "node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes",
        "node_memory_MemTotal_bytes",
    ),
    Question(
        Metric.DISK,
        f"max by (instance, mountpoint) (node_filesystem_size_bytes{_DISKS} - node_filesystem_free_bytes{_DISKS})",
        # what root alone may fill is no room
        f"max by (instance, mountpoint) (node_filesystem_size_bytes{_DISKS} - node_filesystem_free_bytes{_DISKS}"
        f" + node_filesystem_avail_bytes{_DISKS})",
        names=("mountpoint",),
    ),
    # cAdvisor, by workload
    Question(
        Metric.CPU,
        'sum by (namespace, container) (rate(container_cpu_usage_seconds_total{container!="",container!="POD"}[5m]))',
        'sum by (namespace, container) (kube_pod_container_resource_limits{resource="cpu"})',
        owner="namespace",
        names=("container",),
    ),
    Question(
        Metric.MEMORY,
        'sum by (namespace, container) (container_memory_working_set_bytes{container!="",container!="POD"})',
        'sum by (namespace, container) (kube_pod_container_resource_limits{resource="memory"})',
        owner="namespace",
        names=("container",),
    ),
    # DCGM: percent and mebibytes
    Question(Metric.GPU, "DCGM_FI_DEV_GPU_UTIL", "", owner="Hostname", names=("gpu", "modelName"), factor=0.01),
    Question(
        Metric.GPU_MEMORY,
        "DCGM_FI_DEV_FB_USED",
        "DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE",
        owner="Hostname",
        names=("gpu", "modelName"),
        factor=MIB,
    ),
    # PostgreSQL exporter
    Question(Metric.DATABASE, "pg_database_size_bytes", names=("datname",)),
    Question(
        Metric.CONNECTIONS,
        "sum by (instance) (pg_stat_activity_count)",
        "max by (instance) (pg_settings_max_connections)",
    ),
    # Traefik and RabbitMQ
    Question(
        Metric.REQUESTS,
        "sum by (instance, service) (rate(traefik_service_requests_total[5m]))",
        names=("service",),
    ),
    Question(Metric.QUEUE, "sum by (instance, queue) (rabbitmq_queue_messages)", names=("queue",)),
)


class PrometheusUsage:
    """Fulfils `domain.ports.UsageSource` for one Prometheus server.

    Args:
        url: of the server, without a path of the API.
        place: its name in records.
        token: sent as a bearer token where it is given; it is never printed.
        user, password: sent where a user is given; the password is never printed.
        limit_s: how long one question may take.
    """

    def __init__(
        self,
        url: str,
        *,
        place: str = "main",
        token: str = "",
        user: str = "",
        password: str = "",
        limit_s: float = 20.0,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"'{url[:80]}' is no address of a Prometheus server. Write http://HOST:9090.")
        self._url = url.rstrip("/")
        self._place = place
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._auth = (user, password) if user else None
        self._limit_s = limit_s

    @property
    def name(self) -> str:
        return f"prometheus:{self._place}"

    def read(self, interval: Interval) -> Reading:
        """Ask every question for the interval; what an exporter is not there for has no answer and is no problem.

        Raises: TransientError where not one question was answered.
        """
        measured: list[Measured] = []
        failures: list[str] = []
        for question in QUESTIONS:
            try:
                measured += self._read_range(question, interval)
            except TransientError as exc:
                failures.append(str(exc))
        if len(failures) == len(QUESTIONS):
            raise TransientError(f"{self.name} answered nothing: {failures[0]}")
        answered = len(QUESTIONS) - len(failures)
        values = {"source": self.name, "answered": answered, "asked": len(QUESTIONS)}
        problems = [Remark("usage.half", values | {"reason": failures[0]})] if failures else []
        return Reading(tuple(_once(measured)), tuple(problems))

    def limits(self) -> list[Limit]:
        """Read the limits that exporters know, as they are now; questions that fail have none."""
        limits: dict[Resource, Limit] = {}
        for question in QUESTIONS:
            if not question.limit:
                continue
            for sample in self._ask_or_nothing(question.limit):
                resource, value = _resource(question, sample["metric"]), float(sample["value"][1]) * question.factor
                if resource and math.isfinite(value) and value > 0:
                    limits.setdefault(resource, Limit(resource, value, f"{self.name}: {question.limit[:120]}"))
        return list(limits.values())

    def _ask_or_nothing(self, query: str) -> list[dict[str, Any]]:
        """A limit that can't be read is no limit for now; what was used is told by `read`."""
        try:
            return self._ask("query", {"query": query})
        except TransientError:
            return []

    def _read_range(self, question: Question, interval: Interval) -> Iterator[Measured]:
        # Prometheus takes both ends of a range; ours ends before its end
        parameters = {
            "query": question.used,
            "start": interval.begin.timestamp(),
            "end": interval.end.timestamp() - STEP_S,
            "step": STEP_S,
        }
        found: list[Measured] = []
        try:
            for series in self._ask("query_range", parameters):
                if resource := _resource(question, series["metric"]):
                    times = np.array([float(at) for at, _ in series["values"]]).astype("datetime64[s]")
                    values = np.array([float(value) for _, value in series["values"]]) * question.factor
                    found.append(Measured(resource, times, values))
        except (KeyError, TypeError, ValueError) as exc:
            raise TransientError(f"{self._url} cut its answer short: {exc!r}"[:200]) from exc
        return iter(found)

    def _ask(self, kind: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """Ask once. Raises: TransientError with what the server said."""
        try:
            with httpx.Client(timeout=self._limit_s, headers=self._headers, trust_env=False) as client:
                answer = client.post(f"{self._url}/api/v1/{kind}", data=parameters)
            body = cast(dict[str, Any], answer.json())
        except (httpx.HTTPError, ValueError) as exc:
            raise TransientError(f"{self._url} does not answer as Prometheus: {type(exc).__name__} {exc}.") from exc
        if answer.status_code in (401, 403):
            raise ConfigError(f"{self._url} refuses our token ({answer.status_code}). Set the right one.")
        if body.get("status") != "success":
            raise TransientError(f"{self._url} said: {str(body.get('error', body))[:200]}.")
        result = cast(dict[str, Any], body.get("data") or {}).get("result")
        if not isinstance(result, list):
            raise TransientError(f"{self._url} cut its answer short: it has no result.")
        return cast(list[dict[str, Any]], result)


def _resource(question: Question, labels: dict[str, str]) -> Resource | None:
    owner = labels.get(question.owner, "")
    name = "/".join(labels[key] for key in question.names if labels.get(key))
    if not owner or (question.names and not name):
        return None
    # ports say who was asked, not whose it is
    host = owner.rsplit(":", 1)[0] if question.owner == "instance" else owner
    return Resource(question.metric, host.replace(":", "_") or owner, name)


def _once(measured: list[Measured]) -> Iterator[Measured]:
    """The first answer for each resource counts: two exporters may watch the same."""
    seen: set[Resource] = set()
    for one in measured:
        if one.resource not in seen:
            seen.add(one.resource)
            yield one
