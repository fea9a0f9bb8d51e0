"""The register of applications in PostgreSQL: `Applications` on the table `desk.application`."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from blocks.postgres_session import PostgresSession
from blocks.seal import Seal
from domain.errors import ConfigError
from domain.ports import Application, ForgeAccess

_COLUMNS = "name, forge, repository, url, branch"


class PostgresApplications:
    """Fulfils `domain.ports.Applications`; webhook secrets rest sealed."""

    def __init__(self, session: PostgresSession, seal: Seal | Callable[[], Seal]) -> None:
        """`seal` may be what opens it when it is needed: the general worker has no key, and needs none."""
        self._session = session
        self._open_seal = seal if callable(seal) else lambda: seal

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
                self._open_seal().close(webhook_secret),
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
            f"SELECT {_COLUMNS} FROM desk.application WHERE forge = %s AND lower(repository) = lower(%s)",
            (forge, repository),
        )
        return _read_application(rows[0]) if rows else None

    def list(self) -> list[Application]:
        return [
            _read_application(row)
            for row in self._session.rows(f"SELECT {_COLUMNS} FROM desk.application ORDER BY name")
        ]

    def webhook_secret(self, name: str) -> str:
        self.get(name)
        rows = self._session.rows("SELECT webhook_secret FROM desk.application WHERE name = %s", (name,))
        return self._open_seal().open(rows[0]["webhook_secret"])

    def webhook_secrets(self, name: str, *, now: datetime) -> tuple[str, ...]:
        present = self.webhook_secret(name)
        rows = self._session.rows(
            "SELECT webhook_secret_before AS before FROM desk.application"
            " WHERE name = %s AND webhook_secret_before IS NOT NULL AND webhook_secret_before_until > %s",
            (name, now),
        )
        return (present, *(self._open_seal().open(row["before"]) for row in rows))

    def replace_secret(self, name: str, secret: str, *, old_until: datetime) -> None:
        present = self.webhook_secret(name)
        if secret != present:
            self._session.rows(
                "UPDATE desk.application SET webhook_secret_before = webhook_secret, webhook_secret = %s,"
                " webhook_secret_before_until = %s WHERE name = %s",
                (self._open_seal().close(secret), old_until, name),
            )
        else:
            self._session.rows(
                "UPDATE desk.application SET webhook_secret_before_until = %s WHERE name = %s", (old_until, name)
            )

    def set_forge_access(self, name: str, access: ForgeAccess | None) -> None:
        self.get(name)
        if access is None:
            self._session.rows("DELETE FROM desk.forge_access WHERE application = %s", (name,))
            return
        self._session.rows(
            "INSERT INTO desk.forge_access (application, url, token) VALUES (%s, %s, %s)"
            " ON CONFLICT (application) DO UPDATE SET url = EXCLUDED.url, token = EXCLUDED.token",
            (name, access.url, self._open_seal().close(access.token)),
        )

    def forge_access(self, name: str) -> ForgeAccess | None:
        rows = self._session.rows("SELECT url, token FROM desk.forge_access WHERE application = %s", (name,))
        return ForgeAccess(rows[0]["url"], self._open_seal().open(rows[0]["token"])) if rows else None

    def has_forge_access(self, name: str) -> bool:
        return bool(self._session.rows("SELECT 1 FROM desk.forge_access WHERE application = %s", (name,)))


def _read_application(row: dict[str, Any]) -> Application:
    return Application(
        name=row["name"], forge=row["forge"], repository=row["repository"], url=row["url"], branch=row["branch"]
    )
