"""What one process holds while it serves: its settings, its pool, and whether it is about to leave."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg_pool import PoolTimeout

from helpdesk.database import Connection, Pool
from helpdesk.settings import Settings

READY_LIMIT_S = 2.0


@dataclass(slots=True)
class Desk:
    """`draining` turns true at SIGTERM: readiness says 503, answers close their connections, work goes on."""

    settings: Settings
    pool: Pool
    migrations: Sequence[str]
    draining: bool = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection. Raises: PoolTimeout where none gets free in time."""
        async with self.pool.connection() as connection:
            yield connection

    async def why_not_ready(self) -> str:
        """Say why this process should get no traffic; empty when it should.

        The database may be ahead (a newer release has migrated it): that is what expanding migrations are for.
        """
        if self.draining:
            return "shutting down"
        try:
            async with asyncio.timeout(READY_LIMIT_S), self.connection() as connection:
                cursor = await connection.execute("SELECT name FROM schema_migrations")
                applied = {row["name"] for row in await cursor.fetchall()}
        except psycopg.errors.UndefinedTable:
            return f"migrations pending: {', '.join(self.migrations)}"
        except (psycopg.Error, PoolTimeout, TimeoutError) as exc:
            return f"database unreachable: {type(exc).__name__}"
        missing = [name for name in self.migrations if name not in applied]
        return f"migrations pending: {', '.join(missing)}" if missing else ""
