"""Usage of a Kubernetes cluster: nodes and workloads, from metrics.k8s.io; what is allocatable, from the nodes.

It sees the present only. Asked over HTTP with a token; a context of a kubeconfig is read by the `kubernetes` client,
which only then has to be installed.
"""

import ssl
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
import numpy as np

from domain.errors import ConfigError, TransientError
from domain.limits import Limit
from domain.series import Remark
from domain.usage import Interval, Measured, Metric, Reading, Resource, as_time

PRESENT_S = 150
GPU = "nvidia.com/gpu"
_SUFFIXES = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    **{letter: 1000.0**place for place, letter in enumerate("MGTPE", start=2)},
    **{f"{letter}i": 1024.0**place for place, letter in enumerate("KMGTPE", start=1)},
}


@dataclass(frozen=True, slots=True)
class Access:
    """How to ask a cluster's API; `token` is never printed."""

    url: str
    token: str = field(default="", repr=False)
    ca_file: str = ""
    client_files: tuple[str, str] | None = None

    def client(self, *, limit_s: float) -> httpx.Client:
        """A client of the API, that trusts the cluster's own authority where it is given."""
        verify: ssl.SSLContext | bool = True
        if self.url.startswith("https://"):
            verify = ssl.create_default_context(cafile=self.ca_file or None)
            if self.client_files:
                verify.load_cert_chain(*self.client_files)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return httpx.Client(base_url=self.url, headers=headers, verify=verify, timeout=limit_s, trust_env=False)


def read_context(context: str) -> Access:
    """Read a context of this machine's kubeconfig; empty for the current one.

    Raises: ConfigError where the `kubernetes` client is missing or the context is.
    """
    try:
        from kubernetes import client, config  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as exc:
        raise ConfigError(
            "A kubeconfig is read by `kubernetes`: install slipway[kubernetes], or give url and token."
        ) from exc
    found: Any = client.Configuration()
    try:
        config.load_kube_config(context=context or None, client_configuration=found)
    except config.ConfigException as exc:
        raise ConfigError(f"The kubeconfig has no usable context '{context}': {str(exc)[:200]}") from exc
    keys = cast(dict[str, str], found.api_key)  # its name has changed between versions of the client
    token = str(keys.get("BearerToken") or keys.get("authorization") or "").removeprefix("Bearer ")
    files = (str(found.cert_file), str(found.key_file)) if found.cert_file and found.key_file else None
    return Access(str(found.host), token, str(found.ssl_ca_cert or ""), files)


