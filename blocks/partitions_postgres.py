"""Expired partitions: detached without blocking anybody, then dropped, and finished where that was interrupted.

Called by `blocks/rows_postgres.py`. A partition that is being detached carries a note (its comment) that says for which
table and with which bounds: whoever comes after a crash finds it by that, wherever the crash was, and can put it back.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

from psycopg import sql

from blocks.rows_catalogue import Partition, PolicyFacts, read_partitions
from blocks.rows_session import Lines, LockedError, bounded, limit, our_errors
from blocks.rows_sql import Values, columns, condition
from domain.archive import VERSION
from domain.cleanup_policy import ARCHIVE_ROWS
from domain.errors import ConfigError, InvariantError, RefusedError, TransientError
from domain.ports_cleanup import CopiedPartition, CopiedTable, Expired

PART_ROWS = ARCHIVE_ROWS
_NOTE = "slipway cleanup: "
_ATTEMPTS_MAX = 5
_REST_S = 0.5


@dataclass(frozen=True, slots=True)
class _Noted:
    """A table that carries our note; detached by now, or not yet."""

    partition: Partition
    is_attached: bool


def pending(connection: Lines, facts: PolicyFacts, expired: Expired, bound: str | None) -> list[str]:
    """Partitions to drop, oldest first; what an interrupted run detached already stands before them.

    Raises: ConfigError where a default partition or somebody else's half-done detaching is in the way.
    """
    if not facts.by_age or facts.children or facts.is_referenced:
        return []
    left = [one.partition.full_name for one in _noted(connection, facts) if not one.is_attached]
    partitions = read_partitions(connection, facts.table.oid)
    noted = {one.partition.full_name for one in _noted(connection, facts)}
    for one in partitions:
        if one.is_pending and one.full_name not in noted:
            raise ConfigError(
                f"Somebody's detaching of {one.full_name} is unfinished. Finish it first: "
                f"{_alter(facts, one, 'FINALIZE').as_string(connection)};"
            )
    whole = [one for one in partitions if bound is not None and _is_past(connection, facts, one, expired, bound)]
    if whole and facts.has_default and expired.policy.archive and facts.table.keys:
        whole = []  # its rows are archived in batches then
    if whole and facts.has_default:
        raise ConfigError(
            f"{facts.table.full_name} has a default partition, so that none can be detached without blocking readers. "
            "Move its rows into partitions of their own, then drop it."
        )
    unfinished = [one.full_name for one in partitions if one.full_name in noted]
    return [*left, *unfinished, *(one.full_name for one in whole if one.full_name not in unfinished)]


def _is_past(connection: Lines, facts: PolicyFacts, one: Partition, expired: Expired, bound: str) -> bool:
    """Whether every row of a partition expired, and none of them is held or does not match."""
    if one.upper is None or not one.is_leaf:
        return False
    age_type: LiteralString = "timestamptz"
    typed = sql.SQL("SELECT %s::{0} <= %s::{0}").format(sql.SQL(age_type))
    row = connection.execute(typed, (one.upper, bound)).fetchone()
    return bool(row and row[0]) and _stays(connection, facts, one, expired, bound) == 0


def _stays(connection: Lines, facts: PolicyFacts, one: Partition, expired: Expired, bound: str) -> int:
    """How many rows of a partition have to stay. Without conditions its bounds say that none has."""
    if not expired.policy.only and not expired.all_holds:
        return 0
    values = Values()
    statement = sql.SQL("SELECT count(*) FROM (SELECT FROM {} AS t WHERE ({}) IS NOT TRUE LIMIT 1000) AS kept").format(
        one.identifier, condition(facts, expired, bound, values)
    )
    row = connection.execute(statement, values.bound).fetchone()
    return int(row[0]) if row else 0


def copy(
    connection: Lines,
    facts: PolicyFacts,
    expired: Expired,
    bound: str | None,
    name: str,
    *,
    folder: Path,
    keep: Callable[[CopiedTable], None],
) -> CopiedPartition:
    """Copy a partition page by page, in parts; whole is what did not change from the first part to the last.

    No snapshot is held for as long as that takes: it would keep VACUUM from the whole database.
    """
    limit(connection, expired.policy, statement=False)
    attached = {one.full_name: one for one in read_partitions(connection, facts.table.oid)}
    noted = {one.partition.full_name: one.partition for one in _noted(connection, facts)}
    one = noted.get(name) or attached.get(name)
    if one is None:
        raise RefusedError(f"{name} is no partition of {facts.table.full_name} any more. Nothing was changed.")
    if name not in noted and (bound is None or not _is_past(connection, facts, one, expired, bound)):
        raise RefusedError(f"{name} holds rows that have to stay. Nothing was changed.")
    rows, state = _state(connection, one)
    copied = 0
    for first, last in _page_ranges(connection, one, rows):
        part = _copy_pages(connection, facts, one, first, last, folder / "part.csv")
        if part.rows:
            keep(part)
        copied += part.rows
        part.file.unlink()
    if copied != rows or _state(connection, one) != (rows, state):
        raise TransientError(f"Rows of {name} changed while they were copied. It is tried again.")
    return CopiedPartition(name, rows, state, one.lower, one.upper)


def _state(connection: Lines, one: Partition) -> tuple[int, str]:
    """How many rows there are, and a sum over where each lies in which version: it changes when any of them does."""
    statement = sql.SQL(
        "SELECT count(*), coalesce(sum(hashtextextended(ctid::text || ' ' || xmin::text, 0)::numeric), 0)::text FROM {}"
    ).format(one.identifier)
    rows, state = connection.execute(statement).fetchone() or (0, "")
    return int(rows), f"{rows}:{state}"


def _page_ranges(connection: Lines, one: Partition, rows: int) -> Iterator[tuple[int, int]]:
    """Stretches of pages with about `PART_ROWS` rows each."""
    found = connection.execute(
        "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::int", (_quoted(connection, one),)
    ).fetchone()
    pages = int(found[0]) if found else 0
    step = max(1, pages * PART_ROWS // max(rows, 1))
    for first in range(0, pages, step):
        yield first, first + step


def _copy_pages(
    connection: Lines, facts: PolicyFacts, one: Partition, first: int, last: int, path: Path
) -> CopiedTable:
    table = facts.table
    statement = sql.SQL(
        "COPY (SELECT {}, t.xmin::text AS {} FROM {} AS t WHERE t.ctid >= {} AND t.ctid < {}) "
        "TO STDOUT (FORMAT csv, HEADER)"
    ).format(
        columns(table.kept, "t"),
        sql.Identifier(VERSION),
        one.identifier,
        sql.Literal(f"({first},0)"),
        sql.Literal(f"({last},0)"),
    )
    with path.open("wb") as file, connection.cursor() as cursor:
        with cursor.copy(statement) as stream:
            for piece in stream:
                file.write(piece)
        rows = cursor.rowcount
    told = (*((name, table.columns[name]) for name in table.kept), (VERSION, "text"))
    return CopiedTable(table.full_name, path, told, table.keys, rows)


def drop(
    connection: Lines, facts: PolicyFacts, expired: Expired, bound: str | None, name: str, *, state: str = ""
) -> int:
    """Detach and drop one partition; returns its rows as PostgreSQL's statistics, or a count, say.

    Raises: RefusedError where a row of it has to stay after all, or changed since it was copied: it is attached then.
        TransientError where locks were not to be had: whatever was done is finished by the next call.
    """
    if expired.policy.archive and not state:
        raise InvariantError(f"{name} was not archived. Nothing was dropped.")
    attached = {one.full_name: one for one in read_partitions(connection, facts.table.oid)}
    noted = {one.partition.full_name: one.partition for one in _noted(connection, facts)}
    if name in attached and state and _state(connection, attached[name])[1] != state:
        raise RefusedError(f"Rows of {name} changed since it was archived. Nothing was dropped.")
    if name in attached and name not in noted:
        one = attached[name]
        if bound is None or not _is_past(connection, facts, one, expired, bound):
            raise RefusedError(f"{name} holds rows that have to stay. Nothing was changed.")
        _note(connection, facts, one)
        noted[name] = one
    if name not in noted:
        return 0
    _detach(connection, facts, expired, noted[name])
    return _drop_detached(connection, facts, expired, bound, noted[name], state)


def _note(connection: Lines, facts: PolicyFacts, one: Partition) -> None:
    told = {"parent": facts.table.full_name, "lower": one.lower, "upper": one.upper}
    statement = sql.SQL("COMMENT ON TABLE {} IS {}").format(one.identifier, sql.Literal(_NOTE + json.dumps(told)))
    connection.execute(statement)


def _noted(connection: Lines, facts: PolicyFacts) -> list[_Noted]:
    """Tables with our note for this table."""
    rows: Sequence[tuple[Any, ...]] = connection.execute(
        "SELECT nspname, relname, description, EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid) "
        "FROM pg_description JOIN pg_class c ON c.oid = objoid JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE classoid = 'pg_class'::regclass AND objsubid = 0 AND starts_with(description, %s) ORDER BY 2",
        (_NOTE,),
    ).fetchall()
    found: list[_Noted] = []
    for schema, name, description, is_attached in rows:
        told = json.loads(description.removeprefix(_NOTE))
        if told["parent"] == facts.table.full_name:
            one = Partition(schema, name, told["lower"], told["upper"], is_pending=False, is_leaf=True)
            found.append(_Noted(one, bool(is_attached)))
    return found


def _alter(facts: PolicyFacts, one: Partition, how: LiteralString) -> sql.Composed:
    return sql.SQL("ALTER TABLE {} DETACH PARTITION {} {}").format(facts.table.identifier, one.identifier, sql.SQL(how))


def _detach(connection: Lines, facts: PolicyFacts, expired: Expired, one: Partition) -> None:
    """Detach in two phases, outside of any transaction; each attempt goes on where the one before was cut off."""
    limit(connection, expired.policy)
    for attempt in range(1, _ATTEMPTS_MAX + 1):
        state = {found.full_name: found.is_pending for found in read_partitions(connection, facts.table.oid)}
        if one.full_name not in state:
            return
        try:
            with our_errors():
                connection.execute(_alter(facts, one, "FINALIZE" if state[one.full_name] else "CONCURRENTLY"))
            return
        except LockedError as exc:
            if attempt == _ATTEMPTS_MAX:
                raise LockedError(
                    f"{one.full_name} can't be detached now: an older transaction reads {facts.table.full_name}. "
                    "The next run goes on with it; look for long transactions in pg_stat_activity."
                ) from exc
            time.sleep(_REST_S * attempt)


def _drop_detached(
    connection: Lines, facts: PolicyFacts, expired: Expired, bound: str | None, one: Partition, state: str
) -> int:
    """Look once more, now that nobody adds rows, then drop."""
    stays = 0
    with our_errors(), bounded(connection, expired.policy):
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(one.identifier))
        rows = _rows(connection, one)
        # bound None: the cut-off moved back since; then its bounds don't prove anything
        stays = rows if bound is None else _stays(connection, facts, one, expired, bound)
        if state and _state(connection, one)[1] != state:
            stays = max(rows, 1)
        if not stays:
            connection.execute(sql.SQL("DROP TABLE {}").format(one.identifier))
    if stays:
        _attach(connection, facts, one)
        raise RefusedError(
            f"{one.full_name} holds rows that have to stay by now (a hold came, or they were changed). "
            "It was attached again; nothing was lost."
        )
    return rows


def _rows(connection: Lines, one: Partition) -> int:
    row = connection.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", (_quoted(connection, one),))
    found = row.fetchone()
    if found is not None and found[0] >= 0:
        return int(found[0])
    counted = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(one.identifier)).fetchone()
    return int(counted[0]) if counted else 0


def _quoted(connection: Lines, one: Partition) -> str:
    return one.identifier.as_string(connection)


def _attach(connection: Lines, facts: PolicyFacts, one: Partition) -> None:
    lower = sql.SQL("MINVALUE") if one.lower is None else sql.Literal(one.lower)
    statement = sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
        facts.table.identifier, one.identifier, lower, sql.Literal(one.upper)
    )
    with connection.transaction():
        connection.execute(statement)
        connection.execute(sql.SQL("COMMENT ON TABLE {} IS NULL").format(one.identifier))
