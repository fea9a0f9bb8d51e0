"""A bucket on an S3 server, made when the stack comes up, and proof that the server really stores.

SeaweedFS answers S3 requests some time before it can keep an object, so readiness is a write, not an open port.
"""

import time
from typing import Any

from domain.errors import TransientError

_PROBE_KEY = ".slipway/ready"


def ensure_bucket(endpoint_url: str, *, access_key: str, secret_key: str, bucket: str, limit_s: float = 60) -> None:
    """Make the bucket and write a small object until that works. May be repeated.

    Raises: TransientError with the last answer, at the limit.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client: Any = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}),
    )
    deadline = time.monotonic() + limit_s
    while True:
        try:
            _write(client, bucket)
            return
        except (BotoCoreError, ClientError) as exc:
            if time.monotonic() > deadline:
                raise TransientError(f"S3 at {endpoint_url} stores nothing: {str(exc)[:256]}. See its log.") from exc
        time.sleep(0.2)


def _write(client: Any, bucket: str) -> None:
    names = [known["Name"] for known in client.list_buckets().get("Buckets", [])]
    if bucket not in names:
        client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key=_PROBE_KEY, Body=b"ready")
