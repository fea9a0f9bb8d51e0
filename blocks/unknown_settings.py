"""No settings of applications can be read now: what break-glass has in place of `ApplicationSettings`.

A release starts again exactly as it was started last (`blocks/kept_specs.py`), so nobody has to look here.
"""

from collections.abc import Mapping

from domain.errors import ConfigError
from domain.settings import SettingsVersion


class UnknownSettings:
    """Fulfils `domain.ports.ApplicationSettings` while its database is away."""

    def latest(self, application: str, environment: str) -> SettingsVersion:
        return SettingsVersion(application, environment)

    def get(self, application: str, environment: str, version: int) -> SettingsVersion:
        return SettingsVersion(application, environment, version)

    def history(self, application: str, environment: str, *, limit: int = 100) -> list[SettingsVersion]:
        return []

    def change(
        self,
        application: str,
        environment: str,
        *,
        actor: str,
        config: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        unset: frozenset[str] = frozenset(),
    ) -> SettingsVersion:
        raise ConfigError("Nothing can be set while PostgreSQL is away. Run `slipway up` first.")

    def values(self, application: str, environment: str, version: int) -> dict[str, str]:
        return {}
