"""Short conversations with a PostgreSQL server: a handful of kept connections, and errors in our words.

Used by every adapter that keeps its facts in the `slipway_ledger` database. A connection that failed is thrown away;
whether to ask again is the caller's decision, which is why loss of the server is a `TransientError`.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg.rows import DictRow, dict_row, tuple_row

from blocks.installation import GENERAL, Installation, process_role, read_secret
from domain.errors import InvariantError, TransientError

IDLE_MAX = 4
LEDGER_DATABASE = "slipway_ledger"
LEDGER_ROLE = "slipway"
LEDGER_SECRET = "postgres_slipway"
GENERAL_ROLE = "slipway_general"
GENERAL_SECRET = "postgres_general"


class PostgresSession:
    """Connections to one database, opened when needed and kept while they work.

    Args:
        url: the connection string, or what reads it when a connection is opened: a password may be rotated under a
            process that lives on. It may hold a password, so it is never printed.
        connect_limit_s: how long to wait for the server to answer at all.
    """

    def __init__(self, url: str | Callable[[], str], *, connect_limit_s: int = 3) -> None:
        self._url: Callable[[], str] = (lambda: url) if isinstance(url, str) else url
        self._connect_limit_s = connect_limit_s
        self._idle: list[psycopg.Connection[DictRow]] = []
        self._guard = threading.Lock()

    @contextmanager
    def transaction(self) -> Generator[psycopg.Connection[DictRow]]:
        """Lend a connection inside one transaction; commit at the end, roll back on any error.

        Raises:
            TransientError: where the server is away or went away; InvariantError where it refused what we sent.
        """
        try:
            connection = self._borrow()
        except psycopg.OperationalError as exc:
            raise TransientError(f"PostgreSQL does not answer: {_first_line(exc)}. Look at `slipway status`.") from exc
        try:
            with connection.transaction():
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
            connection.close()
            raise TransientError(f"PostgreSQL went away: {_first_line(exc)}. Look at `slipway status`.") from exc
        except psycopg.Error as exc:
            raise InvariantError(f"PostgreSQL refused a statement: {_first_line(exc)}.") from exc
        finally:
            self._give_back(connection)

    def rows(self, statement: str, parameters: Any = ()) -> list[dict[str, Any]]:
        """Run one statement in its own transaction and return its rows; [] where it has none."""
        with self.transaction() as connection:
            cursor = connection.execute(statement, parameters)  # pyright: ignore[reportArgumentType, reportCallIssue]
            return cursor.fetchall() if cursor.description else []

    def stream(self, statement: LiteralString, *, page: int) -> Generator[tuple[Any, ...]]:
        """Yield the rows of one statement, fetching a page at a time; all of them are of one moment."""
        with (
            self.transaction() as connection,
            connection.cursor(name="slipway_stream", row_factory=tuple_row) as cursor,
        ):
            cursor.itersize = page
            yield from cursor.execute(statement)

    def close(self) -> None:
        """Close the idle connections; the session opens new ones when it is used again."""
        with self._guard:
            while self._idle:
                self._idle.pop().close()

    def _borrow(self) -> psycopg.Connection[DictRow]:
        with self._guard:
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed and not connection.broken and self._still_there(connection):
                    return connection
        # keepalive bounds the wait for a server whose machine vanished without a word
        return psycopg.Connection[DictRow].connect(
            self._url(),
            autocommit=True,
            row_factory=dict_row,  # pyright: ignore[reportArgumentType]
            connect_timeout=self._connect_limit_s,
            keepalives_idle=10,
            application_name="slipway",
        )

    @staticmethod
    def _still_there(connection: psycopg.Connection[DictRow]) -> bool:
        """Ask an idle connection once: the server may have restarted since."""
        try:
            connection.execute("SELECT 1")
        except psycopg.Error:
            connection.close()
            return False
        return True

    def _give_back(self, connection: psycopg.Connection[DictRow]) -> None:
        with self._guard:
            if not connection.closed and len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()


def ledger_session(installation: Installation) -> PostgresSession:
    """Open the database of ledger and desk with the role that this process has."""
    role, secret = (GENERAL_ROLE, GENERAL_SECRET) if process_role() == GENERAL else (LEDGER_ROLE, LEDGER_SECRET)

    def url() -> str:
        password = read_secret(secret, state=installation.state)
        return f"postgresql://{role}:{password}@127.0.0.1:{installation.ports['postgres']}/{LEDGER_DATABASE}"

    return PostgresSession(url)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:256] if str(error).strip() else type(error).__name__
