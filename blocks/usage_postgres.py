"""Usage of a PostgreSQL server: databases, tables, vectors, connections; and its heaviest queries.

It sees the present only. Each database is asked by itself: one that refuses costs its own tables.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
from psycopg.rows import TupleRow

from domain.errors import TransientError
from domain.limits import Limit
from domain.series import Remark
from domain.usage import Interval, Measured, Metric, Reading, Resource, as_name, as_time

PRESENT_S = 150
TABLES_MAX = 100
TABLE_BYTES_MIN = 1_000_000
STATEMENT_LIMIT_MS = 10_000

_DATABASES = "SELECT datname, pg_database_size(datname) FROM pg_database WHERE datallowconn AND NOT datistemplate"
_TABLES = """
SELECT n.nspname || '.' || c.relname, pg_total_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    AND pg_total_relation_size(c.oid) >= %s
ORDER BY 2 DESC LIMIT %s
"""
_VECTORS = """
SELECT n.nspname || '.' || c.relname, pg_total_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND EXISTS (
    SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND t.typname IN ('vector', 'halfvec', 'sparsevec'))
UNION ALL
SELECT n.nspname || '.' || c.relname || ' (' || m.amname || ')', pg_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am m ON m.oid = c.relam
WHERE c.relkind = 'i' AND m.amname IN ('hnsw', 'ivfflat')
"""


class PostgresUsage:
    """Fulfils `domain.ports.UsageSource` for one server.

    Args:
        owner: the server's name in keys.
        url_of: gives the connection URL of a database by its name; it may hold a password and is never printed.
        first: the database to ask about the server as a whole.
    """

    def __init__(self, owner: str, url_of: Callable[[str], str], *, first: str = "postgres") -> None:
        self._owner, self._url_of, self._first = owner, url_of, first

    @property
    def name(self) -> str:
        return f"postgres:{self._owner}"

    def read(self, interval: Interval) -> Reading:
        """One sample of each resource, stamped with the interval's last second; none of a time that has gone.

        Raises: TransientError where the server does not answer.
        """
        if datetime.now(UTC) - interval.end > timedelta(seconds=PRESENT_S):
            return Reading()
        databases = {name: size for name, size in self._ask(self._first, _DATABASES) if size is not None}
        values = {Resource(Metric.DATABASE, self._owner, name): float(size) for name, size in databases.items()}
        ((connections,),) = self._ask(self._first, "SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL")
        values[Resource(Metric.CONNECTIONS, self._owner)] = float(connections)
        refused: list[str] = []
        for database in databases:
            try:
                values.update(self._inside(database))
            except TransientError as exc:
                refused.append(str(exc))
        told = {"source": self.name, "answered": len(databases) - len(refused), "asked": len(databases)}
        problems = (Remark("usage.half", told | {"reason": refused[0]}),) if refused else ()
        at = np.array([as_time(interval.end - timedelta(seconds=1))], dtype="datetime64[s]")
        return Reading(tuple(Measured(one, at, np.array([value])) for one, value in values.items()), problems)

    def limits(self) -> list[Limit]:
        """`max_connections`, less what is kept for superusers: an application never gets those."""
        ((most, kept),) = self._ask(
            self._first,
            "SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int",
        )
        source = f"max_connections ({most}) less superuser_reserved_connections ({kept})"
        return [Limit(Resource(Metric.CONNECTIONS, self._owner), float(most - kept), source)]

    def _inside(self, database: str) -> Iterator[tuple[Resource, float]]:
        for name, size in self._ask(database, _TABLES, (TABLE_BYTES_MIN, TABLES_MAX)):
            yield Resource(Metric.TABLE, self._owner, as_name(f"{database}/{name}")), float(size)
        for name, size in self._ask(database, _VECTORS):
            if size is not None:  # it was dropped while it was measured
                yield Resource(Metric.VECTORS, self._owner, as_name(f"{database}/{name}")), float(size)

    def _ask(self, database: str, query: str, parameters: tuple[object, ...] = ()) -> list[TupleRow]:
        try:
            with psycopg.connect(
                self._url_of(database),
                autocommit=True,
                connect_timeout=5,
                options=f"-c statement_timeout={STATEMENT_LIMIT_MS} -c default_transaction_read_only=on",
                application_name="slipway-usage",
            ) as connection:
                return connection.execute(query.encode(), parameters).fetchall()
        except psycopg.Error as exc:
            words = str(exc).strip().splitlines()[:1] or [type(exc).__name__]
            raise TransientError(f"{self.name}, database {database}: {words[0][:200]}") from exc
