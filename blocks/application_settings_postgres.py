"""Settings of applications in PostgreSQL: `ApplicationSettings` on `desk.settings` and `desk.secret`.

Both tables are only ever added to. Values of secrets rest sealed with their environment's key, which is asked for only
when a value is written or handed out.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow

from blocks.postgres_session import PostgresSession
from blocks.seal import Seal
from domain.errors import ConfigError
from domain.settings import SettingsChange, SettingsVersion, next_settings, refuse_value

_NEWEST = "SELECT * FROM desk.settings WHERE application = %s AND environment = %s ORDER BY version DESC LIMIT %s"


class PostgresApplicationSettings:
    """Fulfils `domain.ports.ApplicationSettings`; `open_seal` opens the seal of an environment by its name."""

    def __init__(self, session: PostgresSession, open_seal: Callable[[str], Seal]) -> None:
        self._session = session
        self._open_seal = open_seal

    def latest(self, application: str, environment: str) -> SettingsVersion:
        rows = self._session.rows(_NEWEST, (application, environment, 1))
        return _read_version(rows[0]) if rows else SettingsVersion(application, environment)

    def get(self, application: str, environment: str, version: int) -> SettingsVersion:
        if version == 0:
            return SettingsVersion(application, environment)
        rows = self._session.rows(
            "SELECT * FROM desk.settings WHERE application = %s AND environment = %s AND version = %s",
            (application, environment, version),
        )
        if not rows:
            raise ConfigError(
                f"{application} has no settings {version} in {environment}. List them with "
                f"`slipway config history {application} {environment}`."
            )
        return _read_version(rows[0])

    def history(self, application: str, environment: str, *, limit: int = 100) -> list[SettingsVersion]:
        return [_read_version(row) for row in self._session.rows(_NEWEST, (application, environment, limit))]

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
        change = SettingsChange(config=config or {}, secrets=frozenset(values), unset=unset)
        for name, value in values.items():
            refuse_value(name, value)
        sealed = {name: self._open_seal(environment).close(value) for name, value in values.items()}
        with self._session.transaction() as connection:
            # one writer at a time for each place, so that no version is skipped or made twice
            connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"{application}:{environment}",)
            )
            rows = connection.execute(_NEWEST, (application, environment, 1)).fetchall()
            before = _read_version(rows[0]) if rows else SettingsVersion(application, environment)
            known = _secret_versions(connection, application, environment)
            after = next_settings(before, change, at=datetime.now(UTC), actor=actor, secret_versions=known)
            if after is None:
                return before
            _store(connection, after, sealed)
        return after

    def values(self, application: str, environment: str, version: int) -> dict[str, str]:
        settings = self.get(application, environment, version)
        if not settings.secrets:
            return dict(settings.config)
        seal = self._open_seal(environment)
        rows = self._session.rows(
            "SELECT name, version, sealed FROM desk.secret WHERE application = %s AND environment = %s",
            (application, environment),
        )
        sealed = {(row["name"], row["version"]): row["sealed"] for row in rows}
        opened = {name: seal.open(sealed[name, number]) for name, number in settings.secrets.items()}
        return {**settings.config, **opened}


def _store(connection: psycopg.Connection[DictRow], after: SettingsVersion, sealed: Mapping[str, bytes]) -> None:
    place = (after.application, after.environment)
    for name, content in sealed.items():
        connection.execute(
            "INSERT INTO desk.secret (application, environment, name, version, at, actor, sealed)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (*place, name, after.secrets[name], after.at, after.actor, content),
        )
    connection.execute(
        "INSERT INTO desk.settings (application, environment, version, at, actor, config, secrets)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (*place, after.version, after.at, after.actor, json.dumps(dict(after.config)), json.dumps(dict(after.secrets))),
    )


def _secret_versions(connection: psycopg.Connection[DictRow], application: str, environment: str) -> dict[str, int]:
    rows = connection.execute(
        "SELECT name, max(version) AS version FROM desk.secret WHERE application = %s AND environment = %s"
        " GROUP BY name",
        (application, environment),
    ).fetchall()
    return {str(row["name"]): int(row["version"]) for row in rows}


def _read_version(row: dict[str, Any]) -> SettingsVersion:
    return SettingsVersion(
        application=row["application"],
        environment=row["environment"],
        version=row["version"],
        at=row["at"].astimezone(UTC),
        actor=row["actor"],
        config=row["config"],
        secrets=row["secrets"],
    )
