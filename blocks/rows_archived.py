"""Rows on their way through an archive: copied out of one snapshot, deleted by the list of what was copied, put back.

Called by `blocks/rows_postgres.py`. With every row goes its `xmin`, which changes when the row does: what was changed
since it was copied is not what the archive holds, and stays.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from psycopg import errors, sql

from blocks.rows_catalogue import PolicyFacts, TableFacts
from blocks.rows_session import Lines, bounded
from blocks.rows_sql import Values, among_keys, columns, condition, doubled, join, kind, related, texts
from domain.archive import VERSION
from domain.cleanup_policy import full_name
from domain.errors import ConfigError
from domain.ports_cleanup import CopiedPartition, CopiedTable, Deleted, Expired, Key

_PIECE_BYTES = 1 << 16
csv.field_size_limit(1 << 30)  # as large as PostgreSQL lets a value be; else 128 KiB


def copy(connection: Lines, facts: PolicyFacts, picked: Sequence[Key], folder: Path) -> tuple[CopiedTable, ...]:
    """Write a CSV for each table, in one snapshot: the rows with these keys, and all that refers to them."""
    found: list[CopiedTable] = []
    for number, table in enumerate((*facts.children, facts.table)):
        values = Values()
        root = among_keys(facts.table, picked, values)
        alias = "t" if table is facts.table else "c"
        where = root if table is facts.table else related(facts, table, root, "c")
        statement = sql.SQL(
            "COPY (SELECT {}, {}::text AS {} FROM {} AS {} WHERE {} ORDER BY {}) TO STDOUT (FORMAT csv, HEADER)"
        ).format(
            doubled(columns(table.kept, alias)),
            sql.Identifier(alias, "xmin"),
            sql.Identifier(VERSION),
            table.identifier,
            sql.Identifier(alias),
            where,
            columns(table.keys, alias),
        )
        path = folder / f"{number:02}.csv"
        with path.open("wb") as file, connection.cursor() as cursor:
            with cursor.copy(statement, values.bound) as stream:
                for piece in stream:
                    file.write(piece)
            rows = cursor.rowcount
        told = (*((name, table.columns[name]) for name in table.kept), (VERSION, "text"))
        found.append(CopiedTable(table.full_name, path, told, table.keys, rows))
    return tuple(found)


def delete(
    connection: Lines, facts: PolicyFacts, expired: Expired, bound: str, tables: Sequence[CopiedTable], rows: int
) -> Deleted:
    """Delete the rows of the copies: those that are still the version that was copied and still expired."""
    by_name = {one.table: one for one in tables}
    for place, table in enumerate((*facts.children, facts.table)):
        _load(connection, table, by_name[table.full_name], place)
    keys = _archived_keys(connection, facts, len(facts.children))
    gone = along = 0
    for first in range(0, len(keys), rows):
        done = _delete_some(connection, facts, expired, bound, keys[first : first + rows])
        gone, along = gone + done.rows, along + done.related
    with connection.transaction():
        left = _left(connection, facts)
        for place in range(len(facts.children) + 1):
            connection.execute(sql.SQL("DROP TABLE {}").format(_list_name(place)))
    return Deleted(gone, along, left)


def _list_name(place: int) -> sql.Identifier:
    return sql.Identifier("pg_temp", f"slipway_list_{place}")


def _load(connection: Lines, table: TableFacts, copied: CopiedTable, place: int) -> None:
    """Bring the keys and versions of a copy into a list beside the table."""
    name, whole = sql.Identifier(f"slipway_list_{place}"), sql.Identifier(f"slipway_copy_{place}")
    connection.execute(
        sql.SQL("DROP TABLE IF EXISTS {}, {}").format(
            _list_name(place), sql.Identifier("pg_temp", f"slipway_copy_{place}")
        )
    )
    every = [sql.SQL("{} text").format(sql.Identifier(column)) for column, _ in copied.columns]
    connection.execute(sql.SQL("CREATE TEMP TABLE {} ({})").format(whole, join(every)))
    _copy_in(connection, copied.file, whole)
    typed = [
        sql.SQL("{}::{} AS {}").format(sql.Identifier("f", key), kind(table, key), sql.Identifier(key))
        for key in table.keys
    ]
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} AS SELECT {}, f.{} FROM {} AS f").format(
            name, join(typed), sql.Identifier(VERSION), whole
        ),
        {},
    )
    connection.execute(sql.SQL("DROP TABLE {}").format(whole))
    keys = join([sql.Identifier(key) for key in table.keys])
    connection.execute(sql.SQL("CREATE INDEX ON {} ({})").format(name, keys))
    connection.execute(sql.SQL("ANALYZE {}").format(name))


def _copy_in(connection: Lines, path: Path, table: sql.Identifier) -> None:
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER)").format(table)
    with connection.cursor() as cursor, path.open("rb") as file, cursor.copy(statement) as stream:
        while piece := file.read(_PIECE_BYTES):
            stream.write(piece)


def _archived_keys(connection: Lines, facts: PolicyFacts, place: int) -> list[Key]:
    rows = connection.execute(
        sql.SQL("SELECT {} FROM {} AS l ORDER BY {}").format(
            texts(facts.table.keys, "l"), _list_name(place), columns(facts.table.keys, "l")
        )
    )
    return [tuple(row) for row in rows]


def _is_listed(table: TableFacts, alias: str, place: int) -> sql.Composed:
    """Whether a row is on the list, in the version that was copied."""
    same = [sql.SQL("{} = {}").format(sql.Identifier("l", key), sql.Identifier(alias, key)) for key in table.keys]
    return sql.SQL("EXISTS (SELECT FROM {} AS l WHERE {} AND {} = {}::text)").format(
        _list_name(place), join(same, " AND "), sql.Identifier("l", VERSION), sql.Identifier(alias, "xmin")
    )


def _delete_some(connection: Lines, facts: PolicyFacts, expired: Expired, bound: str, keys: Sequence[Key]) -> Deleted:
    """Delete rows in one transaction; where something new refers to one of them, in halves, until that one stays."""
    with bounded(connection, expired.policy):
        locked = _lock(connection, facts, expired, bound, keys)
        if locked and not _has_strangers(connection, facts, locked):
            return _delete_locked(connection, facts, locked)
    if len(locked) <= 1:
        return Deleted(0, 0, len(locked))
    middle = len(locked) // 2
    parts = [_delete_some(connection, facts, expired, bound, half) for half in (locked[:middle], locked[middle:])]
    return Deleted(sum(one.rows for one in parts), sum(one.related for one in parts), sum(one.left for one in parts))


def _lock(connection: Lines, facts: PolicyFacts, expired: Expired, bound: str, keys: Sequence[Key]) -> list[Key]:
    """Lock the rows that are unchanged and still expired; a hold that came since keeps its own."""
    values = Values()
    statement = sql.SQL("SELECT {} FROM {} AS t WHERE {} AND {} AND {} ORDER BY {} FOR UPDATE OF t").format(
        texts(facts.table.keys, "t"),
        facts.table.identifier,
        among_keys(facts.table, keys, values),
        condition(facts, expired, bound, values),
        _is_listed(facts.table, "t", len(facts.children)),
        columns(facts.table.keys, "t"),
    )
    return [tuple(row) for row in connection.execute(statement, values.bound)]


def _has_strangers(connection: Lines, facts: PolicyFacts, keys: Sequence[Key]) -> bool:
    """Whether a row refers to these that the archive does not hold as it is now."""
    for place, child in enumerate(facts.children):
        values = Values()
        where = related(facts, child, among_keys(facts.table, keys, values), "c")
        statement = sql.SQL("SELECT EXISTS (SELECT FROM {} AS c WHERE {} AND NOT {})").format(
            child.identifier, where, _is_listed(child, "c", place)
        )
        row = connection.execute(statement, values.bound).fetchone()
        if row is not None and row[0]:
            return True
    return False


def _delete_locked(connection: Lines, facts: PolicyFacts, keys: Sequence[Key]) -> Deleted:
    along = 0
    for child in facts.children:
        values = Values()
        where = related(facts, child, among_keys(facts.table, keys, values), "c")
        along += connection.execute(
            sql.SQL("DELETE FROM {} AS c WHERE {}").format(child.identifier, where), values.bound
        ).rowcount
    values = Values()
    statement = sql.SQL("DELETE FROM {} AS t WHERE {}").format(
        facts.table.identifier, among_keys(facts.table, keys, values)
    )
    return Deleted(connection.execute(statement, values.bound).rowcount, along, 0)


def _left(connection: Lines, facts: PolicyFacts) -> int:
    """How many rows with an archived key are still there."""
    same = [sql.SQL("{} = {}").format(sql.Identifier("l", key), sql.Identifier("t", key)) for key in facts.table.keys]
    statement = sql.SQL("SELECT count(*) FROM {} AS l WHERE EXISTS (SELECT FROM {} AS t WHERE {})").format(
        _list_name(len(facts.children)), facts.table.identifier, join(same, " AND ")
    )
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0


def list_rows(file: Path, names: Sequence[str]) -> str:
    """Of a CSV, these columns: which rows it holds, in which version."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    with file.open(newline="", encoding="utf-8") as lines:
        rows = csv.reader(lines)
        header = next(rows)
        places = [header.index(name) for name in names]
        writer.writerow(names)
        writer.writerows([row[place] for place in places] for row in rows)
    return out.getvalue()


