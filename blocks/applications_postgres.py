"""The register of applications in PostgreSQL: `Applications` on the table `desk.application`."""

from typing import Any

from blocks.postgres_session import PostgresSession
from blocks.seal import Seal
from domain.errors import ConfigError
from domain.ports import Application


class PostgresApplications:
    """Fulfils `domain.ports.Applications`; webhook secrets rest sealed."""

    def __init__(self, session: PostgresSession, seal: Seal) -> None:
        self._session = session
        self._seal = seal

    def add(self, application: Application, *, webhook_secret: str) -> None:
        """Register or change an application. Raises: ConfigError where another has the repository."""
        other = self.find(forge=application.forge, repository=application.repository)
        if other is not None and other.name != application.name:
            raise ConfigError(
                f"{application.forge} repository {application.repository} belongs to '{other.name}' already."
            )
        self._session.rows(
            "INSERT INTO desk.application (name, forge, repository, url, branch, webhook_secret)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET forge = EXCLUDED.forge,"
            " repository = EXCLUDED.repository, url = EXCLUDED.url, branch = EXCLUDED.branch,"
            " webhook_secret = EXCLUDED.webhook_secret",
            (
                application.name,
                application.forge,
                application.repository,
                application.url,
                application.branch,
                self._seal.close(webhook_secret),
            ),
        )

    def get(self, name: str) -> Application:
        known = self.list()
        for application in known:
            if application.name == name:
                return application
        names = ", ".join(application.name for application in known) or "none yet"
        raise ConfigError(f"No application named '{name}'. Registered: {names}. Add it with `slipway app add`.")

    def find(self, *, forge: str, repository: str) -> Application | None:
        rows = self._session.rows(
            "SELECT * FROM desk.application WHERE forge = %s AND lower(repository) = lower(%s)", (forge, repository)
        )
        return _read_application(rows[0]) if rows else None

    def list(self) -> list[Application]:
        return [_read_application(row) for row in self._session.rows("SELECT * FROM desk.application ORDER BY name")]

    def webhook_secret(self, name: str) -> str:
        self.get(name)
        rows = self._session.rows("SELECT webhook_secret FROM desk.application WHERE name = %s", (name,))
        return self._seal.open(rows[0]["webhook_secret"])


def _read_application(row: dict[str, Any]) -> Application:
    return Application(
        name=row["name"], forge=row["forge"], repository=row["repository"], url=row["url"], branch=row["branch"]
    )
