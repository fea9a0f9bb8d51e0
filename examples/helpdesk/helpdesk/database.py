"""The pool of connections, and what a connection may take."""

from typing import TypeAlias

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from helpdesk.settings import Settings

Connection: TypeAlias = AsyncConnection[DictRow]
Pool: TypeAlias = AsyncConnectionPool[Connection]

STATEMENT_LIMIT_MS = 10_000


def make_pool(settings: Settings) -> Pool:
    """Make the pool, closed. Opening it does not wait for the database: `/readyz` says whether it is there."""
    return AsyncConnectionPool(
        settings.database_url,
        kwargs={
            "row_factory": dict_row,
            # A page is a few reads: without this each would also pay for BEGIN and COMMIT. Writes say `transaction()`.
            "autocommit": True,
            "options": f"-c statement_timeout={STATEMENT_LIMIT_MS} -c idle_in_transaction_session_timeout=15000",
            "connect_timeout": 5,
            "application_name": "helpdesk",
        },
        min_size=1,
        max_size=max(1, settings.pool_max),
        timeout=settings.wait_s,
        # A connection whose server went away is replaced before a request gets it, not by failing that request.
        check=AsyncConnectionPool.check_connection,
        open=False,
        name="helpdesk",
    )
