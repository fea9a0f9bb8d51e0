"""Buckets on an S3 server, made when the stack comes up, and proof that the server really stores.

SeaweedFS answers S3 requests some time before it can keep an object, so readiness is a write, not an open port. A
locked bucket keeps every version of every object for a time, against everybody, the one who wrote it included.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from domain.errors import ConfigError, TransientError

_PROBE_KEY = ".slipway/ready"
_PAUSE_S = 0.2
UPLOAD_DAYS = 7
_UPLOADS_RULE = "slipway-unfinished-uploads"
_NO_RULES = {"NotImplemented", "MethodNotAllowed", "NotSupported"}


@dataclass(frozen=True, slots=True)
class Account:
    """An S3 server and a pair of keys there."""

    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"

    def client(self) -> Any:
        """A boto client of this account, that tries once."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(
                connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
            ),
        )


def ensure_bucket(account: Account, bucket: str, *, limit_s: float = 60, may_make: bool = True) -> None:
    """Make the bucket and write a small object until that works. May be repeated.

    Args:
        may_make: False only tries whether the bucket that is there stores.

    Raises: TransientError with the last answer, at the limit.
    """
    client = account.client()

    def write() -> None:
        if bucket not in _names(client):
            if not may_make:
                raise TransientError(f"There is no bucket '{bucket}'.")
            client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key=_PROBE_KEY, Body=b"ready")

    _until_stored(write, account, limit_s)


def ensure_locked_bucket(account: Account, bucket: str, *, retention_days: int, limit_s: float = 60) -> None:
    """Make a bucket under Object Lock, in compliance mode, whose objects nobody can remove for so many days.

    Effect: may be repeated; a changed number of days counts for what is written from then on.
    Raises: ConfigError where the bucket exists without a lock; TransientError with the last answer, at the limit.
    """
    client = account.client()
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": retention_days}}
    wanted = {"ObjectLockEnabled": "Enabled", "Rule": rule}

    def lock() -> None:
        if bucket not in _names(client):
            client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        known = _lock_of(client, bucket)
        if known is None:
            raise ConfigError(
                f"Bucket '{bucket}' at {account.endpoint_url} is not under Object Lock and can't be put there. "
                "Move what is in it elsewhere, delete it, then run `slipway up`, which makes it anew."
            )
        if known != wanted:
            client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=wanted)

    _until_stored(lock, account, limit_s)


def ensure_uploads_end(account: Account, bucket: str, *, days: int = UPLOAD_DAYS) -> bool:
    """Have the store itself end uploads that nobody finished; False where it knows no such rules.

    Effect: one rule of our own, beside those of others; may be repeated. It never lets an object expire: only those who
    know what needs an object (clean-up with its approvals, the engine of backups) may remove one.
    """
    from botocore.exceptions import ClientError

    client = account.client()
    rule = {
        "ID": _UPLOADS_RULE,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
    }
    try:
        known = _rules_of(client, bucket)
        others = [one for one in known if one.get("ID") != _UPLOADS_RULE]
        if known != [*others, rule]:
            client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [*others, rule]})
    except ClientError as exc:
        if exc.response.get("Error", {}).get("Code") in _NO_RULES:
            return False
        raise TransientError(f"S3 at {account.endpoint_url} sets no rule for {bucket}: {str(exc)[:256]}.") from exc
    return True


def _rules_of(client: Any, bucket: str) -> list[dict[str, Any]]:
    from botocore.exceptions import ClientError

    try:
        return client.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", [])
    except ClientError as exc:
        if exc.response.get("Error", {}).get("Code") == "NoSuchLifecycleConfiguration":
            return []
        raise


def _lock_of(client: Any, bucket: str) -> Any:
    from botocore.exceptions import ClientError

    try:
        return client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    except ClientError as exc:
        if exc.response.get("Error", {}).get("Code") == "ObjectLockConfigurationNotFoundError":
            return None
        raise


def _names(client: Any) -> list[str]:
    return [known["Name"] for known in client.list_buckets().get("Buckets", [])]


def _until_stored(attempt: Callable[[], None], account: Account, limit_s: float) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + limit_s
    while True:
        try:
            attempt()
            return
        except (BotoCoreError, ClientError) as exc:
            if time.monotonic() > deadline:
                raise TransientError(
                    f"S3 at {account.endpoint_url} stores nothing: {str(exc)[:256]}. See its log."
                ) from exc
        time.sleep(_PAUSE_S)
