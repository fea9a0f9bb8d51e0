"""Anchors in an S3 bucket under Object Lock: copies of the ledger's head that outlive whoever rewrites the ledger.

An anchor is an object without content worth reading: its name says everything, so that the keys which flows hold need
not be able to read, and a thousand anchors cost one request. All versions are listed, hidden ones as well: deleting
under lock only hides. Opened from the installation's files, never from a Prefect block, which others could edit.
"""

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from blocks.bucket import Account
from blocks.installation import Installation, read_secret
from domain.anchor import Anchor, is_anchor, read_anchor
from domain.errors import ConfigError, TransientError

R = TypeVar("R")
BUCKET = "anchors"
_PREFIX = "heads/"
_REFUSED = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_TAKEN = {"412", "PreconditionFailed"}


class S3Anchors:
    """Fulfils `domain.ports.Anchors`; its keys may add objects and list them, and nothing else.

    Args:
        folder: what the names in the bucket begin with, ending in a slash; empty where one ledger has it alone.
    """

    def __init__(self, account: Account, bucket: str = BUCKET, folder: str = "") -> None:
        self._account = account
        self._bucket = bucket
        self._folder = folder

    def write(self, anchor: Anchor) -> None:
        self._ask("keep an anchor", lambda: self._put(anchor))

    def read(self) -> Sequence[Anchor]:
        return self._ask("list the anchors", self._read)

    def _put(self, anchor: Anchor) -> None:
        from botocore.exceptions import ClientError

        body = json.dumps(anchor.as_dict()).encode()
        try:
            # IfNoneMatch: the same anchor again adds no version
            self._client.put_object(Bucket=self._bucket, Key=self._folder + anchor.name, Body=body, IfNoneMatch="*")
        except ClientError as exc:
            if _code(exc) not in _TAKEN:
                raise

    def _read(self) -> list[Anchor]:
        pages = self._client.get_paginator("list_object_versions").paginate(
            Bucket=self._bucket, Prefix=self._folder + _PREFIX
        )
        names = {version["Key"].removeprefix(self._folder) for page in pages for version in page.get("Versions", [])}
        # what else somebody put there is no anchor, and no reason to read none
        return [read_anchor(name) for name in sorted(names) if is_anchor(name)]

    def _ask(self, what: str, question: Callable[[], R]) -> R:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return question()
        except ClientError as exc:
            code = _code(exc)
            if code in _REFUSED:
                raise ConfigError(f"S3 refuses to {what}: {code}. Check s3_anchor_access_key.") from exc
            if code == "NoSuchBucket":
                raise ConfigError(f"There is no bucket '{self._bucket}'. Run `slipway up`, which makes it.") from exc
            raise TransientError(f"S3 did not {what}: {str(exc)[:256]}. Look at `slipway status`.") from exc
        except BotoCoreError as exc:
            raise TransientError(f"S3 did not {what}: {str(exc)[:256]}. Look at `slipway status`.") from exc

    @cached_property
    def _client(self) -> Any:
        return self._account.client()


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def open_anchors(installation: Installation) -> S3Anchors:
    """Open the anchors of an installation."""
    state = installation.state
    return S3Anchors(
        Account(
            f"http://127.0.0.1:{installation.ports['s3']}",
            access_key=read_secret("s3_anchor_access_key", state=state),
            secret_key=read_secret("s3_anchor_secret_key", state=state),
        )
    )
