"""Sealing small secrets that must rest in a database: Fernet, with the key in `credentials.json`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from blocks.installation import read_secret
from domain.errors import ConfigError

SEAL_SECRET = "seal_key"
NEXT = ".next"
"""Behind a secret's name: the value that a rotation under way is about to put in its place."""


class Seal:
    """Encrypts and opens short texts.

    Args:
        key: a Fernet key, as text; or what reads the keys that are good now, the one for new texts first.
    """

    def __init__(self, key: str | Callable[[], Sequence[str]]) -> None:
        self._keys: Callable[[], Sequence[str]] = (lambda: (key,)) if isinstance(key, str) else key

    def close(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """Raises: ConfigError where another key sealed it."""
        try:
            return self._fernet.decrypt(bytes(sealed)).decode()
        except InvalidToken as exc:
            raise ConfigError(
                "A stored secret was sealed with another key. Restore seal_key in credentials.json from its backup, "
                "or register that application or approver again."
            ) from exc

    @property
    def _fernet(self) -> MultiFernet:
        return MultiFernet([Fernet(key.encode()) for key in self._keys()])


def read_seal(name: str, *, state: Path | None = None) -> Seal:
    """The seal of a secret's name, read at each use: while the key is rotated, old and new texts open.

    Raises: ConfigError where this process may not read its key, or there is none.
    """
    read_secret(name, state=state)

    def keys() -> list[str]:
        try:
            return [read_secret(f"{name}{NEXT}", state=state), read_secret(name, state=state)]
        except ConfigError:
            return [read_secret(name, state=state)]

    return Seal(keys)
