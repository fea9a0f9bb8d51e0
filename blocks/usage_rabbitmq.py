"""Lengths of queues, from RabbitMQ's management API. It sees the present only."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import numpy as np

from domain.errors import ConfigError, TransientError
from domain.limits import Limit
from domain.series import Remark
from domain.usage import Interval, Measured, Metric, Reading, Resource, as_name, as_time

PRESENT_S = 150
QUEUES_MAX = 500


class RabbitUsage:
    """Fulfils `domain.ports.UsageSource` for one RabbitMQ.

    Args:
        url: of the management API, `http://HOST:15672`.
        password: never printed.
    """

    def __init__(self, owner: str, url: str, *, user: str, password: str, limit_s: float = 10.0) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ConfigError(f"'{url[:80]}' is no address of RabbitMQ's management API. Write http://HOST:15672.")
        self._owner, self._url, self._auth, self._limit_s = owner, url.rstrip("/"), (user, password), limit_s

    @property
    def name(self) -> str:
        return f"rabbitmq:{self._owner}"

    def read(self, interval: Interval) -> Reading:
        """Messages in each queue, ready and unacknowledged, stamped with the interval's last second.

        Raises: TransientError where it does not answer, ConfigError where it refuses the user.
        """
        if datetime.now(UTC) - interval.end > timedelta(seconds=PRESENT_S):
            return Reading()
        at = np.array([as_time(interval.end - timedelta(seconds=1))], dtype="datetime64[s]")
        queues = self._queues()
        told = {"source": self.name, "answered": QUEUES_MAX, "asked": len(queues), "reason": "it has more queues."}
        return Reading(
            tuple(
                Measured(Resource(Metric.QUEUE, self._owner, _name_of(queue)), at, np.array([float(queue["messages"])]))
                for queue in queues[:QUEUES_MAX]
                # one that was just declared has no count yet
                if "name" in queue and isinstance(queue.get("messages"), int | float)
            ),
            (Remark("usage.half", told),) if len(queues) > QUEUES_MAX else (),
        )

    def limits(self) -> list[Limit]:
        """None: set the length at which somebody should act in capacity.yaml."""
        return []

    def _queues(self) -> list[dict[str, Any]]:
        try:
            with httpx.Client(auth=self._auth, timeout=self._limit_s, trust_env=False) as client:
                answer = client.get(f"{self._url}/api/queues", params={"disable_stats": "false"})
            if answer.status_code in (401, 403):
                raise ConfigError(f"{self._url} refuses our user ({answer.status_code}). Set user and password_secret.")
            body = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
            raise TransientError(f"{self._url} does not answer as RabbitMQ: {type(exc).__name__}.") from exc
        if answer.status_code != 200 or not isinstance(body, list):
            raise TransientError(f"{self._url} answered {answer.status_code}: {str(body)[:200]}.")
        return [cast(dict[str, Any], one) for one in cast(list[object], body) if isinstance(one, dict)]


def _name_of(queue: dict[str, Any]) -> str:
    """Its name, with its virtual host where that is not the usual one: two of them may have queues of one name."""
    host = str(queue.get("vhost", "/"))
    return as_name(str(queue["name"]) if host == "/" else f"{host}/{queue['name']}")
