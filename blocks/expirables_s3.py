"""What expires in buckets: unfinished uploads, and bundles of releases that nothing needs any more.

Called by `cleanup`. Backups and anchors are out of reach: their buckets and prefixes are refused here, whatever
a policy says, because only their own engine knows which of them another one needs.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any

from blocks.expirables_listed import remove_listed
from domain.errors import ConfigError, TransientError
from domain.ports_cleanup import Expirable, Removed

FORBIDDEN = ("anchors", "backup", "wal", "archives")
"""Buckets and prefixes that begin so hold what must outlive everything else."""
_PAGE = 1000


def refuse_forbidden(*names: str) -> None:
    """Raises: ConfigError where a bucket or a prefix belongs to backups, anchors or archives."""
    for name in names:
        if any(part.startswith(FORBIDDEN) for part in name.lower().split("/") if part):
            raise ConfigError(
                f"'{name}' belongs to backups, anchors or archives. Clean-up never touches it: their retention does."
            )


class UploadExpirables:
    """Fulfils `domain.ports_cleanup.Expirables` for multipart uploads that nobody finished.

    Args:
        buckets: by name, what opens a client with keys for it.

    Aborting one removes parts that no object is made of, so buckets of backups are no exception: their engines finish
    an upload within its run.
    """

    def __init__(self, buckets: Mapping[str, Callable[[], Any]]) -> None:
        self._buckets = buckets

    def read(self) -> Sequence[Expirable]:
        found: list[Expirable] = []
        for bucket in self._buckets:
            with _our_errors("list uploads"):
                found += self._of(bucket)
        return sorted(found, key=lambda one: (one.at, one.key))

    def _of(self, bucket: str) -> list[Expirable]:
        client, found = self._buckets[bucket](), list[Expirable]()
        marks: dict[str, str] = {}
        while True:
            page = client.list_multipart_uploads(Bucket=bucket, MaxUploads=_PAGE, **marks)
            for upload in page.get("Uploads", []):
                key = f"{bucket}/{upload['UploadId']}/{upload['Key']}"
                found.append(Expirable(key, 0, upload["Initiated"].astimezone(UTC)))
            if not page.get("IsTruncated"):
                return found
            marks = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def remove(self, keys: Sequence[str]) -> Removed:
        count, known = 0, {one.key for one in self.read()}
        for one in keys:
            if one in known:
                bucket, upload, key = one.split("/", 2)
                with _our_errors("abort an upload"):
                    self._buckets[bucket]().abort_multipart_upload(Bucket=bucket, UploadId=upload, Key=key)
                count += 1
        return Removed(count, 0)


class ObjectExpirables:
    """Fulfils `domain.ports_cleanup.Expirables` for the objects of one bucket under a prefix.

    Args:
        protect: says why an object has to stay, from its key; asked anew right before each removal.
    """

    def __init__(
        self, client: Callable[[], Any], bucket: str, prefix: str, protect: Callable[[], Callable[[str], str]]
    ) -> None:
        refuse_forbidden(bucket, prefix)
        self._client, self._bucket, self._prefix, self._protect = client, bucket, prefix, protect

    def read(self) -> Sequence[Expirable]:
        protect = self._protect()
        with _our_errors("list objects"):
            found = list(self._objects())
        items = [
            Expirable(one["Key"], int(one["Size"]), one["LastModified"].astimezone(UTC), protect(one["Key"]))
            for one in found
        ]
        return sorted(items, key=lambda one: (one.at, one.key))

    def _objects(self) -> Iterator[dict[str, Any]]:
        pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        for page in pages:
            yield from page.get("Contents", [])

    def remove(self, keys: Sequence[str]) -> Removed:
        return remove_listed(self.read(), keys, self._remove)

    def _remove(self, key: str) -> str:
        with _our_errors("remove an object"):
            self._client().delete_object(Bucket=self._bucket, Key=key)
        return ""


@contextmanager
def _our_errors(what: str) -> Generator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        code = str(exc.response.get("Error", {}).get("Code", ""))
        if code in {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket"}:
            raise ConfigError(
                f"S3 refuses to {what} ({code}). Check the keys and the bucket; run `slipway up`."
            ) from exc
        raise TransientError(f"S3 did not {what}: {str(exc)[:256]}. Look at `slipway status`.") from exc
    except BotoCoreError as exc:
        raise TransientError(f"S3 did not {what}: {str(exc)[:256]}. Look at `slipway status`.") from exc
