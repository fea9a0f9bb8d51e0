"""Which version the ledger's database has, and the ordered steps that bring an older one up.

Version 1 is every installation from before versions were written down. A step is additive and may run again; it is
applied by the next `slipway up`, unless it is marked as one that stops things: then only `slipway upgrade` takes it,
after a copy was made. A database that is newer than the code is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from domain.errors import ConfigError, TransientError


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the schema: `to` is the version that the database has afterwards."""

    to: int
    name: str
    statements: LiteralString
    wants_upgrade: bool = False


STEPS = (
    Step(
        2,
        "two webhook secrets at once",
        """
        ALTER TABLE desk.application ADD COLUMN IF NOT EXISTS webhook_secret_before bytea;
        ALTER TABLE desk.application ADD COLUMN IF NOT EXISTS webhook_secret_before_until timestamptz;
        """,
    ),
)

KNOWN = STEPS[-1].to
"""The version that this code needs."""

_TABLE = """
CREATE TABLE IF NOT EXISTS desk.schema_version (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO desk.schema_version (version, name) VALUES (1, 'base') ON CONFLICT DO NOTHING;
"""


def read_version(superuser_url: str) -> int:
    """The version of the database that the URL names; 0 where there is no schema yet.

    Raises: TransientError where the server does not answer.
    """
    try:
        with psycopg.connect(superuser_url, autocommit=True, connect_timeout=5) as connection:
            return _read(connection)
    except psycopg.OperationalError as exc:
        raise TransientError(f"PostgreSQL does not answer: {str(exc).splitlines()[0][:256]}") from exc


def find_obstacle(found: int, *, upgrading: bool) -> str:
    """Say why `slipway up` must not touch a database of this version; empty where it may.

    Args:
        found: as `read_version`; 0 is a new one.
        upgrading: whether a copy was made and everything is stopped.
    """
    if found > KNOWN:
        return (
            f"The ledger's database has schema {found}, and this code knows {KNOWN}: the installation is newer. "
            "Run that newer code, or go back with `slipway upgrade --back` there."
        )
    stopping = [step for step in STEPS if 0 < found < step.to and step.wants_upgrade]
    if stopping and not upgrading:
        return f"The ledger's database needs schema {stopping[-1].to} ({stopping[-1].name}). Run `slipway upgrade`."
    return ""


def apply_steps(connection: psycopg.Connection, *, writers: Sequence[str]) -> list[str]:
    """Apply the steps that are missing, in order; returns their names. For `install_schema`, in its transaction.

    Args:
        writers: roles that may write to schema `desk`, and not say which version it has.

    Raises: ConfigError where the database is newer.
    """
    connection.execute(_TABLE)
    found = _read(connection)
    if obstacle := find_obstacle(found, upgrading=True):
        raise ConfigError(obstacle)
    done: list[str] = []
    for step in STEPS:
        if step.to > found:
            connection.execute(step.statements)
            connection.execute("INSERT INTO desk.schema_version (version, name) VALUES (%s, %s)", (step.to, step.name))
            done.append(step.name)
    for role in writers:
        revoke = sql.SQL("REVOKE INSERT, UPDATE, DELETE ON desk.schema_version FROM {}")
        connection.execute(revoke.format(sql.Identifier(role)))
    return done


def _read(connection: psycopg.Connection) -> int:
    def is_there(table: str) -> bool:
        row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
        return bool(row and row[0])

    if is_there("desk.schema_version"):
        row = connection.execute("SELECT coalesce(max(version), 1) FROM desk.schema_version").fetchone()
        return int(row[0]) if row else 1
    return 1 if is_there("desk.application") else 0
