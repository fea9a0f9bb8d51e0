"""Lengths of queues in one database of a Redis: lists, streams, and what each consumer group of a stream has left.

It sees the present only. Redis takes an empty list away, so that what was seen once is remembered in a file of the
state folder, and counts as empty while it is not there. Of a Redis itself: memory and clients, with their limits.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from blocks.installation import write_private
from domain.errors import ConfigError, TransientError
from domain.limits import Limit
from domain.series import Remark
from domain.usage import Interval, Measured, Metric, Reading, Resource, as_name, as_time

PRESENT_S = 150
QUEUES_MAX = 500
SCAN_COUNT = 1000
SCAN_LIMIT_S = 20.0
ENTRIES_COUNTED_MAX = 10_000
"""Of a group whose lag Redis doesn't know: more than these are counted no further, and told."""
KEPT = timedelta(days=30)
_KINDS = ("list", "stream")
_SERVER = "redis"


class RedisUsage:
    """Fulfils `domain.ports.UsageSource` for one database of one Redis.

    Args:
        owner: its name in keys.
        url: `redis://HOST:6379/0`, or `rediss://` with TLS; without a password.
        user: empty for the default user.
        password: never printed.
        queues: patterns of keys that are queues; every list and stream is one where none is given.
        memory: the file with the queues that were seen.
    """

    def __init__(
        self,
        owner: str,
        url: str,
        memory: Path,
        *,
        user: str = "",
        password: str = "",
        queues: Sequence[str] = (),
        limit_s: float = 10.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise ConfigError(f"redis:{owner}: the url is no address of a Redis. Write redis://HOST:6379/0.")
        self._owner, self._memory, self._queues = owner, memory, tuple(queues) or ("*",)
        try:
            self._client = redis.Redis.from_url(
                url,
                username=user or None,
                password=password or None,
                socket_timeout=limit_s,
                socket_connect_timeout=min(limit_s, 5.0),
                retry=Retry(NoBackoff(), 0),
                client_name="slipway-usage",
                decode_responses=False,
                protocol=2,
            )
        except (ValueError, RedisError) as exc:
            raise ConfigError(f"redis:{owner}: the url is no address of a Redis. Write redis://HOST:6379/0.") from exc

    @property
    def name(self) -> str:
        return f"redis:{self._owner}"

    def read(self, interval: Interval) -> Reading:
        """One sample of each queue, stamped with the interval's last second; none of a time that has gone.

        Effect: notes which queues there are. Raises: TransientError where it does not answer, ConfigError where it
        refuses the user.
        """
        if datetime.now(UTC) - interval.end > timedelta(seconds=PRESENT_S):
            return Reading()
        try:
            values, failures = self._values(as_of=datetime.now(UTC).timestamp())
        finally:
            self._client.close()
        at = np.array([as_time(interval.end - timedelta(seconds=1))], dtype="datetime64[s]")
        told = {"source": self.name, "answered": len(values), "asked": len(values) + len(failures)}
        problems = (Remark("usage.half", told | {"reason": failures[0][:300]}),) if failures else ()
        return Reading(tuple(Measured(one, at, np.array([value])) for one, value in values.items()), problems)

    def limits(self) -> list[Limit]:
        """`maxmemory` where one is set, and `maxclients`; a queue has none: set the length at which somebody acts."""
        try:
            found = self._info("memory") | self._info("clients")
        finally:
            self._client.close()
        known = ((Metric.MEMORY, "maxmemory"), (Metric.CONNECTIONS, "maxclients"))
        return [
            Limit(Resource(metric, self._owner, _SERVER), most, f"{setting} of the Redis")
            for metric, setting in known
            if (most := float(found.get(setting, 0))) > 0
        ]

    def _values(self, *, as_of: float) -> tuple[dict[Resource, float], list[str]]:
        failures: list[str] = []
        lengths: dict[str, float] = {}
        keys, is_whole = self._find_queues()
        if not is_whole:
            failures.append(f"it has too many keys to look through in {SCAN_LIMIT_S:.0f} s. Name its `queues`")
        if len(keys) > QUEUES_MAX:
            failures.append(f"{len(keys)} keys look like queues, {QUEUES_MAX} were measured. Name its `queues`")
        for key, kind in sorted(keys.items())[:QUEUES_MAX]:
            try:
                lengths.update(self._lengths(key, kind))
            except TransientError as exc:
                failures.append(str(exc))
        seen = self._remember(lengths, as_of=as_of)
        if is_whole:
            lengths |= {name: 0.0 for name in seen if name not in lengths}
        values = {Resource(Metric.QUEUE, self._owner, name): length for name, length in sorted(lengths.items())}
        return values | self._of_server(), failures

    def _of_server(self) -> dict[Resource, float]:
        found = self._info("memory") | self._info("clients")
        return {
            Resource(Metric.MEMORY, self._owner, _SERVER): float(found["used_memory"]),
            Resource(Metric.CONNECTIONS, self._owner, _SERVER): float(found["connected_clients"]),
        }

    def _info(self, section: str) -> dict[str, Any]:
        return cast(dict[str, Any], self._ask("INFO", section))

    def _find_queues(self) -> tuple[dict[bytes, str], bool]:
        """Look for lists and streams of these names; and whether there was time to see all keys."""
        found: dict[bytes, str] = {}
        deadline = time.monotonic() + SCAN_LIMIT_S
        for pattern in self._queues:
            for kind in _KINDS:
                cursor = 0
                while True:
                    cursor, keys = self._ask("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT, "TYPE", kind)
                    found |= dict.fromkeys(keys, kind)
                    if not int(cursor):
                        break
                    if time.monotonic() > deadline:
                        return found, False
        return found, True

    def _lengths(self, key: bytes, kind: str) -> Iterator[tuple[str, float]]:
        name = _name_of(key)
        if kind == "list":
            yield name, float(self._ask("LLEN", key))
            return
        yield name, float(self._ask("XLEN", key))
        for group in cast(list[Mapping[str, Any]], self._ask("XINFO GROUPS", key)):
            waiting = group.get("lag")
            if waiting is None:  # Redis before 7, and after entries were deleted out of order
                waiting = self._count_after(key, cast(bytes, group["last-delivered-id"]))
            yield f"{name}/{_name_of(cast(bytes, group['name']))}", float(waiting) + float(group["pending"])

    def _count_after(self, key: bytes, identifier: bytes) -> int:
        """Count the entries that a group was not given yet."""
        entries = cast(list[Any], self._ask("XRANGE", key, b"(" + identifier, "+", "COUNT", ENTRIES_COUNTED_MAX))
        if len(entries) >= ENTRIES_COUNTED_MAX:
            raise TransientError(f"{_name_of(key)}: Redis does not know how far a group is behind, and it is far")
        return len(entries)

    def _ask(self, *command: Any) -> Any:
        try:
            return cast(Any, self._client.execute_command(*command))
        except (AuthenticationError, NoPermissionError) as exc:
            raise ConfigError(
                f"{self.name} refuses our user: {str(exc)[:160]}. Set user and password_secret of one that may INFO, "
                "SCAN, LLEN, XLEN, XINFO and XRANGE."
            ) from exc
        except ResponseError as exc:
            if str(exc).startswith("NOAUTH"):
                raise ConfigError(f"{self.name} wants a password. Set password_secret.") from exc
            raise TransientError(f"{self.name} answered {command[0]} with: {str(exc)[:200]}") from exc
        except (RedisError, OSError) as exc:
            raise TransientError(f"{self.name} does not answer: {type(exc).__name__}.") from exc

    def _remember(self, lengths: Mapping[str, float], *, as_of: float) -> list[str]:
        """Note what is there now; returns what was seen within the last month, also what has gone since."""
        try:
            before = {
                str(name): float(at)
                for name, at in json.loads(self._memory.read_text()).items()
                if as_of - float(at) < KEPT.total_seconds() and self._is_wanted(str(name))
            }
        except (OSError, ValueError, AttributeError, TypeError):
            before = {}
        kept = before | dict.fromkeys(lengths, as_of)
        newest = dict(sorted(kept.items(), key=lambda pair: -pair[1])[:QUEUES_MAX])
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        write_private(self._memory, json.dumps(newest))
        return list(newest)

    def _is_wanted(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}/*") for pattern in self._queues)


def _name_of(key: bytes) -> str:
    """A key as text; what is not, with escapes."""
    return as_name(key.decode(errors="backslashreplace"))
