"""Usage of an S3 server: bytes and objects of each bucket and of each prefix in it, old versions included.

It sees the present only. A bucket that is too large to be listed, or that refuses, costs its own series.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from blocks.bucket import Account
from domain.errors import ConfigError, TransientError
from domain.limits import Limit
from domain.series import Remark
from domain.usage import Interval, Measured, Metric, Reading, Resource, as_name, as_time

PRESENT_S = 150
PREFIXES_MAX = 50


class S3Usage:
    """Fulfils `domain.ports.UsageSource` for one S3 server.

    Args:
        owner: the server's name in keys.
        account: keys that may list; those that may not, see nothing.
        pages_max: how many pages of a thousand objects are read of a bucket; a larger one is left out, and told.
    """

    def __init__(self, owner: str, account: Account, *, pages_max: int = 200) -> None:
        self._owner, self._account, self._pages_max = owner, account, pages_max

    @property
    def name(self) -> str:
        return f"s3:{self._owner}"

    def read(self, interval: Interval) -> Reading:
        """One sample of each bucket and prefix, stamped with the interval's last second; none of a time that has gone.

        Raises: TransientError where the server does not answer, ConfigError where it refuses our keys.
        """
        if datetime.now(UTC) - interval.end > timedelta(seconds=PRESENT_S):
            return Reading()
        client = self._account.client()
        buckets = self._buckets(client)
        values: dict[Resource, float] = {}
        failures: list[str] = []
        for bucket in buckets:
            try:
                values.update(self._sizes(client, bucket))
            except TransientError as exc:
                failures.append(str(exc))
        told = {"source": self.name, "answered": len(buckets) - len(failures), "asked": len(buckets)}
        problems = (Remark("usage.half", told | {"reason": failures[0]}),) if failures else ()
        at = np.array([as_time(interval.end - timedelta(seconds=1))], dtype="datetime64[s]")
        return Reading(tuple(Measured(one, at, np.array([value])) for one, value in values.items()), problems)

    def limits(self) -> list[Limit]:
        """None: S3 tells no quota. Set one in capacity.yaml, or watch the disk below."""
        return []

    def _buckets(self, client: Any) -> list[str]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return [bucket["Name"] for bucket in client.list_buckets().get("Buckets", [])]
        except ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code", ""))
            if code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
                raise ConfigError(
                    f"{self.name} refuses our keys: {code}. Set the right ones in capacity.yaml."
                ) from exc
            raise TransientError(f"{self.name} lists no buckets: {str(exc)[:256]}") from exc
        except BotoCoreError as exc:
            raise TransientError(f"{self.name} does not answer: {str(exc)[:256]}") from exc

    def _sizes(self, client: Any, bucket: str) -> Iterator[tuple[Resource, float]]:
        from botocore.exceptions import BotoCoreError, ClientError

        sizes: defaultdict[str, int] = defaultdict(int)
        counts: defaultdict[str, int] = defaultdict(int)
        try:
            for number, page in enumerate(
                client.get_paginator("list_object_versions").paginate(Bucket=bucket), start=1
            ):
                if number > self._pages_max:
                    raise TransientError(
                        f"{bucket} has over {self._pages_max * 1000} objects. Raise pages_max, or watch it elsewhere."
                    )
                for version in page.get("Versions", []):
                    for name in _places(bucket, as_name(str(version["Key"]))):
                        sizes[name] += int(version["Size"])
                        counts[name] += 1
        except (BotoCoreError, ClientError) as exc:
            raise TransientError(f"{bucket}: {str(exc)[:256]}") from exc
        sizes.setdefault(bucket, 0)  # an empty bucket has a size, too
        largest = sorted(sizes, key=lambda name: -sizes[name])[: PREFIXES_MAX + 1]
        return iter(
            pair
            for name in largest
            for pair in (
                (Resource(Metric.BUCKET, self._owner, name), float(sizes[name])),
                (Resource(Metric.OBJECTS, self._owner, name), float(counts[name])),
            )
        )


def _places(bucket: str, key: str) -> tuple[str, ...]:
    """The bucket, and the prefix where the key has one."""
    prefix, separator, _ = key.partition("/")
    return (bucket, f"{bucket}/{prefix}") if separator else (bucket,)
