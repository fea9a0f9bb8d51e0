"""Blobs in a bucket of an S3 server: SeaweedFS of the embedded stack, or any other by its URL.

Called by `ci` (bundles in) and by targets (bundles out). Bytes are checked on both ways: the server refuses what does
not have the SHA-256 that we name, and what comes back is hashed before anybody sees it.
"""

import base64
import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from blocks.bundle import sha256_of
from blocks.installation import read_secret
from blocks.installed_block import InstalledBlock
from domain.errors import ConfigError, InvariantError, TransientError

_PIECE_BYTES = 1 << 20
_MISSING = {"404", "NoSuchKey", "NotFound", "NoSuchBucket"}
_TAKEN = {"412", "PreconditionFailed"}
_FORBIDDEN = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_OTHER_BYTES = {"BadDigest", "XAmzContentChecksumMismatch"}


class S3ObjectStore(InstalledBlock):
    """Fulfils `domain.ports.ObjectStore` on a bucket."""

    _block_type_name = "Slipway S3 Object Store"
    _block_type_slug = "slipway-s3-object-store"

    bucket: str = Field(default="releases", description="The bucket; it must exist.")
    endpoint_url: str = Field(default="", description="URL of the S3 server; empty: the embedded one.")
    region: str = Field(default="us-east-1", description="Region that requests are signed for.")
    access_key_secret: str = Field(default="s3_access_key", description="Name of the access key in credentials.json.")
    secret_key_secret: str = Field(default="s3_secret_key", description="Name of the secret key in credentials.json.")
    answer_limit_s: int = Field(default=60, ge=1, description="Longest wait for the server's answer.")

    def put(self, key: str, path: Path, *, sha256: str) -> None:
        if sha256_of(path) != sha256:
            raise InvariantError(f"{path.name} does not have SHA-256 {sha256}. Make it again; nothing was stored.")
        with self._asked(f"store {key}"), path.open("rb") as body:
            # IfNoneMatch: two writers, and an object under lock, never replace one another
            done = self._put_new(key, body, sha256)
        if not done and self._stored_sha256(key) != sha256:
            raise InvariantError(
                f"{self.bucket}/{key} holds other bytes than SHA-256 {sha256}. Store under another key."
            )

    def get(self, key: str, path: Path, *, sha256: str) -> None:
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with self._asked(f"fetch {key}"), draft.open("wb") as file:
                found = self._read(key, file)
                os.fsync(file.fileno())
            if found != sha256:
                raise InvariantError(f"{self.bucket}/{key} has SHA-256 {found}, expected {sha256}. Do not use it.")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        from botocore.exceptions import ClientError

        with self._asked(f"look for {key}"):
            try:
                self._client.head_object(Bucket=self.bucket, Key=key)
            except ClientError as exc:
                if _code(exc) in _MISSING:
                    return False
                raise
        return True

    def _put_new(self, key: str, body: Any, sha256: str) -> bool:
        """Store an object that is not there; False when one is."""
        from botocore.exceptions import ClientError

        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        try:
            self._client.put_object(Bucket=self.bucket, Key=key, Body=body, ChecksumSHA256=checksum, IfNoneMatch="*")
        except ClientError as exc:
            if _code(exc) in _TAKEN:
                return False
            raise
        return True

    def _stored_sha256(self, key: str) -> str:
        with self._asked(f"read {key}"):
            return self._read(key, None)

    def _read(self, key: str, file: Any) -> str:
        """Read an object, into a file where one is given; returns its SHA-256."""
        digest = hashlib.sha256()
        body = self._client.get_object(Bucket=self.bucket, Key=key)["Body"]
        while piece := body.read(_PIECE_BYTES):
            digest.update(piece)
            if file is not None:
                file.write(piece)
        return digest.hexdigest()

    @contextmanager
    def _asked(self, what: str) -> Generator[None]:
        """Turn boto's exceptions into ours."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as exc:
            raise self._explain(exc, what) from exc
        except BotoCoreError as exc:
            raise TransientError(f"S3 did not {what}: {str(exc)[:256]}. Look at `slipway status`.") from exc

    def _explain(self, error: Any, what: str) -> Exception:
        code = _code(error)
        if code in _MISSING:
            return ConfigError(f"Could not {what}: there is no such object in bucket '{self.bucket}' ({code}).")
        if code in _FORBIDDEN:
            return ConfigError(
                f"Could not {what}: S3 refuses our credentials ({code}). Check {self.access_key_secret}."
            )
        if code in _OTHER_BYTES:
            return InvariantError(f"Could not {what}: the bytes changed on the way ({code}). Run again.")
        return TransientError(f"S3 did not {what}: {str(error)[:256]}. Look at `slipway status`.")

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        state = self.installation.state
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url or f"http://127.0.0.1:{self.installation.ports['s3']}",
            aws_access_key_id=read_secret(self.access_key_secret, state=state),
            aws_secret_access_key=read_secret(self.secret_key_secret, state=state),
            region_name=self.region,
            config=Config(
                connect_timeout=3,
                read_timeout=self.answer_limit_s,
                retries={"total_max_attempts": 2},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                proxies={},
            ),
        )


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
