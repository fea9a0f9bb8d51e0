"""Usage from Prometheus, by range queries on the names that the usual exporters give.

Known are node exporter, cAdvisor, DCGM, the PostgreSQL exporter, Traefik and RabbitMQ. A server that knows an exporter
only by half gives what it has; each question that fails is told with its reason.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import httpx
import numpy as np

from domain.errors import ConfigError, TransientError
from domain.limits import Limit
from domain.series import Remark
from domain.usage import Interval, Measured, Metric, Reading, Resource, as_name

STEP_S = 60
MIB = 1024.0**2
ANSWER_BYTES_MAX = 200_000_000
_SECONDS_MAX = 4_102_444_800.0  # the year 2100: a time beyond it is none
_SHAPES = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)
"""What reading an answer of another shape than Prometheus promises ends in."""

_NO_DISK = "tmpfs|devtmpfs|overlay|squashfs|ramfs|nsfs|proc|sysfs|cgroup.*|fuse.lxcfs|iso9660"
_DISKS = f'{{fstype!~"{_NO_DISK}",mountpoint!~"/(proc|sys|run|dev)($|/.*)"}}'


_GPU = ("gpu", "GPU_I_ID", "modelName")
"""A GPU's number, that of its part where it was cut into some, and what it is."""


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
    Question(
        Metric.GPU,
        "DCGM_FI_DEV_GPU_UTIL",
        "DCGM_FI_DEV_GPU_UTIL * 0 + 100",
        owner="Hostname",
        names=_GPU,
        factor=0.01,
    ),
    Question(
        Metric.GPU_MEMORY,
        "DCGM_FI_DEV_FB_USED",
        "DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE",
        owner="Hostname",
        names=_GPU,
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
        warnings: list[str] = []
        with self._client() as client:
            for question in QUESTIONS:
                try:
                    found, warned = self._read_range(client, question, interval)
                except TransientError as exc:
                    failures.append(str(exc))
                    continue
                measured += found
                warnings += warned
        if len(failures) == len(QUESTIONS):
            raise TransientError(f"{self.name} answered nothing: {failures[0]}")
        answered = len(QUESTIONS) - len(failures)
        values = {"source": self.name, "answered": answered, "asked": len(QUESTIONS)}
        problems = [Remark("usage.half", values | {"reason": failures[0]})] if failures else []
        problems += [
            Remark("usage.warned", {"source": self.name, "warning": warning}) for warning in dict.fromkeys(warnings)
        ]
        return Reading(tuple(_once(measured)), tuple(problems))

    def limits(self) -> list[Limit]:
        """Read the limits that exporters know, as they are now; questions that fail have none."""
        limits: dict[Resource, Limit] = {}
        with self._client() as client:
            for question in QUESTIONS:
                for resource, value in self._limits_of(client, question) if question.limit else ():
                    limits.setdefault(resource, Limit(resource, value, f"{self.name}: {question.limit[:120]}"))
        return list(limits.values())

    def _limits_of(self, client: httpx.Client, question: Question) -> Iterator[tuple[Resource, float]]:
        """A limit that can't be read is no limit for now; what was used is told by `read`."""
        try:
            result, _ = self._ask(client, "query", {"query": question.limit})
        except TransientError:
            return
        for sample in result:
            try:
                resource, value = _resource(question, sample["metric"]), float(sample["value"][1]) * question.factor
            except _SHAPES:
                continue
            if resource and math.isfinite(value) and value > 0:
                yield resource, value

    def _client(self) -> httpx.Client:
        return httpx.Client(timeout=self._limit_s, headers=self._headers, auth=self._auth, trust_env=False)

    def _read_range(
        self, client: httpx.Client, question: Question, interval: Interval
    ) -> tuple[list[Measured], list[str]]:
        """The series of one question, and what the server warned of: it answers also when a part of it is away."""
        # Prometheus takes both ends of a range; ours ends before its end
        parameters = {
            "query": question.used,
            "start": interval.begin.timestamp(),
            "end": interval.end.timestamp() - STEP_S,
            "step": STEP_S,
        }
        found: list[Measured] = []
        result, warnings = self._ask(client, "query_range", parameters)
        try:
            for series in result:
                if resource := _resource(question, series["metric"]):
                    seconds = np.array([float(at) for at, _ in series["values"]])
                    values = np.array([float(value) for _, value in series["values"]]) * question.factor
                    possible = (seconds >= 0) & (seconds < _SECONDS_MAX)
                    times = seconds[possible].astype(np.int64).astype("datetime64[s]")
                    found.append(Measured(resource, times, values[possible]))
        except _SHAPES as exc:
            raise TransientError(f"{self._url} cut its answer short: {exc!r}"[:200]) from exc
        return found, warnings

    def _ask(
        self, client: httpx.Client, kind: str, parameters: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Ask once. Returns: the result, and the server's warnings. Raises: TransientError with what it said."""
        status, text = self._post(client, kind, parameters)
        if status in (401, 403):
            raise ConfigError(f"{self._url} refuses us ({status}). Set token_secret, or user and password_secret.")
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise TransientError(f"{self._url} answered {status} with what is no JSON, or was cut short.") from exc
        if not isinstance(body, dict):
            raise TransientError(f"{self._url} answered {status}, and not as Prometheus does.")
        answer = cast(dict[str, Any], body)
        if answer.get("status") != "success":
            raise TransientError(f"{self._url} said: {str(answer.get('error', answer))[:200]}.")
        data = answer.get("data")
        result = cast(dict[str, Any], data).get("result") if isinstance(data, dict) else None
        if not isinstance(result, list):
            raise TransientError(f"{self._url} cut its answer short: it has no result.")
        warnings = answer.get("warnings") or []
        told = [str(one)[:200] for one in cast(list[object], warnings)] if isinstance(warnings, list) else []
        return cast(list[dict[str, Any]], result), told

    def _post(self, client: httpx.Client, kind: str, parameters: dict[str, Any]) -> tuple[int, bytes]:
        """Send one question; the whole answer has to come in time, however slowly, and be of a size to keep."""
        deadline = time.monotonic() + self._limit_s
        text = bytearray()
        try:
            with client.stream("POST", f"{self._url}/api/v1/{kind}", data=parameters) as answer:
                for piece in answer.iter_bytes():
                    text += piece
                    if time.monotonic() > deadline:
                        raise TransientError(f"{self._url} does not answer within {self._limit_s:g} s.")
                    if len(text) > ANSWER_BYTES_MAX:
                        raise TransientError(f"{self._url} answers with over {ANSWER_BYTES_MAX // 10**6} MB.")
                return answer.status_code, bytes(text)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise TransientError(f"{self._url} does not answer as Prometheus: {type(exc).__name__} {exc}.") from exc


def _resource(question: Question, labels: dict[str, str]) -> Resource | None:
    # an exporter that names no host is on the one that was asked
    owner = labels.get(question.owner) or labels.get("instance", "")
    name = "/".join(labels[key] for key in question.names if labels.get(key))
    if not owner or (question.names and not name):
        return None
    # ports say who was asked, not whose it is
    host = owner.rsplit(":", 1)[0] if owner == labels.get("instance") else owner
    return Resource(question.metric, as_name(host.replace(":", "_") or owner.replace(":", "_")), as_name(name))


def _once(measured: list[Measured]) -> Iterator[Measured]:
    """The first answer for each resource counts: two exporters may watch the same."""
    seen: set[Resource] = set()
    for one in measured:
        if one.resource not in seen:
            seen.add(one.resource)
            yield one
