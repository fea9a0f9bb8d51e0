"""The register of applications in memory: the twin of `blocks/applications_postgres.py`."""

from domain.errors import ConfigError
from domain.ports import Application


class MemoryApplications:
    """Fulfils `domain.ports.Applications` for tests."""

    def __init__(self) -> None:
        self._applications: dict[str, tuple[Application, str]] = {}

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