class KubernetesUsage:
    """Fulfils `domain.ports.UsageSource` for one cluster."""

    def __init__(self, place: str, access: Access, *, limit_s: float = 20.0) -> None:
        if not access.url.startswith(("http://", "https://")):
            raise ConfigError(f"'{access.url[:80]}' is no address of a Kubernetes API. Write https://HOST:6443.")
        self._place, self._access, self._limit_s = place, access, limit_s

    @property
    def name(self) -> str:
        return f"kubernetes:{self._place}"

    def read(self, interval: Interval) -> Reading:
        """One sample of each node and workload, stamped with the interval's last second; none of a time that has gone.

        Raises: TransientError where nothing was answered, ConfigError where the token is refused.
        """
        if datetime.now(UTC) - interval.end > timedelta(seconds=PRESENT_S):
            return Reading()
        values: dict[Resource, float] = {}
        failures: list[str] = []
        questions = (self._nodes_used, self._workloads_used, self._gpus_taken)
        with self._access.client(limit_s=self._limit_s) as client:
            for question in questions:
                try:
                    values.update(question(client))
                except TransientError as exc:
                    failures.append(str(exc))
                except (KeyError, TypeError, AttributeError) as exc:
                    failures.append(f"the answer lacks what it should have: {exc!r}"[:200])
        if len(failures) == len(questions):
            raise TransientError(f"{self.name} answered nothing: {failures[0]}")
        told = {"source": self.name, "answered": len(questions) - len(failures), "asked": len(questions)}
        problems = (Remark("usage.half", told | {"reason": failures[0]}),) if failures else ()
        at = np.array([as_time(interval.end - timedelta(seconds=1))], dtype="datetime64[s]")
        return Reading(tuple(Measured(one, at, np.array([value])) for one, value in values.items()), problems)

    def limits(self) -> list[Limit]:
        """What pods may take of each node, and the limits of workloads, added up over their pods."""
        limits: list[Limit] = []
        with self._access.client(limit_s=self._limit_s) as client:
            for node in self._items(client, "/api/v1/nodes"):
                name, allocatable = node["metadata"]["name"], node["status"]["allocatable"]
                source = f"{self.name}: allocatable of node {name}"
                limits.append(Limit(Resource(Metric.CPU, name), read_quantity(allocatable["cpu"]), source))
                limits.append(Limit(Resource(Metric.MEMORY, name), read_quantity(allocatable["memory"]), source))
                if read_quantity(allocatable.get(GPU, "0")):
                    limits.append(
                        Limit(Resource(Metric.GPU, name, "allocated"), 1.0, f"{source}: {allocatable[GPU]} GPUs")
                    )
            limits += self._workload_limits(client)
        return limits

    def _workload_limits(self, client: httpx.Client) -> Iterator[Limit]:
        sums: defaultdict[Resource, float] = defaultdict(float)
        unlimited: set[Resource] = set()
        for pod in self._running(client):
            for container in pod["spec"]["containers"]:
                given = container.get("resources", {}).get("limits", {})
                for metric in (Metric.CPU, Metric.MEMORY):
                    resource = Resource(metric, pod["metadata"]["namespace"], container["name"])
                    if metric.value in given:
                        sums[resource] += read_quantity(given[metric.value])
                    else:
                        unlimited.add(resource)
        for resource, value in sums.items():
            if resource not in unlimited and value > 0:
                yield Limit(resource, value, f"{self.name}: limits of the containers")

    def _nodes_used(self, client: httpx.Client) -> Iterator[tuple[Resource, float]]:
        for node in self._items(client, "/apis/metrics.k8s.io/v1beta1/nodes"):
            for metric in (Metric.CPU, Metric.MEMORY):
                yield Resource(metric, node["metadata"]["name"]), read_quantity(node["usage"][metric.value])

    def _workloads_used(self, client: httpx.Client) -> Iterator[tuple[Resource, float]]:
        sums: defaultdict[Resource, float] = defaultdict(float)
        for pod in self._items(client, "/apis/metrics.k8s.io/v1beta1/pods"):
            for container in pod["containers"]:
                for metric in (Metric.CPU, Metric.MEMORY):
                    resource = Resource(metric, pod["metadata"]["namespace"], container["name"])
                    sums[resource] += read_quantity(container["usage"][metric.value])
        return iter(sums.items())

    def _gpus_taken(self, client: httpx.Client) -> Iterator[tuple[Resource, float]]:
        """The share of each node's GPUs that pods have asked for."""
        taken: defaultdict[str, float] = defaultdict(float)
        for pod in self._running(client):
            for container in pod["spec"]["containers"]:
                asked = container.get("resources", {}).get("limits", {}).get(GPU, "0")
                taken[pod["spec"].get("nodeName", "")] += read_quantity(asked)
        for node in self._items(client, "/api/v1/nodes"):
            if there := read_quantity(node["status"]["allocatable"].get(GPU, "0")):
                yield (
                    Resource(Metric.GPU, node["metadata"]["name"], "allocated"),
                    taken[node["metadata"]["name"]] / there,
                )

    def _running(self, client: httpx.Client) -> list[dict[str, Any]]:
        pods = self._items(client, "/api/v1/pods")
        return [pod for pod in pods if pod["status"].get("phase") not in ("Succeeded", "Failed")]

    def _items(self, client: httpx.Client, path: str) -> list[dict[str, Any]]:
        """Read a list, page by page. Raises: TransientError with what the API said."""
        items: list[dict[str, Any]] = []
        following = ""
        while True:
            body = self._page(client, path, following)
            items += cast(list[dict[str, Any]], body.get("items") or [])
            following = str(body.get("metadata", {}).get("continue") or "")
            if not following:
                return items

    def _page(self, client: httpx.Client, path: str, following: str) -> dict[str, Any]:
        parameters = {"limit": "500", **({"continue": following} if following else {})}
        try:
            answer = client.get(path, params=parameters)
            if answer.status_code in (401, 403):
                raise ConfigError(
                    f"{self._access.url}{path} refuses our token ({answer.status_code}). It has to list nodes and pods."
                )
            body = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
            raise TransientError(f"{self._access.url}{path} does not answer: {type(exc).__name__}.") from exc
        if answer.status_code != 200 or not isinstance(body, dict):
            told = cast(dict[str, Any], body).get("message", body) if isinstance(body, dict) else body
            raise TransientError(f"{self._access.url}{path} answered {answer.status_code}: {str(told)[:200]}")
        return cast(dict[str, Any], body)


def read_quantity(text: str) -> float:
    """Read a quantity of Kubernetes: `250m`, `123456789n`, `2Gi`.

    Raises: TransientError where it is none: another version of the API may write it otherwise.
    """
    digits = str(text).rstrip("numkKMGTPEi")
    suffix = str(text)[len(digits) :]
    try:
        return float(digits) * _SUFFIXES[suffix]
    except (KeyError, ValueError) as exc:
        raise TransientError(f"'{str(text)[:40]}' is no quantity of Kubernetes.") from exc
