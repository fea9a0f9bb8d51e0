"""Keys of copies: who may lock them away, and who may open them again.

Dumps and second copies are encrypted with age for a recipient before they leave the machine. Whoever makes them knows
the recipient only; the identity that opens them is in a file of its own, which drills and restores read. Both stand in
the recovery kit; neither in Prefect's blocks nor in a database that they protect.
"""

import json
from pathlib import Path
from typing import Any

from blocks.installation import DRILL, credentials_path, process_role, read_secret
from domain.errors import ConfigError, InvariantError

IDENTITY_SECRET = "backup_identity"
RECIPIENT_SECRET = "backup_recipient"
CIPHER_SECRET = "backup_cipher"
"""What pgBackRest encrypts its repository with, before upload."""


def make_identity() -> str:
    """A new identity, as age writes it."""
    return str(_age().x25519.Identity.generate())


def recipient_of(identity: str) -> str:
    """Whom to encrypt for, so that this identity can open it."""
    return str(_age().x25519.Identity.from_str(identity).to_public())


def read_recipient(state: Path) -> str:
    """The recipient of this installation's copies."""
    return read_secret(RECIPIENT_SECRET, state=state)


def read_identity(state: Path) -> str:
    """The identity that opens copies: for drills and restores only.

    Raises: ConfigError where it can't be read.
    """
    if not process_role():
        return read_secret(IDENTITY_SECRET, state=state)
    return read_drill_secret(IDENTITY_SECRET, state)


def read_drill_secret(name: str, state: Path) -> str:
    """Read a secret of the drill's own file. Raises: ConfigError; the message never holds a value."""
    path = credentials_path(state, DRILL)
    try:
        return str(json.loads(path.read_text())[name])
    except (OSError, KeyError) as exc:
        raise ConfigError(f"No secret named '{name}' in {path}. Run `slipway up` as its owner.") from exc


def lock_away(source: Path, target: Path, *recipients: str) -> None:
    """Encrypt a file for recipients, in constant memory. Raises: ConfigError for what is no recipient."""
    age = _age()
    try:
        whom = [age.x25519.Recipient.from_str(one) for one in recipients]
    except age.RecipientError as exc:
        shown = ", ".join(one[:80] for one in recipients)
        raise ConfigError(f"{shown!r} is no age recipient. It begins with 'age1'.") from exc
    with source.open("rb") as plain, target.open("wb") as locked:
        age.encrypt_io(plain, locked, whom)


def open_again(source: Path, target: Path, identity: str) -> None:
    """Decrypt a file. Raises: InvariantError where it is damaged or was made for another identity."""
    age = _age()
    try:
        with source.open("rb") as locked, target.open("wb") as plain:
            age.decrypt_io(locked, plain, [age.x25519.Identity.from_str(identity)])
    except (age.DecryptError, OSError) as exc:
        target.unlink(missing_ok=True)
        raise InvariantError(
            f"{source.name} can't be opened: {exc}. Is this the identity of that installation?"
        ) from exc


def _age() -> Any:
    """The age library; what it exports is made in Rust, unseen by type checkers."""
    import pyrage

    return pyrage
