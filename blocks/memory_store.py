"""Blobs in memory: the twin of `blocks/store_s3.py`."""

from pathlib import Path

from domain.canonical import sha256_hex
from domain.errors import ConfigError, InvariantError


class MemoryObjectStore:
    """Fulfils `domain.ports.ObjectStore` for tests; `blobs` shows all that was stored."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def put(self, key: str, path: Path, *, sha256: str) -> None:
        content = path.read_bytes()
        if sha256_hex(content) != sha256:
            raise InvariantError(f"{path.name} does not have SHA-256 {sha256}. Make it again; nothing was stored.")
        if self.blobs.setdefault(key, content) != content:
            raise InvariantError(f"{key} holds other bytes than SHA-256 {sha256}. Store under another key.")

    def get(self, key: str, path: Path, *, sha256: str) -> None:
        if key not in self.blobs:
            raise ConfigError(f"Could not fetch {key}: there is no such object.")
        found = sha256_hex(self.blobs[key])
        if found != sha256:
            raise InvariantError(f"{key} has SHA-256 {found}, expected {sha256}. Do not use it.")
        path.write_bytes(self.blobs[key])

    def exists(self, key: str) -> bool:
        return key in self.blobs
