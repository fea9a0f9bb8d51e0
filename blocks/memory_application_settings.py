"""Settings of applications in memory: the twin of `blocks/application_settings_postgres.py`."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime

from domain.errors import ConfigError
from domain.settings import SettingsChange, SettingsVersion, next_settings, refuse_value


class MemoryApplicationSettings:
    """Fulfils `domain.ports.ApplicationSettings` for tests."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, str], list[SettingsVersion]] = defaultdict(list)
        self._secrets: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))

    def latest(self, application: str, environment: str) -> SettingsVersion:
        versions = self._versions[application, environment]
        return versions[-1] if versions else SettingsVersion(application, environment)

    def get(self, application: str, environment: str, version: int) -> SettingsVersion:
        if version == 0:
            return SettingsVersion(application, environment)
        for known in self._versions[application, environment]:
            if known.version == version:
                return known
        raise ConfigError(
            f"{application} has no settings {version} in {environment}. List them with "
            f"`slipway config history {application} {environment}`."
        )

    def history(self, application: str, environment: str, *, limit: int = 100) -> list[SettingsVersion]:
        return self._versions[application, environment][::-1][:limit]

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
        values = secrets or {}
        for name, value in values.items():
            refuse_value(name, value)
        kept = self._secrets[application, environment]
        before = self.latest(application, environment)
        change = SettingsChange(config=dict(config or {}), secrets=frozenset(values), unset=unset)
        known = {name: len(kept[name]) for name in kept}
        after = next_settings(before, change, at=datetime.now(UTC), actor=actor, secret_versions=known)
        if after is None:
            return before
        for name, value in values.items():
            kept[name].append(value)
        self._versions[application, environment].append(after)
        return after

    def values(self, application: str, environment: str, version: int) -> dict[str, str]:
        settings = self.get(application, environment, version)
        kept = self._secrets[application, environment]
        opened = {name: kept[name][number - 1] for name, number in settings.secrets.items()}
        return {**settings.config, **opened}
