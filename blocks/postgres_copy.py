"""Safety copies of whole databases: taken with `pg_dump`, put back beside the present one, then swapped at once.

Called by `slipway upgrade` and `slipway uninstall`. Passwords travel in the environment, never in arguments.
"""

import os
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from blocks.identity import clean_environment
from blocks.postgres_server import PostgresServer
from domain.errors import ConfigError, TransientError

_LIMIT_S = 1800


def database_bytes(superuser_url: str, name: str) -> int:
    """How large a database is; 0 where there is none."""
    with _connect(superuser_url) as connection:
        row = connection.execute("SELECT pg_database_size(datname) FROM pg_database WHERE datname = %s", (name,))
        found = row.fetchone()
    return int(found[0]) if found else 0


def list_databases(superuser_url: str) -> list[str]:
    """Name every database that holds something of ours."""
    with _connect(superuser_url) as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY datname"
        )
        return [str(row[0]) for row in rows.fetchall()]


def dump_database(server: PostgresServer, password: str, name: str, to: Path) -> int:
    """Copy a database into one file of ours alone, whole or not at all; returns its size in bytes.

    Raises: TransientError with what `pg_dump` said.
    """
    draft = to.with_name(f".{to.name}.draft")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    _run(server, password, "pg_dump", "--format=custom", f"--file={draft}", name)
    draft.replace(to)
    return to.stat().st_size


def restore_database(server: PostgresServer, password: str, name: str, file: Path, *, owner: str | None) -> None:
    """Put a copy in the place of a database: restored beside it, then swapped in one transaction.

    Effect: sessions of the present database end. May be repeated.
    Raises: ConfigError where the copy can't be restored: then the present one stays.
    """
    url, beside, former = server.url(password), f"{name}_copy", f"{name}_former"
    with _connect(url) as connection:
        _drop(connection, beside)
        make = sql.SQL("CREATE DATABASE {} OWNER {}" if owner else "CREATE DATABASE {}")
        connection.execute(make.format(sql.Identifier(beside), *([sql.Identifier(owner)] if owner else [])))
    try:
        _run(server, password, "pg_restore", "--exit-on-error", f"--dbname={beside}", str(file))
    except TransientError as exc:
        raise ConfigError(f"{file} can't be restored: {exc} The present database stays as it is.") from exc
    with _connect(url) as connection:
        _drop(connection, former)
        with connection.transaction():
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            connection.execute(end, (name,))
            for old, new in ((name, former), (beside, name)):
                swap = sql.SQL("ALTER DATABASE {} RENAME TO {}")
                connection.execute(swap.format(sql.Identifier(old), sql.Identifier(new)))
        revoke = sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC")
        connection.execute(revoke.format(sql.Identifier(name)))
        _drop(connection, former)


def _drop(connection: psycopg.Connection, name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _run(server: PostgresServer, password: str, tool: str, *words: str) -> None:
    where = ("--host=127.0.0.1", f"--port={server.port}", "--username=postgres", "--no-password")
    try:
        done = subprocess.run(
            [str(server.bin / tool), *where, *words],
            env=clean_environment({"PGPASSWORD": password}),
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise TransientError(f"{tool} did not work: {str(exc)[:256]}") from exc
    if done.returncode != 0:
        raise TransientError(f"{tool} ended with {done.returncode}: {done.stderr.strip()[-256:]}")


def _connect(url: str) -> psycopg.Connection:
    try:
        return psycopg.connect(url, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as exc:
        raise TransientError(f"PostgreSQL does not answer: {str(exc).splitlines()[0][:256]}") from exc
