"""Signed results of drills, as small objects beside the backups.

The signature is Ed25519; its key is a secret of the installation, outside of the store, so that whoever can write to
the bucket can't make a drill pass. The ledger has digest and signature as well. Called by `restore_drill`.
"""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain.canonical import canonical_json, digest_of
from domain.errors import ConfigError, InvariantError

FOLDER = "drills/"
KEY_SECRET = "drill_signing_key"


class Bytes(Protocol):
    """As much of a bucket as results need."""

    def put(self, key: str, body: bytes) -> None: ...
    def get(self, key: str) -> tuple[bytes, Any] | None: ...


class SignedResults:
    """Fulfils `domain.ports_drill.DrillResults`.

    Args:
        write, read: open the bucket with keys of their own; keys that read do nothing else.
        key: the private key, 32 bytes in base64.
    """

    def __init__(self, *, write: Callable[[], Bytes], read: Callable[[], Bytes], key: Callable[[], str]) -> None:
        self._write, self._read, self._key = write, read, key

    def keep(self, name: str, result: Mapping[str, Any]) -> Mapping[str, str]:
        signed = sign(result, self._key())
        body = canonical_json({"format": 1, "result": dict(result), **signed}).encode()
        self._write().put(f"{FOLDER}{name}.json", body)
        return signed

    def verify(self, name: str) -> Mapping[str, Any]:
        found = self._read().get(f"{FOLDER}{name}.json")
        if found is None:
            raise ConfigError(f"No result of a drill '{name}' is kept. See `slipway history` for those that are.")
        try:
            value = cast(dict[str, Any], json.loads(found[0]))
            check_signature(value["result"], value["signature"], public_key(self._key()))
        except (InvalidSignature, KeyError, TypeError, ValueError) as exc:
            raise InvariantError(
                f"The result of drill '{name}' is not as it was signed. Believe the ledger, and find out who wrote it."
            ) from exc
        return cast(Mapping[str, Any], value["result"])


def make_key() -> str:
    """Make a private key, as the credentials keep it."""
    return base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()


def sign(result: Mapping[str, Any], key: str) -> dict[str, str]:
    """Sign a result; returns its `digest`, the `signature`, and the public `key`."""
    digest = digest_of(dict(result))
    signature = _private(key).sign(digest.encode())
    return {"digest": digest, "signature": base64.b64encode(signature).decode(), "key": public_key(key)}


def check_signature(result: Mapping[str, Any], signature: str, key: str) -> None:
    """Compare a result with its signature. Raises: InvalidSignature, ValueError."""
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
    public.verify(base64.b64decode(signature, validate=True), digest_of(dict(result)).encode())


def public_key(key: str) -> str:
    """The public half of a private key."""
    return base64.b64encode(_private(key).public_key().public_bytes_raw()).decode()


def _private(key: str) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(key, validate=True))
    except ValueError as exc:
        raise ConfigError(f"The secret {KEY_SECRET} is no key: 32 bytes in base64. Run `slipway up`.") from exc
