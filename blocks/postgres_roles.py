"""Roles and databases on a PostgreSQL server, made by its superuser.

Used by the embedded stack for its own databases. Passwords are hashed here, so that the server's log never holds one.
"""

import psycopg
from psycopg import sql

from domain.errors import TransientError


def ensure_role(superuser_url: str, role: str, *, password: str, may_create: bool = False) -> None:
    """Make a role that may log in with this password, and make databases and roles if told so. May be repeated."""
    with _connect(superuser_url) as connection:
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        exists = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount
        verb = "ALTER" if exists else "CREATE"
        statement = sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
        statement += sql.SQL(" CREATEDB CREATEROLE" if may_create else "")
        connection.execute(statement)


def ensure_database(superuser_url: str, name: str, *, owner: str | None = None) -> None:
    """Make a database that nobody but its owner may enter. May be repeated."""
    with _connect(superuser_url) as connection:
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).rowcount:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        if owner:
            change = sql.SQL("ALTER DATABASE {} OWNER TO {}")
            connection.execute(change.format(sql.Identifier(name), sql.Identifier(owner)))


def grant_entry(superuser_url: str, database: str, *, role: str) -> None:
    """Let a role that owns nothing of a database connect to it. May be repeated."""
    with _connect(superuser_url) as connection:
        grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}")
        connection.execute(grant.format(sql.Identifier(database), sql.Identifier(role)))


def ensure_extension(superuser_url: str, extension: str) -> None:
    """Make an extension in the database that the URL names. May be repeated."""
    with _connect(superuser_url) as connection:
        connection.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension)))


def find_login_problem(url: str) -> str:
    """Say why nobody gets in with this URL, without the URL; empty where it works."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as exc:
        return str(exc).strip().splitlines()[0][:256]
    return ""


def _connect(url: str) -> psycopg.Connection:
    try:
        return psycopg.connect(url, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as exc:
        raise TransientError(f"PostgreSQL does not answer its superuser: {str(exc).splitlines()[0][:256]}") from exc
