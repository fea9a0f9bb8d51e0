"""A connection for clean-up: statement by statement, with time-outs, and errors in our words."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection, sql

from domain.cleanup_policy import CleanupPart
from domain.errors import ConfigError, InvariantError, TransientError

Lines = Connection[tuple[Any, ...]]
_SETTINGS = """
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
SET bytea_output = 'hex';
SET extra_float_digits = 1;
SET row_security = off;
"""
"""How values are written, whatever a role or database says; and rows that a policy hides are an error, never passed
over: a partition is dropped with all that is in it."""
_WAITED = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected)


class LockedError(TransientError):
    """A lock, or the time for a statement, was not to be had: smaller steps, or later."""


@contextmanager
def connected(url: Callable[[], str]) -> Generator[Lines]:
    """Lend a connection in autocommit whose text forms are fixed; it is closed afterwards."""
    with our_errors():
        connection = psycopg.connect(
            url(), autocommit=True, connect_timeout=5, keepalives_idle=10, application_name="slipway-cleanup"
        )
        try:
            connection.execute(_SETTINGS)
            yield connection
        finally:
            connection.close()


@contextmanager
def our_errors() -> Generator[None]:
    """Turn psycopg's errors into ours; none of a row's values gets into a message."""
    try:
        yield
    except _WAITED as exc:
        raise LockedError(f"The database did not get to it in time: {_first_line(exc)}. It is tried again.") from exc
    except psycopg.errors.InsufficientPrivilege as exc:
        if "row-level security" in str(exc):
            raise ConfigError(
                f"Row-level security hides rows from clean-up ({_first_line(exc)}); what is hidden can't be counted or "
                "held. Let the table's owner see them all (ALTER TABLE ... NO FORCE ROW LEVEL SECURITY)."
            ) from exc
        raise ConfigError(
            f"The database refuses: {_first_line(exc)}. Grant it to the role of the application."
        ) from exc
    except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
        raise TransientError(f"PostgreSQL went away: {_first_line(exc)}. Look at `slipway status`.") from exc
    except psycopg.Error as exc:
        raise InvariantError(f"PostgreSQL refused a statement of clean-up: {_first_line(exc)}.") from exc


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:256]


@contextmanager
def bounded(connection: Lines, policy: CleanupPart, *, isolation: str = "") -> Generator[None]:
    """One transaction that waits for no lock, and works on no statement, longer than the policy says."""
    with connection.transaction():
        if isolation:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        limit(connection, policy, local=True)
        yield


def limit(connection: Lines, policy: CleanupPart, *, local: bool = False, statement: bool = True) -> None:
    """Set the policy's time-outs, for the session unless `local`."""
    word = sql.SQL("SET LOCAL" if local else "SET")
    statement_ms = policy.statement_timeout_s * 1000 if statement else 0
    both = (("lock_timeout", policy.lock_timeout_s * 1000), ("statement_timeout", statement_ms))
    parts = [
        sql.SQL("{} {} = {}").format(word, sql.Identifier(name), sql.Literal(f"{value}ms")) for name, value in both
    ]
    connection.execute(sql.SQL("; ").join(parts))
