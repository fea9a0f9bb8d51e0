"""The bucket that backups lie in: read, written and emptied by keys of three kinds, encrypted, under lock.

Used by the engines, the archiver and the `backup` flow. The bucket is never made on the way: a typing error in its name
must not become a new, empty repository. What is under Object Lock can't be removed before its time: removing hides it,
and `purge` takes away later what has come free.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from blocks.bucket import Account, ensure_locked_bucket
from domain.backup import StoredObject
from domain.errors import ConfigError, InvariantError, TransientError

R = TypeVar("R")
BUCKET = "backups"
WRITER, EXPIRER, READER = "slipway-backup", "slipway-backup-expire", "slipway-backup-read"
"""The names of the three identities in the store."""

_PIECE_BYTES = 1 << 20
_PART_BYTES = 8 << 20
_MISSING = {"404", "NoSuchKey", "NotFound"}
_TAKEN = {"412", "PreconditionFailed"}
_REFUSED = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Forbidden"}


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as the store lists it; `etag` differs where the content does."""

    key: str
    size_bytes: int
    at: datetime
    etag: str = ""


class BackupBucket:
    """One bucket with one pair of keys.

    Args:
        is_encrypted: whether to ask the store to encrypt, and to take no answer that says that it did not.
    """

    def __init__(self, account: Account, bucket: str = BUCKET, *, is_encrypted: bool = True) -> None:
        self.account = account
        self.bucket = bucket
        self.is_encrypted = is_encrypted

    def require(self) -> None:
        """Raises: ConfigError where the bucket does not exist; TransientError while the store is away."""
        try:
            self._ask("look for the bucket", lambda: self.client.list_objects_v2(Bucket=self.bucket, MaxKeys=1))
        except _NothingThereError as exc:
            raise ConfigError(self._no_bucket()) from exc

    def put(self, key: str, body: bytes, *, metadata: dict[str, str] | None = None) -> None:
        """Store bytes under a key, or others in their place. Raises: InvariantError where they were not encrypted."""
        more = {"ServerSideEncryption": "AES256"} if self.is_encrypted else {}
        answer = self._ask(
            f"store {key}",
            lambda: self.client.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=metadata or {}, **more),
        )
        if self.is_encrypted and answer.get("ServerSideEncryption") != "AES256":
            raise InvariantError(f"{self.bucket}/{key} was stored unencrypted. Set its bucket's encryption.")

    def put_new(self, key: str, body: bytes, *, metadata: dict[str, str]) -> bool:
        """Store bytes where nothing is; False where something is already."""
        more = {"ServerSideEncryption": "AES256"} if self.is_encrypted else {}
        try:
            self._ask(
                f"store {key}",
                lambda: self.client.put_object(
                    Bucket=self.bucket, Key=key, Body=body, Metadata=metadata, IfNoneMatch="*", **more
                ),
            )
        except _TakenError:
            return False
        return True

    def put_file(self, key: str, path: Path) -> None:
        """Store a file of any size under a key, in parts."""
        from boto3.s3.transfer import TransferConfig

        more = {"ServerSideEncryption": "AES256"} if self.is_encrypted else {}
        config = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=2)
        self._ask(
            f"store {key}",
            lambda: self.client.upload_file(str(path), self.bucket, key, ExtraArgs=more, Config=config),
        )

    def get(self, key: str) -> tuple[bytes, dict[str, str]] | None:
        """Read an object and its metadata; None where there is none."""

        def read() -> tuple[bytes, dict[str, str]]:
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
            return answer["Body"].read(), dict(answer.get("Metadata") or {})

        try:
            return self._ask(f"read {key}", read)
        except _NothingThereError:
            return None

    def get_json(self, key: str) -> Any | None:
        """Read an object as JSON; None where there is none, or none that is JSON."""
        found = self.get(key)
        try:
            return None if found is None else json.loads(found[0])
        except ValueError:
            return None

    def exists(self, key: str) -> bool:
        try:
            self._ask(f"look for {key}", lambda: self.client.head_object(Bucket=self.bucket, Key=key))
        except _NothingThereError:
            return False
        return True

    def objects(self, prefix: str) -> list[Listed]:
        """List what lies under a prefix, by key."""

        def pages() -> list[Listed]:
            found: list[Listed] = []
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for one in page.get("Contents", []):
                    at, etag = one["LastModified"].astimezone(UTC), str(one.get("ETag", ""))
                    found.append(Listed(str(one["Key"]), int(one["Size"]), at, etag))
            return sorted(found, key=lambda one: one.key)

        try:
            return self._ask(f"list {prefix}", pages)
        except _NothingThereError as exc:
            raise ConfigError(self._no_bucket()) from exc

    def hash(self, key: str) -> StoredObject | None:
        """Read an object to its end and hash it; None where there is none."""

        def read() -> StoredObject:
            digest, size = hashlib.sha256(), 0
            body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"]
            while piece := body.read(_PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
            return StoredObject(key, size, digest.hexdigest())

        try:
            return self._ask(f"read {key}", read)
        except _NothingThereError:
            return None

    def fetch(self, key: str, path: Path) -> str:
        """Read an object into a file; returns its SHA-256. Raises: ConfigError where there is none."""

        def read() -> str:
            digest = hashlib.sha256()
            body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"]
            with path.open("wb") as file:
                while piece := body.read(_PIECE_BYTES):
                    digest.update(piece)
                    file.write(piece)
            return digest.hexdigest()

        try:
            return self._ask(f"read {key}", read)
        except _NothingThereError as exc:
            raise ConfigError(f"There is no {self.bucket}/{key}.") from exc

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects from sight; what is under lock stays below until `purge` finds it free."""
        for key in keys:
            self._ask(f"remove {key}", lambda key=key: self.client.delete_object(Bucket=self.bucket, Key=key))

    def purge(self, prefix: str) -> int:
        """Take away versions of removed objects that no lock holds any more; returns how many went."""
        versions, hidden = self._versions(prefix)
        gone = 0
        for version in [one for one in versions if one["Key"] in hidden]:
            if self._delete_version(version):
                gone += 1
        still = {one["Key"] for one in self._versions(prefix)[0]} if hidden else set[str]()
        for key, marker in hidden.items():
            if key not in still:
                self._delete_version({"Key": key, "VersionId": marker})
        return gone

    def abort_uploads(self, prefix: str, *, older_than: timedelta, now: datetime) -> int:
        """Abort unfinished uploads under a prefix that began before then; returns how many."""

        def listed() -> Sequence[Any]:
            answer = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=prefix)
            return answer.get("Uploads", [])

        old = [one for one in self._ask("list uploads", listed) if one["Initiated"].astimezone(UTC) < now - older_than]
        for one in old:
            self._ask(
                "abort an upload",
                lambda one=one: self.client.abort_multipart_upload(
                    Bucket=self.bucket, Key=one["Key"], UploadId=one["UploadId"]
                ),
            )
        return len(old)

    def is_locked(self) -> bool:
        """Whether what is written here is under Object Lock."""
        try:
            answer = self._ask("read the lock", lambda: self.client.get_object_lock_configuration(Bucket=self.bucket))
        except (_NothingThereError, ConfigError, TransientError):
            return False
        return answer["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled"

    def _versions(self, prefix: str) -> tuple[list[dict[str, str]], dict[str, str]]:
        """All versions under a prefix; and the keys that are hidden, with the id of their marker."""

        def read() -> tuple[list[dict[str, str]], dict[str, str]]:
            versions: list[dict[str, str]] = []
            hidden: dict[str, str] = {}
            pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
            for page in pages:
                versions += [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in page.get("Versions", [])]
                hidden |= {m["Key"]: m["VersionId"] for m in page.get("DeleteMarkers", []) if m["IsLatest"]}
            return versions, hidden

        return self._ask(f"list versions of {prefix}", read)

    def _delete_version(self, version: dict[str, str]) -> bool:
        try:
            self._ask("purge", lambda: self.client.delete_object(Bucket=self.bucket, **version))
        except (ConfigError, _NothingThereError):  # under lock still
            return False
        return True

    def _ask(self, what: str, question: Callable[[], R]) -> R:
        with asked(what, self.bucket):
            return question()

    def _no_bucket(self) -> str:
        return (
            f"There is no bucket '{self.bucket}' at {self.account.endpoint_url}; it is never made on the way. "
            "Run `slipway up`, which makes it, or correct its name."
        )

    @cached_property
    def client(self) -> Any:
        """A boto client that tries a request three times."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.account.endpoint_url,
            aws_access_key_id=self.account.access_key,
            aws_secret_access_key=self.account.secret_key,
            region_name=self.account.region,
            config=Config(
                connect_timeout=3,
                read_timeout=60,
                retries={"total_max_attempts": 3},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                proxies={},
            ),
        )


