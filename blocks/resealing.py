"""Giving what rests sealed in a database another key: every row in one transaction, or none.

For the ledger's desk (TOTP seeds, webhook secrets, secrets of applications) and for Prefect's block documents, which
Prefect seals as a whole. Called by `slipway rotate`, with the server's superuser.
"""

import json

import psycopg
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from psycopg import sql

from domain.errors import ConfigError, TransientError

SEALED = (
    ("application", "webhook_secret"),
    ("application", "webhook_secret_before"),
    ("approver", "seed"),
    ("forge_access", "token"),
)
"""Table and column in schema `desk` of everything under `seal_key`."""

ENVIRONMENTS_SECRETS = ("secret", "sealed")
"""Where the secrets of applications rest, each row under the key of its environment."""


def reseal_desk(superuser_url: str, *, old: str, new: str, environment: str = "") -> int:
    """Seal anew what the old key sealed; what the new key sealed already stays good. Returns how many rows.

    Args:
        environment: only secrets of applications there, under that environment's key; empty: all under `seal_key`.

    Effect: one transaction, in which nobody else writes to these tables; may be repeated.
    Raises: ConfigError where a row opens with neither key; then nothing is changed.
    """
    columns = [ENVIRONMENTS_SECRETS] if environment else SEALED
    with _connect(superuser_url) as connection, connection.transaction():
        return sum(_reseal(connection, table, column, _keys(old, new), environment) for table, column in columns)


def reseal_blocks(superuser_url: str, *, old: str, new: str) -> int:
    """Seal Prefect's block documents anew; returns how many. Its server must not run meanwhile.

    Effect: one transaction; may be repeated.
    Source: prefect/server/utilities/encryption.py, 3.8.8: a document's data is one Fernet token, kept as a JSON text.
    Raises: ConfigError where a document opens with neither key; then nothing is changed.
    """
    keys = _keys(old, new)
    with _connect(superuser_url) as connection, connection.transaction():
        connection.execute("LOCK TABLE block_document IN EXCLUSIVE MODE")
        rows = connection.execute("SELECT id, name, data FROM block_document").fetchall()
        sealed = [(id, name, data) for id, name, data in rows if isinstance(data, str)]
        for id, name, data in sealed:
            token = _rotated(keys, data.encode(), f"block document '{name}'").decode()
            connection.execute("UPDATE block_document SET data = %s WHERE id = %s", (json.dumps(token), id))
        return len(sealed)


def _reseal(connection: psycopg.Connection, table: str, column: str, keys: MultiFernet, environment: str) -> int:
    names = {"table": sql.Identifier("desk", table), "column": sql.Identifier(column)}
    connection.execute(sql.SQL("LOCK TABLE {table} IN EXCLUSIVE MODE").format(**names))
    condition = sql.SQL(" AND environment = %s") if environment else sql.SQL("")
    select = sql.SQL("SELECT ctid::text, {column} FROM {table} WHERE {column} IS NOT NULL").format(**names)
    rows = connection.execute(select + condition, (environment,) if environment else ()).fetchall()
    update = sql.SQL("UPDATE {table} SET {column} = %s WHERE ctid = %s::tid").format(**names)
    for place, sealed in rows:
        connection.execute(update, (_rotated(keys, bytes(sealed), f"a row of desk.{table}"), place))
    return len(rows)


def _keys(old: str, new: str) -> MultiFernet:
    return MultiFernet([Fernet(new.encode()), Fernet(old.encode())])


def _rotated(keys: MultiFernet, token: bytes, what: str) -> bytes:
    try:
        return keys.rotate(token)
    except InvalidToken as exc:
        raise ConfigError(
            f"{what} was sealed with a key that is lost. Register it again, then rotate; nothing was changed."
        ) from exc


def _connect(url: str) -> psycopg.Connection:
    try:
        return psycopg.connect(url, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as exc:
        raise TransientError(f"PostgreSQL does not answer: {str(exc).splitlines()[0][:256]}") from exc
