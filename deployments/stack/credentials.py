"""The installation's secrets: made once, kept for ever, readable by the owner only, printed by nobody."""

import json
import secrets
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

from cryptography.fernet import Fernet

from blocks.backup_keys import CIPHER_SECRET, IDENTITY_SECRET, RECIPIENT_SECRET, make_identity, recipient_of
from blocks.drill_results import KEY_SECRET, make_key
from blocks.installation import DRILL, GENERAL, PRODUCTION, credentials_path, write_private
from blocks.settings_seal import key_name
from domain.errors import ConfigError


def _password() -> str:
    return secrets.token_urlsafe(24)


def _key() -> str:
    return Fernet.generate_key().decode()


RECIPES: dict[str, Callable[[], str]] = {
    "postgres_superuser": _password,
    "postgres_prefect": _password,
    "postgres_slipway": _password,
    "postgres_general": _password,
    "seal_key": _key,
    # one for each environment: docs/how-to/configure-an-application.md
    **{key_name(name): _key for name in ("development", "test", "staging", "production")},
    "prefect_auth": lambda: f"admin:{_password()}",
    "prefect_encryption_key": _key,
    "s3_access_key": lambda: secrets.token_hex(10),
    "s3_secret_key": _password,
    "s3_admin_access_key": lambda: secrets.token_hex(10),
    "s3_admin_secret_key": _password,
    "s3_anchor_access_key": lambda: secrets.token_hex(10),
    "s3_anchor_secret_key": _password,
    "s3_archive_access_key": lambda: secrets.token_hex(10),
    "s3_archive_secret_key": _password,
    "s3_backup_access_key": lambda: secrets.token_hex(10),
    "s3_backup_secret_key": _password,
    "s3_backup_expire_access_key": lambda: secrets.token_hex(10),
    "s3_backup_expire_secret_key": _password,
    "s3_backup_read_access_key": lambda: secrets.token_hex(10),
    "s3_backup_read_secret_key": _password,
    # encrypts at the bucket, and is never stored in the store
    "s3_encryption_key": lambda: secrets.token_hex(32),
    # encrypts what pgBackRest stores; losing it loses that
    CIPHER_SECRET: lambda: secrets.token_hex(32),
    IDENTITY_SECRET: make_identity,
    KEY_SECRET: make_key,
    "s3_usage_access_key": lambda: secrets.token_hex(10),
    "s3_usage_secret_key": _password,
}

GIVEN = {
    f"SLIPWAY_BACKUP_COPY_{kind}": f"backup_copy_{kind.lower()}"
    for kind in ("ACCESS_KEY", "SECRET_KEY", "EXPIRE_ACCESS_KEY", "EXPIRE_SECRET_KEY")
}
"""Secrets of others that an operator gives `slipway up` in its environment, and where they are kept. Rotated where they
were made; given again, the new value counts."""

_GENERAL = ("prefect_auth", "postgres_general", "s3_access_key", "s3_secret_key")
"""What building takes: to write what becomes of a commit, and to store a bundle."""

_SERVERS = (
    "postgres_prefect",
    "prefect_encryption_key",
    "postgres_general",
    "s3_admin_access_key",
    "s3_admin_secret_key",
    "s3_encryption_key",
    IDENTITY_SECRET,
    KEY_SECRET,
)
"""What no flow of production needs: of Prefect's own database, of the general worker, of the object store's keeper, and
what opens copies and signs drills: only drills and restores have that."""

_DRILL = (IDENTITY_SECRET, KEY_SECRET, "s3_backup_read_access_key", "s3_backup_read_secret_key")
"""What restoring takes."""


def take_given(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Take what an operator gave out of the environment, so that no child has it; by the names of `credentials.json`.

    Raises: ConfigError where half of a pair was given.
    """
    given = {name: value for variable, name in GIVEN.items() if (value := environ.pop(variable, "").strip())}
    for kind in ("", "expire_"):
        pair = {f"backup_copy_{kind}{half}_key" for half in ("access", "secret")}
        if len(pair & set(given)) == 1:
            (there,) = pair & set(given)
            variables = " and ".join(variable for variable, name in GIVEN.items() if name in pair)
            raise ConfigError(f"{there} was given alone. Set {variables} together.")
    return given


def ensure_credentials(state: Path, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Make the secrets that are missing; those that exist stay as they are, unless they are given anew.

    Effect: writes `credentials.json` (0600) when something was missing or given. May be repeated.
    """
    path = state / "credentials.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    missing = {name: make() for name, make in RECIPES.items() if name not in known}
    missing |= {name: value for name, value in (given or {}).items() if known.get(name) != value}
    if RECIPIENT_SECRET not in known:
        missing[RECIPIENT_SECRET] = recipient_of({**known, **missing}[IDENTITY_SECRET])
    if missing:
        write_private(path, json.dumps(known | missing, indent=2))
    write_role_files(state, known | missing)
    return known | missing


def write_role_files(state: Path, credentials: Mapping[str, str]) -> None:
    """Give each worker's processes a file with the secrets of their role, and with no other.

    Whoever changes `credentials.json` calls this. Effect: files (0600), where they differ. May be repeated.
    """
    for role, is_for in ((GENERAL, _is_general), (PRODUCTION, _is_production), (DRILL, _is_drill)):
        path = credentials_path(state, role)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        text = json.dumps({name: value for name, value in credentials.items() if is_for(_plain(name))}, indent=2)
        if not path.exists() or path.read_text() != text:
            write_private(path, text)


def _plain(name: str) -> str:
    """The name of a secret without what a rotation under way puts behind it."""
    return name.partition(".")[0]


def _is_general(name: str) -> bool:
    return name in _GENERAL


def _is_drill(name: str) -> bool:
    return name in _DRILL


def _is_production(name: str) -> bool:
    return name not in _SERVERS
