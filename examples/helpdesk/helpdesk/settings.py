"""What the environment says: read once at start, handed to whoever needs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


class SettingError(Exception):
    """A variable is missing or wrong; the text names it and says what to set."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one process.

    Attributes:
        database_url: a libpq URL; holds a password, so it is kept out of `repr`.
        release, commit: full identifiers of what runs; empty when nobody said.
        settings_version: the version of the settings with which it was started; empty when nobody said.
        title: what the desk calls itself on its pages.
        signing_key: signs what `/version` says; empty where there is none. Kept out of `repr`.
        pool_max: connections that this process may hold.
        wait_s: how long a request waits for one of them before it is answered with 503.
        drain_s: how long the service keeps answering after SIGTERM while `/readyz` already says 503.
        finish_limit_s: how long running requests may take after that.
    """

    database_url: str = field(repr=False)
    release: str = ""
    commit: str = ""
    settings_version: str = ""
    title: str = "Helpdesk"
    signing_key: str = field(default="", repr=False)
    pool_max: int = 5
    wait_s: float = 8.0
    drain_s: float = 2.0
    finish_limit_s: int = 20


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        SettingError: naming the variable.
    """
    url = environment.get("DATABASE_URL", "")
    if not url:
        raise SettingError("DATABASE_URL is not set. Set it to postgresql://user:password@host:port/database.")
    return Settings(
        database_url=url,
        release=environment.get("SLIPWAY_RELEASE", ""),
        commit=environment.get("SLIPWAY_COMMIT", ""),
        settings_version=environment.get("SLIPWAY_SETTINGS", ""),
        title=environment.get("HELPDESK_TITLE", "") or "Helpdesk",
        signing_key=environment.get("HELPDESK_SIGNING_KEY", ""),
        pool_max=int(_number(environment, "HELPDESK_POOL_MAX", 5)),
        wait_s=_number(environment, "HELPDESK_WAIT_S", 8.0),
        drain_s=_number(environment, "HELPDESK_DRAIN_S", 2.0),
        finish_limit_s=int(_number(environment, "HELPDESK_FINISH_LIMIT_S", 20)),
    )


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        raise SettingError(f"{name} is {text!r}. Set it to a number.") from None
    if value < 0:
        raise SettingError(f"{name} is {text!r}. Set it to 0 or more.")
    return value
