"""Sealing small secrets that must rest in a database: Fernet, with the key in `credentials.json`."""

from cryptography.fernet import Fernet, InvalidToken

from domain.errors import ConfigError

SEAL_SECRET = "seal_key"


class Seal:
    """Encrypts and opens short texts. `key` is a Fernet key, as text."""

    def __init__(self, key: str) -> None:
        self._fernet = Fernet(key.encode())

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
