"""Expired partitions: detached without blocking anybody, then dropped, and finished where that was interrupted.

Called by `blocks/rows_postgres.py`. A partition that is being detached carries a note (its comment) that says for which
table and with which bounds: whoever comes after a crash finds it by that, wherever the crash was, and can put it back.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql

from blocks.rows_catalogue import Partition, PolicyFacts, read_partitions
from blocks.rows_session import Lines, LockedError, bounded, limit, our_errors
from blocks.rows_sql import Values, condition
from domain.errors import ConfigError, RefusedError
from domain.ports_cleanup import Expired

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
    if not facts.by_age or facts.children or facts.is_referenced or expired.policy.archive:
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


def drop(connection: Lines, facts: PolicyFacts, expired: Expired, bound: str | None, name: str) -> int:
    """Detach and drop one partition; returns its rows as PostgreSQL's statistics, or a count, say.

    Raises: RefusedError where a row of it has to stay after all: it is attached again then. TransientError where locks
        were not to be had: whatever was done is finished by the next call.
    """
    attached = {one.full_name: one for one in read_partitions(connection, facts.table.oid)}
    noted = {one.partition.full_name: one.partition for one in _noted(connection, facts)}
    if name in attached and name not in noted:
        one = attached[name]
        if bound is None or not _is_past(connection, facts, one, expired, bound):
            raise RefusedError(f"{name} holds rows that have to stay. Nothing was changed.")
        _note(connection, facts, one)
        noted[name] = one
    if name not in noted:
        return 0
    _detach(connection, facts, expired, noted[name])
    return _drop_detached(connection, facts, expired, bound, noted[name])


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


def _drop_detached(connection: Lines, facts: PolicyFacts, expired: Expired, bound: str | None, one: Partition) -> int:
    """Look once more, now that nobody adds rows, then drop."""
    stays = 0
    with our_errors(), bounded(connection, expired.policy):
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(one.identifier))
        rows = _rows(connection, one)
        # bound None: the cut-off moved back since; then its bounds don't prove anything
        stays = rows if bound is None else _stays(connection, facts, one, expired, bound)
        if not stays:
            connection.execute(sql.SQL("DROP TABLE {}").format(one.identifier))
    if stays:
        _attach(connection, facts, one)
        raise RefusedError(
            f"{one.full_name} holds rows that have to stay by now (a hold came, or other conditions). "
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