def ensure_backup_bucket(admin: Account, bucket: str = BUCKET, *, lock_days: int) -> None:
    """Make the bucket: under Object Lock, encrypted by default, and nothing in it to be deleted by who writes.

    Effect: may be repeated. Raises: as `ensure_locked_bucket`; InvariantError where the store can't encrypt.
    """
    ensure_locked_bucket(admin, bucket, retention_days=lock_days)
    client = admin.client()
    rule = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    denied = [f"arn:aws:iam::000000000000:user/{name}" for name in (WRITER, READER)]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": {"AWS": denied},
                "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"],
                # pgBackRest's `backup` always deletes this one, a link that S3 has no place for; nothing lies there
                "NotResource": f"arn:aws:s3:::{bucket}/*/backup/main/latest",
            }
        ],
    }
    with asked("set the bucket's encryption", bucket):
        client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=rule)
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


class _NothingThereError(Exception):
    """There is no such object or bucket; turned into an answer by who asked."""


class _TakenError(Exception):
    """There is an object of that name; turned into an answer by who asked."""


@contextmanager
def asked(what: str, bucket: str) -> Generator[None]:
    """Turn boto's exceptions into ours."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        code = str(exc.response.get("Error", {}).get("Code", ""))
        if code in _MISSING or code == "NoSuchBucket":
            raise _NothingThereError(code) from exc
        if code in _TAKEN:
            raise _TakenError(code) from exc
        if code in _REFUSED:
            raise ConfigError(
                f"S3 refuses to {what} in '{bucket}' ({code}). Check the backup keys in credentials.json."
            ) from exc
        raise TransientError(f"S3 did not {what}: {str(exc)[:256]}. Look at `slipway status`.") from exc
    except (BotoCoreError, Boto3Error) as exc:
        raise TransientError(f"S3 did not {what}: {str(exc)[:256]}. Look at `slipway status`.") from exc