def count_rows(text: str) -> int:
    """How many rows such a list has."""
    return max(0, sum(1 for _ in csv.reader(io.StringIO(text, newline=""))) - 1)


def restore(
    connection: Lines, tables: Sequence[CopiedTable], *, partition: CopiedPartition | None = None
) -> dict[str, int]:
    """Put rows back whose keys are not there, parents first, in one transaction.

    Raises: ConfigError where a table or a column that the archive holds is not there any more, or no partition takes
        its rows.
    """
    found = {copied.table: 0 for copied in reversed(tables)}
    try:
        with connection.transaction():
            is_there = partition is not None and tables and not _make_partition(connection, tables[0].table, partition)
            if is_there and not tables[0].keys:
                return found  # without keys nobody can say which rows are there
            for place, copied in enumerate(reversed(tables)):
                found[copied.table] += _put_back(connection, copied, place)
    except errors.CheckViolation as exc:
        first = str(exc).splitlines()[0][:256]
        raise ConfigError(
            f"The rows do not fit as things are now: {first}. Make what is missing, then restore."
        ) from exc
    return found


def _make_partition(connection: Lines, table: str, one: CopiedPartition) -> bool:
    """Make a partition that was dropped anew; False where it is there, or others took its range."""
    parent, name = sql.Identifier(*full_name(table)), sql.Identifier(*full_name(one.name))
    lower = sql.SQL("MINVALUE") if one.lower is None else sql.Literal(one.lower)
    known = connection.execute("SELECT to_regclass(%s)", (name.as_string(connection),)).fetchone()
    if known is not None and known[0] is not None:
        return False
    try:
        with connection.transaction():
            connection.execute(
                sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                    name, parent, lower, sql.Literal(one.upper)
                )
            )
    except errors.InvalidObjectDefinition:
        return False
    return True


def _put_back(connection: Lines, copied: CopiedTable, place: int) -> int:
    schema, name = full_name(copied.table)
    names = [column for column, _ in copied.columns if column != VERSION]
    known = {
        str(row[0])
        for row in connection.execute(
            "SELECT attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n "
            "ON n.oid = relnamespace WHERE nspname = %s AND relname = %s AND attnum > 0 AND attgenerated = ''",
            (schema, name),
        )
    }
    if missing := [column for column in names if column not in known]:
        raise ConfigError(
            f"{copied.table} has no column {', '.join(missing)} any more. Restore into a database that a release of "
            "that time was migrated to, or add the column."
        )
    beside, table = sql.Identifier(f"slipway_back_{place}"), sql.Identifier(schema, name)
    listed = join([sql.Identifier(column) for column in names])
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {}, ''::text AS {} FROM {} LIMIT 0").format(
            beside, listed, sql.Identifier(VERSION), table
        )
    )
    _copy_in(connection, copied.file, beside)
    statement = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} ON CONFLICT DO NOTHING")
    return connection.execute(statement.format(table, listed, listed, beside)).rowcount
