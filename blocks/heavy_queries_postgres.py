"""What weighs on a PostgreSQL server: its heaviest queries, where `pg_stat_statements` counts them."""

from collections.abc import Callable

import psycopg

from domain.errors import TransientError
from domain.ports_capacity import HeavyQuery

STATEMENT_LIMIT_MS = 10_000
TEXT_CHARACTERS_MAX = 200

_IS_THERE = (
    "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements')"
    " AND current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'"
)
_HEAVIEST = """
SELECT coalesce(d.datname, ''), s.query, s.calls, s.total_exec_time / 1000,
    s.total_exec_time / greatest(sum(s.total_exec_time) OVER (), 1e-9)
FROM pg_stat_statements s LEFT JOIN pg_database d ON d.oid = s.dbid
ORDER BY s.total_exec_time DESC LIMIT %s
"""


class PostgresHeavyQueries:
    """Fulfils `domain.ports_capacity.HeavyQueries`.

    Args:
        url_of: gives the connection URL of a database by its name; it may hold a password and is never printed.
        database: where the extension was made; it counts for the whole server.
    """

    def __init__(self, url_of: Callable[[str], str], *, database: str = "postgres") -> None:
        self._url_of, self._database = url_of, database

    def heaviest(self, *, limit: int) -> list[HeavyQuery]:
        try:
            with psycopg.connect(
                self._url_of(self._database),
                autocommit=True,
                connect_timeout=5,
                options=f"-c statement_timeout={STATEMENT_LIMIT_MS} -c default_transaction_read_only=on",
                application_name="slipway-usage",
            ) as connection:
                there = connection.execute(_IS_THERE).fetchone()
                if not there or not there[0]:
                    return []
                rows = connection.execute(_HEAVIEST, (limit,)).fetchall()
        except psycopg.Error as exc:
            words = str(exc).strip().splitlines()[:1] or [type(exc).__name__]
            raise TransientError(f"The heaviest queries can't be read: {words[0][:200]}") from exc
        # normalised by the extension: constants are $1, $2
        return [
            HeavyQuery(name, _one_line(text), int(calls), float(s), float(share))
            for name, text, calls, s, share in rows
        ]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:TEXT_CHARACTERS_MAX]
