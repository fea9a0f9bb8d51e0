"""The installation's secrets: made once, kept for ever, readable by the owner only, printed by nobody."""

import json
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet

from blocks.installation import write_private


def _password() -> str:
    return secrets.token_urlsafe(24)


def _key() -> str:
    return Fernet.generate_key().decode()


RECIPES: dict[str, Callable[[], str]] = {
    "postgres_superuser": _password,
    "postgres_prefect": _password,
    "postgres_slipway": _password,
    "seal_key": _key,
    "prefect_auth": lambda: f"admin:{_password()}",
    "prefect_encryption_key": _key,
    "s3_access_key": lambda: secrets.token_hex(10),
    "s3_secret_key": _password,
}


def ensure_credentials(state: Path) -> dict[str, str]:
    """Make the secrets that are missing; those that exist stay as they are.

    Effect: writes `credentials.json` (0600) when something was missing. May be repeated.
    """
    path = state / "credentials.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    missing = {name: make() for name, make in RECIPES.items() if name not in known}
    if missing:
        write_private(path, json.dumps(known | missing, indent=2))
    return known | missing
