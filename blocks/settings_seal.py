"""The one way to the keys that seal applications' secrets: a key of its own for each environment.

So that production's key can be kept where only production's worker reads it. Other secrets that Slipway keeps (TOTP
seeds, webhook secrets) are sealed with another key.
"""

from pathlib import Path

from blocks.seal import Seal, read_seal


def key_name(environment: str) -> str:
    """What the key of an environment is called in the credentials."""
    return f"settings_key_{environment}"


def open_settings_seal(environment: str, *, state: Path | None = None) -> Seal:
    """Open the seal of an environment's secrets.

    Raises: ConfigError where this process may not read its key, or there is none.
    """
    return read_seal(key_name(environment), state=state)
