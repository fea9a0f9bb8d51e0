"""Settings of an application in one environment: versions that are only ever added, and which names may be set.

A version holds every configuration value, and for each secret its name and which version of it counts; never a
secret's value. Set with `slipway config` and `slipway secret`, handed to processes by `tasks/instances.py`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain.errors import ConfigError

VALUE_BYTES_MAX = 32_768
NAMES_MAX = 200

_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
_RESERVED = {
    "PORT": "it says where an instance listens",
    "HOST": "it says where an instance listens",
    "DATABASE_URL": "it names the database that belongs to this environment",
    "PATH": "it says which programs run, and those are pinned",
    "HOME": "it is each process's own folder",
    "TMPDIR": "it is each process's own folder",
    "VIRTUAL_ENV": "it names the packages, and those are pinned",
    "IFS": "it changes how shells read commands",
    "ENV": "shells run what it names",
    "BASH_ENV": "shells run what it names",
    "NODE_OPTIONS": "it loads code that is not in the release",
    "PERL5OPT": "it loads code that is not in the release",
    "RUBYOPT": "it loads code that is not in the release",
    "JAVA_TOOL_OPTIONS": "it loads code that is not in the release",
}
_RESERVED_PREFIXES = {
    "SLIPWAY_": "names that begin so are Slipway's own",
    "SUPERVISOR_": "names that begin so are the supervisor's own",
    "LD_": "it loads code that is not in the release",
    "DYLD_": "it loads code that is not in the release",
    "PYTHON": "it changes which code an interpreter runs",
    "PG": "it changes how clients reach the database, which `DATABASE_URL` says",
    "PREFECT_": "names that begin so belong to the orchestrator",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class SettingsVersion:
    """One version of an application's settings in an environment; version 0 is "nothing was ever set".

    `secrets` maps each name to the version of its value that counts here.
    """

    application: str
    environment: str
    version: int = 0
    at: datetime | None = None
    actor: str = ""
    config: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def references(self) -> tuple[str, ...]:
        """The secrets as people and records name them: `NAME@version`, sorted."""
        return tuple(f"{name}@{version}" for name, version in sorted(self.secrets.items()))

    @property
    def names(self) -> frozenset[str]:
        return frozenset((*self.config, *self.secrets))


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """What somebody wants changed: values to set, names to take away, and names of secrets that get a new value."""

    config: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: frozenset[str] = frozenset()
    unset: frozenset[str] = frozenset()


def refuse_name(name: str) -> None:
    """Raises: ConfigError where a name can't be set, with the reason and the way out."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name[:40]}' is no name of a setting. Use capitals, digits and _, a letter first.")
    reason = _RESERVED.get(name) or next(
        (why for prefix, why in _RESERVED_PREFIXES.items() if name.startswith(prefix)), ""
    )
    if reason:
        raise ConfigError(f"'{name}' is reserved: {reason}. Choose another name.")


def refuse_value(name: str, value: str) -> None:
    """Raises: ConfigError where a value can't be handed to a process; the message never holds the value."""
    if len(value.encode()) > VALUE_BYTES_MAX:
        raise ConfigError(f"The value of '{name}' is longer than {VALUE_BYTES_MAX} bytes. Shorten it, or name a file.")
    if _CONTROL.search(value):
        raise ConfigError(f"The value of '{name}' holds control characters. Encode it, in base64 for example.")


def next_settings(
    before: SettingsVersion, change: SettingsChange, *, at: datetime, actor: str, secret_versions: Mapping[str, int]
) -> SettingsVersion | None:
    """Make the version after `before`; None where the change changes nothing.

    Args:
        secret_versions: the newest version there ever was of each secret of this place; a new value gets the next one.

    Raises:
        ConfigError: where a name is reserved, is both a value and a secret, or is taken away and not there.
    """
    for name in (*change.config, *change.secrets):
        refuse_name(name)
    for name, value in change.config.items():
        refuse_value(name, value)
    _refuse_both(before, change)
    unknown = sorted(change.unset - before.names)
    if unknown:
        known = ", ".join(sorted(before.names)) or "nothing"
        raise ConfigError(f"'{unknown[0]}' is not set in {before.environment}. Set there: {known}.")
    config = {name: value for name, value in {**before.config, **change.config}.items() if name not in change.unset}
    fresh = {name: secret_versions.get(name, 0) + 1 for name in change.secrets}
    secrets = {name: version for name, version in {**before.secrets, **fresh}.items() if name not in change.unset}
    if (config, secrets) == (dict(before.config), dict(before.secrets)):
        return None
    if len(config) + len(secrets) > NAMES_MAX:
        raise ConfigError(
            f"More than {NAMES_MAX} settings in {before.environment}. Put tables into a file of the code."
        )
    return replace(before, version=before.version + 1, at=at, actor=actor, config=config, secrets=secrets)


def _refuse_both(before: SettingsVersion, change: SettingsChange) -> None:
    """A name is either a value, which people see, or a secret; changing that takes an `unset` in between."""
    for name in sorted(change.config.keys() | change.secrets):
        is_secret = name in change.secrets
        if (is_secret and name in change.config) or (name in (before.config if is_secret else before.secrets)):
            other = "a configuration value" if is_secret else "a secret"
            raise ConfigError(f"'{name}' is {other} in {before.environment}. Unset it first, or choose another name.")


def explain_missing(settings: SettingsVersion, *, config: Iterable[str], secrets: Iterable[str]) -> str:
    """Say what a release needs and an environment lacks, with the command that sets it; empty where nothing is."""
    place = f"{settings.application} {settings.environment}"
    missing = [
        *(
            f"configuration {name} (`slipway config set {place} {name}=...`)"
            for name in config
            if name not in settings.config
        ),
        *(f"secret {name} (`slipway secret set {place} {name}`)" for name in secrets if name not in settings.secrets),
    ]
    return f"{settings.environment} lacks {'; '.join(missing)}." if missing else ""


def compare_settings(before: SettingsVersion, after: SettingsVersion) -> dict[str, tuple[str, str]]:
    """Map each name that differs to what it was and is: values in full, secrets as `version N`; empty where unset."""
    old, new = _as_shown(before), _as_shown(after)
    return {
        name: (old.get(name, ""), new.get(name, ""))
        for name in sorted(old.keys() | new.keys())
        if old.get(name, "") != new.get(name, "")
    }


def _as_shown(settings: SettingsVersion) -> dict[str, str]:
    return {**settings.config, **{name: f"secret, version {version}" for name, version in settings.secrets.items()}}


HIDDEN_LENGTH_MIN = 4
"""Shorter values are not looked for in texts: every other word would be taken for one."""


def hide_values(text: str, secrets: Mapping[str, str]) -> str:
    """Replace the values of secrets in what a program wrote, before it goes into a record.

    A value that the program encoded, cut or broke into lines stays: this is a net, not a promise.
    """
    for name, value in sorted(secrets.items(), key=lambda item: -len(item[1])):
        if len(value) >= HIDDEN_LENGTH_MIN:
            text = text.replace(value, f"[{name}]")
    return text
