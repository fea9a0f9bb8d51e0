"""What weighs on a PostgreSQL server: its heaviest queries, where `pg_stat_statements` counts them."""

import re
from collections.abc import Callable, Mapping

import psycopg

from domain.errors import TransientError
from domain.ports_capacity import HeavyQuery

STATEMENT_LIMIT_MS = 10_000
TEXT_CHARACTERS_MAX = 200

_IS_THERE = (
    "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements')"
    " AND current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'"
)
_HEAVIEST = r"""
SELECT datname, query, calls, seconds, share FROM (
    SELECT coalesce(d.datname, '') AS datname, s.query, s.calls, s.total_exec_time / 1000 AS seconds,
        s.total_exec_time / greatest(sum(s.total_exec_time) OVER (), 1e-9) AS share
    FROM pg_stat_statements s LEFT JOIN pg_database d ON d.oid = s.dbid
) counted
WHERE query ~* '^(\s|--[^\n]*\n|/\*.*?\*/)*(select|insert|update|delete|merge|with|values|copy|table|refresh)\y'
ORDER BY seconds DESC LIMIT %s
"""
"""Only what works on rows: of other statements the extension keeps every word, of ALTER ROLE the password."""

_COMMENT = re.compile(r"/\*.*?(\*/|$)|--[^\n]*(\n|$)", re.DOTALL)
_LITERAL = re.compile(r"\$(\w*)\$.*?(\$\1\$|$)|'(?:[^']|'')*(?:'|$)", re.DOTALL)


class PostgresHeavyQueries:
    """Fulfils `domain.ports_capacity.HeavyQueries`.

    Args:
        servers: by its name, what gives the connection URL of a database; it may hold a password and is never printed.
        database: where the extension was made; it counts for the whole server.
    """

    def __init__(self, servers: Mapping[str, Callable[[str], str]], *, database: str = "postgres") -> None:
        self._servers, self._database = servers, database

    def heaviest(self, server: str, *, limit: int) -> list[HeavyQuery]:
        if (url_of := self._servers.get(server)) is None:
            return []
        try:
            with psycopg.connect(
                url_of(self._database),
                autocommit=True,
                connect_timeout=5,
                options=f"-c statement_timeout={STATEMENT_LIMIT_MS} -c default_transaction_read_only=on",
                application_name="slipway-usage",
            ) as connection:
                there = connection.execute(_IS_THERE).fetchone()
                if not there or not there[0]:
                    return []
                rows = connection.execute(_HEAVIEST.encode(), (limit,)).fetchall()
        except psycopg.Error as exc:
            words = str(exc).strip().splitlines()[:1] or [type(exc).__name__]
            raise TransientError(f"The heaviest queries can't be read: {words[0][:200]}") from exc
        return [
            HeavyQuery(name, without_values(text), int(calls), float(s), float(share))
            for name, text, calls, s, share in rows
        ]


def without_values(text: str) -> str:
    """A query on one line, cut; without what the extension leaves in it: comments, and constants that it didn't see."""
    plain = _LITERAL.sub("'…'", _COMMENT.sub(" ", text))
    line = " ".join(plain.split())
    return line if len(line) <= TEXT_CHARACTERS_MAX else f"{line[: TEXT_CHARACTERS_MAX - 1]}…"
