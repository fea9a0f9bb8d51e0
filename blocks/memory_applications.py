"""The register of applications in memory: the twin of `blocks/applications_postgres.py`."""

from datetime import datetime

from domain.errors import ConfigError
from domain.ports import Application, ForgeAccess


class MemoryApplications:
    """Fulfils `domain.ports.Applications` for tests."""

    def __init__(self) -> None:
        self._applications: dict[str, tuple[Application, str]] = {}
        self._before: dict[str, tuple[str, datetime]] = {}
        self._access: dict[str, ForgeAccess] = {}

    def add(self, application: Application, *, webhook_secret: str) -> None:
        other = self.find(forge=application.forge, repository=application.repository)
        if other is not None and other.name != application.name:
            raise ConfigError(
                f"{application.forge} repository {application.repository} belongs to '{other.name}' already."
            )
        self._applications[application.name] = (application, webhook_secret)

    def get(self, name: str) -> Application:
        if name not in self._applications:
            names = ", ".join(sorted(self._applications)) or "none yet"
            raise ConfigError(f"No application named '{name}'. Registered: {names}. Add it with `slipway app add`.")
        return self._applications[name][0]

    def find(self, *, forge: str, repository: str) -> Application | None:
        for application, _ in self._applications.values():
            if application.forge == forge and application.repository.lower() == repository.lower():
                return application
        return None

    def list(self) -> list[Application]:
        return [self._applications[name][0] for name in sorted(self._applications)]

    def webhook_secret(self, name: str) -> str:
        self.get(name)
        return self._applications[name][1]

    def webhook_secrets(self, name: str, *, now: datetime) -> tuple[str, ...]:
        present = self.webhook_secret(name)
        before, until = self._before.get(name, ("", now))
        return (present, before) if until > now else (present,)

    def replace_secret(self, name: str, secret: str, *, old_until: datetime) -> None:
        present = self.webhook_secret(name)
        before = present if secret != present else self._before.get(name, ("", old_until))[0]
        if before:
            self._before[name] = (before, old_until)
        self._applications[name] = (self._applications[name][0], secret)

    def set_forge_access(self, name: str, access: ForgeAccess | None) -> None:
        self.get(name)
        self._access.pop(name, None)
        if access is not None:
            self._access[name] = access

    def forge_access(self, name: str) -> ForgeAccess | None:
        return self._access.get(name)

    def has_forge_access(self, name: str) -> bool:
        return name in self._access
