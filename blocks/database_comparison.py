"""Compares a live database with a restored one, table by table, and row by row where that is cheap.

Called by `blocks/restorations_postgres.py`. Rows are compared by the hash of their primary key and of the whole row, so
that two servers need not know each other. Nothing here waits for long: the live database has users.
"""

from collections.abc import Mapping
from contextlib import ExitStack

import psycopg
from psycopg import sql

from blocks.fingerprint_postgres import hash_table, list_tables, snapshot
from domain.restore import Comparison, TableChange, compare_tables

ROWS_MAX = 200_000
"""Tables of more rows are compared as a whole: their number, and the sum of their hashes."""

_LIMIT = "600s"
_LOCK_LIMIT = "2s"

_COLUMNS = """
SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod)), ',' ORDER BY a.attnum)
FROM pg_attribute a WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped"""
_KEY = """
SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (number, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indrelid = %s::regclass AND i.indisprimary ORDER BY k.place"""
_STAMPS = """
SELECT a.attname FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s::regclass AND NOT a.attisdropped AND a.attgenerated = ''
  AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype)
  AND pg_get_expr(d.adbin, d.adrelid) ~* '(now\\(\\)|CURRENT_TIMESTAMP|LOCALTIMESTAMP|clock_timestamp\\(\\))'
ORDER BY a.attnum"""

Place = tuple[str, str]
"""A connection string, and the name of a database."""


def compare_databases(now: Place | None, then: Place) -> Comparison:
    """Compare what is live with what was restored; `now` is None where there is nothing live.

    Raises: psycopg.Error where what was restored can't be read.
    """
    with ExitStack() as stack:
        there = stack.enter_context(snapshot(*then))
        size_then = _size(there)
        here, problem = None, "there is no such database"
        names: set[tuple[str, str]] = set()
        size_now = 0
        if now is not None:
            try:
                here, problem = stack.enter_context(snapshot(*now)), ""
                here.execute("SELECT set_config('statement_timeout', %s, true)", (_LIMIT,))
                here.execute("SELECT set_config('lock_timeout', %s, true)", (_LOCK_LIMIT,))
                size_now = _size(here)
                names = {*list_tables(here), *list_tables(there)}
            except psycopg.Error as exc:
                here, problem = None, _first_line(exc)
        if here is None:
            tables = tuple(compare_tables(".".join(name), None, _read(there, name)) for name in list_tables(there))
            return Comparison(tables, 0, size_then, problem)
        changes = tuple(_compare(here, there, name) for name in sorted(names))
        return Comparison(changes, size_now, size_then)


def _compare(here: psycopg.Connection, there: psycopg.Connection, name: tuple[str, str]) -> TableChange:
    title, then = ".".join(name), _read(there, name)
    try:
        with here.transaction():
            now = _read(here, name)
            rows = None
            is_other = now is not None and then is not None and _columns(here, name) != _columns(there, name)
            if now is not None and then is not None and now[:2] != then[:2] and max(now[0], then[0]) <= ROWS_MAX:
                rows = _compare_rows(here, there, name)
    except psycopg.Error as exc:
        return compare_tables(title, None, then, problem=_first_line(exc))
    return compare_tables(title, now, then, rows=rows, has_other_columns=is_other)


def _read(connection: psycopg.Connection, name: tuple[str, str]) -> tuple[int, str, str] | None:
    """Rows, the sum of their hashes, and the newest time in columns that are filled when a row is written."""
    if not _is_there(connection, name):
        return None
    rows, total = hash_table(connection, *name)
    stamps = [sql.Identifier(str(column)) for (column,) in connection.execute(_STAMPS, (_regclass(connection, name),))]
    if not stamps:
        return rows, total, ""
    query = sql.SQL("SELECT greatest({})::timestamptz FROM ONLY {}").format(
        sql.SQL(", ").join(sql.SQL("max({})").format(stamp) for stamp in stamps), sql.Identifier(*name)
    )
    row = connection.execute(query).fetchone()
    return rows, total, row[0].isoformat() if row and row[0] else ""


def _compare_rows(
    here: psycopg.Connection, there: psycopg.Connection, name: tuple[str, str]
) -> tuple[Mapping[int, int], Mapping[int, int]] | None:
    keys = [_key(connection, name) for connection in (here, there)]
    if not keys[0] or keys[0] != keys[1]:
        return None
    return _row_hashes(here, name, keys[0]), _row_hashes(there, name, keys[0])


def _row_hashes(connection: psycopg.Connection, name: tuple[str, str], key: list[str]) -> dict[int, int]:
    columns = sql.SQL(", ").join(sql.SQL("slipway_row_.{}").format(sql.Identifier(column)) for column in key)
    query = sql.SQL(
        "SELECT hashtextextended(ROW({})::text, 0), hashtextextended(slipway_row_::text, 0) "
        "FROM ONLY {} AS slipway_row_"
    )
    return dict(connection.execute(query.format(columns, sql.Identifier(*name))).fetchall())


def _key(connection: psycopg.Connection, name: tuple[str, str]) -> list[str]:
    return [str(column) for (column,) in connection.execute(_KEY, (_regclass(connection, name),))]


def _columns(connection: psycopg.Connection, name: tuple[str, str]) -> str:
    row = connection.execute(_COLUMNS, (_regclass(connection, name),)).fetchone()
    return str(row[0]) if row else ""


def _is_there(connection: psycopg.Connection, name: tuple[str, str]) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (_regclass(connection, name),)).fetchone()
    return bool(row and row[0])


def _regclass(connection: psycopg.Connection, name: tuple[str, str]) -> str:
    return sql.Identifier(*name).as_string(connection)


def _size(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(row[0]) if row else 0


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0][:200]
