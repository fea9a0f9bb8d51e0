"""The expired rows of a PostgreSQL database: counted, deleted in batches, copied out, put back.

Called by the tasks of `cleanup` and `restore_archive`. Never one long DELETE: each batch is a transaction of its own
that remembers the last key, skips what others hold, and deletes what refers to its rows first.
"""

import statistics
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from psycopg import sql

from blocks import partitions_postgres, rows_archived
from blocks.rows_catalogue import PolicyFacts, TableFacts, read_facts, read_partitions
from blocks.rows_session import Lines, LockedError, bounded, connected, limit, our_errors
from blocks.rows_sql import (
    Values,
    after_key,
    among_keys,
    columns,
    condition,
    join,
    past,
    read_bound,
    related,
    texts,
    unheld,
    up_to_key,
)
from domain.cleanup import Load, Preview
from domain.errors import SlipwayError
from domain.ports_cleanup import Batch, Copied, CopiedPartition, CopiedTable, Deleted, Expired, Key, Proof

SAMPLE = 5
_PROBES = 3
_ROWS_LEAST = 10
_QUICK = "SET LOCAL lock_timeout = '50ms'"
"""How long a batch waits for a row before it is taken row by row instead, passing over what others hold."""


class PostgresRows:
    """Fulfils `domain.ports_cleanup.ExpiringRows` on one database.

    Args:
        url: reads the connection string; it may hold a password, so it is never printed.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._kept: tuple[ExitStack, Lines] | None = None
        self._known: dict[Expired, tuple[PolicyFacts, str | None]] = {}

    def close(self) -> None:
        """Close what is open; it opens again when it is used again."""
        if self._kept is not None:
            self._kept[0].close()
            self._kept = None

    @contextmanager
    def _connected(self, *, keep: bool = False) -> Generator[Lines]:
        """Lend the one connection of this object; one that failed is thrown away, as is one that nobody keeps."""
        keep = keep or self._kept is not None
        if self._kept is None:
            stack = ExitStack()
            self._kept = (stack, stack.enter_context(connected(self._url)))
        try:
            with our_errors():
                yield self._kept[1]
        except LockedError:
            raise
        except SlipwayError:
            self.close()
            raise
        finally:
            if not keep:
                self.close()

    def _walked(self, connection: Lines, expired: Expired) -> tuple[PolicyFacts, str | None]:
        """The facts of a walk, read at its first batch: this object lives as long as one stretch of it."""
        if expired not in self._known:
            self._known = {expired: _read(connection, expired)}
        return self._known[expired]

    def preview(self, expired: Expired) -> Preview:
        with self._connected() as connection:
            facts, bound = _read(connection, expired)
            limit(connection, expired.policy, statement=False)
            droppable = partitions_postgres.pending(connection, facts, expired, bound)
            method = "archive" if expired.policy.archive else "partitions" if droppable else "batches"
            if bound is None:
                return Preview(method, 0, 0, _count(connection, facts.table, sql.SQL("true"), Values()))
            return _preview(connection, facts, expired, bound, method)

    def pending_partitions(self, expired: Expired) -> list[str]:
        with self._connected() as connection:
            facts, bound = _read(connection, expired)
            return partitions_postgres.pending(connection, facts, expired, bound)

    def copy_partition(
        self, expired: Expired, partition: str, *, folder: Path, keep: Callable[[CopiedTable], None]
    ) -> CopiedPartition:
        with self._connected() as connection:
            facts, bound = _read(connection, expired)
            return partitions_postgres.copy(connection, facts, expired, bound, partition, folder=folder, keep=keep)

    def drop_partition(self, expired: Expired, partition: str, *, state: str = "") -> int:
        with self._connected() as connection:
            facts, bound = _read(connection, expired)
            return partitions_postgres.drop(connection, facts, expired, bound, partition, state=state)

    def delete_batch(self, expired: Expired, *, after: Key | None, rows: int) -> Batch:
        """Delete a batch; one that meets a lock is tried again in halves, then later."""
        with self._connected(keep=True) as connection:
            facts, bound = self._walked(connection, expired)
            if bound is None or not facts.order:
                return Batch(0, 0, None)
            if not facts.is_referenced:
                with suppress(LockedError):
                    return _delete_range(connection, facts, expired, bound, after, rows)
            while True:
                try:
                    with our_errors(), bounded(connection, expired.policy):
                        return _delete_locked(connection, facts, expired, bound, after, rows)
                except LockedError:
                    if rows <= _ROWS_LEAST:
                        raise
                    rows = max(_ROWS_LEAST, rows // 4)

    def load(self) -> Load:
        with self._connected(keep=True) as connection:
            return Load(_probe(connection), _replica_lag(connection))

    def vacuum(self, expired: Expired) -> None:
        with self._connected() as connection:
            facts = read_facts(connection, expired.policy)
            limit(connection, expired.policy, statement=False)
            for table in (facts.table, *facts.children):
                connection.execute(sql.SQL("VACUUM (SKIP_LOCKED) {}").format(table.identifier))

    def prove(self, expired: Expired) -> Proof:
        with self._connected() as connection:
            facts, bound = _read(connection, expired)
            limit(connection, expired.policy, statement=False)
            orphans = sum(_orphans(connection, facts, child) for child in facts.children)
            if bound is None:
                return Proof(0, 0, orphans)
            values = Values()
            left = _count(connection, facts.table, condition(facts, expired, bound, values), values)
            return Proof(left, _held(connection, facts, expired, bound), orphans)

    def copy_batch(self, expired: Expired, *, after: Key | None, rows: int, folder: Path) -> Copied:
        with self._connected() as connection:
            facts, bound = _read(connection, expired)
            if bound is None or not facts.order:
                return Copied((), None)
            with bounded(connection, expired.policy, isolation="repeatable read"):
                limit(connection, expired.policy, local=True, statement=False)
                picked, last = _pick(connection, facts, expired, bound, after, rows, lock=False)
                tables = rows_archived.copy(connection, facts, picked, folder) if picked else ()
                return Copied(tables, last)

    def delete_archived(self, expired: Expired, tables: Sequence[CopiedTable], *, rows: int) -> Deleted:
        with self._connected() as connection:
            facts, bound = _read(connection, expired)
            if bound is None:
                return Deleted(0, 0, tables[-1].rows)
            return rows_archived.delete(connection, facts, expired, bound, tables, rows)

    def restore(self, tables: Sequence[CopiedTable], *, partition: CopiedPartition | None = None) -> dict[str, int]:
        with self._connected() as connection:
            return rows_archived.restore(connection, tables, partition=partition)


def _read(connection: Lines, expired: Expired) -> tuple[PolicyFacts, str | None]:
    """The catalogue's facts, and the cut-off in the age column's type (None: nothing can have expired)."""
    facts = read_facts(connection, expired.policy)
    uppers = [one.upper for one in read_partitions(connection, facts.table.oid) if one.upper] if facts.by_age else []
    return facts, read_bound(connection, facts, expired, uppers)


def _count(connection: Lines, table: TableFacts, where: sql.Composable, values: Values) -> int:
    statement = sql.SQL("SELECT count(*) FROM {} AS t WHERE {}").format(table.identifier, where)
    row = connection.execute(statement, values.bound).fetchone()
    return int(row[0]) if row else 0


def _preview(connection: Lines, facts: PolicyFacts, expired: Expired, bound: str, method: str) -> Preview:
    values = Values()
    where = condition(facts, expired, bound, values)
    age = sql.Identifier("t", expired.policy.age_column)
    statement = sql.SQL(
        "SELECT count(*), count(*) FILTER (WHERE {where}), to_json(min({age}) FILTER (WHERE {where})) #>> '{{}}', "
        "to_json(max({age}) FILTER (WHERE {where})) #>> '{{}}' FROM {table} AS t"
    ).format(where=where, age=age, table=facts.table.identifier)
    total, rows, oldest, newest = connection.execute(statement, values.bound).fetchone() or (0, 0, None, None)
    along = tuple(
        (child.full_name, _count_related(connection, facts, child, expired, bound)) for child in facts.children
    )
    preview = Preview(method, int(rows), 0, int(total), oldest or "", newest or "", (), along)
    return replace(
        preview,
        size_bytes=_bytes(connection, facts, preview),
        sample=_sample(connection, facts, expired, bound) if rows else (),
        held_rows=_held(connection, facts, expired, bound),
    )


def _count_related(connection: Lines, facts: PolicyFacts, child: TableFacts, expired: Expired, bound: str) -> int:
    values = Values()
    where = related(facts, child, condition(facts, expired, bound, values), "c")
    statement = sql.SQL("SELECT count(*) FROM {} AS c WHERE {}").format(child.identifier, where)
    row = connection.execute(statement, values.bound).fetchone()
    return int(row[0]) if row else 0


def _bytes(connection: Lines, facts: PolicyFacts, preview: Preview) -> int:
    """What would be free: of each table its share, with indexes and what is stored beside it."""
    found = 0.0
    told = [(facts.table, preview.rows, preview.total_rows)]
    told += [
        (child, rows, _count(connection, child, sql.SQL("true"), Values()))
        for child, (_, rows) in zip(facts.children, preview.related, strict=True)
        if rows
    ]
    for table, rows, total in told:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(%s::regclass)", (table.oid,)
        ).fetchone()
        size = int(row[0]) if row is not None and row[0] is not None else 0
        if not size:  # no partition
            row = connection.execute("SELECT pg_total_relation_size(%s::regclass)", (table.oid,)).fetchone()
            size = int(row[0]) if row else 0
        found += size * rows / total if total else 0
    return int(found)


def _sample(connection: Lines, facts: PolicyFacts, expired: Expired, bound: str) -> tuple[str, ...]:
    """Keys and ages of the first that would go: no column that may hold something of a person."""
    values = Values()
    shown = list(dict.fromkeys([*facts.table.keys, expired.policy.age_column]))
    statement = sql.SQL("SELECT {} FROM {} AS t WHERE {} ORDER BY {} LIMIT {}").format(
        texts(shown, "t"),
        facts.table.identifier,
        condition(facts, expired, bound, values),
        columns(facts.order or shown, "t"),
        sql.Literal(SAMPLE),
    )
    rows = connection.execute(statement, values.bound).fetchall()
    return tuple(", ".join(f"{name}={one}" for name, one in zip(shown, row, strict=True)) for row in rows)


def _held(connection: Lines, facts: PolicyFacts, expired: Expired, bound: str) -> int:
    if not expired.all_holds:
        return 0
    values = Values()
    where = sql.SQL("{} AND NOT ({})").format(past(facts, expired, bound, values), unheld(facts, expired, values))
    return _count(connection, facts.table, where, values)


def _orphans(connection: Lines, facts: PolicyFacts, child: TableFacts) -> int:
    """Rows that refer to something that is not there: what no constraint should ever let happen."""
    known, found = {one.oid: one for one in (*facts.children, facts.table)}, 0
    for reference in child.references:
        parent = known[reference.parent]
        same = [
            sql.SQL("{} = {}").format(sql.Identifier("c", column), sql.Identifier("p", other))
            for column, other in zip(reference.columns, reference.parent_columns, strict=True)
        ]
        filled = [sql.SQL("{} IS NOT NULL").format(sql.Identifier("c", column)) for column in reference.columns]
        statement = sql.SQL(
            "SELECT count(*) FROM {} AS c WHERE {} AND NOT EXISTS (SELECT FROM {} AS p WHERE {})"
        ).format(child.identifier, join(filled, " AND "), parent.identifier, join(same, " AND "))
        row = connection.execute(statement).fetchone()
        found += int(row[0]) if row else 0
    return found


def _pick(
    connection: Lines, facts: PolicyFacts, expired: Expired, bound: str, after: Key | None, rows: int, *, lock: bool
) -> tuple[list[Key], Key | None]:
    """The primary keys of the next rows, and where the walk stands then (None at its end)."""
    values = Values()
    statement = sql.SQL("SELECT {}, {} FROM {} AS t WHERE {} AND {} ORDER BY {} LIMIT {}{}").format(
        texts(facts.order, "t"),
        texts(facts.table.keys, "t"),
        facts.table.identifier,
        condition(facts, expired, bound, values),
        after_key(facts, after, values),
        columns(facts.order, "t"),
        sql.Literal(rows),
        sql.SQL(" FOR UPDATE OF t SKIP LOCKED" if lock else ""),
    )
    found = connection.execute(statement, values.bound).fetchall()
    width = len(facts.order)
    last = tuple(found[-1][:width]) if len(found) == rows else None
    return [tuple(row[width:]) for row in found], last


def _delete_range(
    connection: Lines, facts: PolicyFacts, expired: Expired, bound: str, after: Key | None, rows: int
) -> Batch:
    """Delete the next rows up to a key that is looked up first: both walk the same piece of one index.

    No row is locked before it is deleted, which would write as much again into the log. One that somebody else works
    on ends the batch soon (`LockedError`); one that changed meanwhile is judged anew by the server, as it is then.
    """
    with our_errors(), bounded(connection, expired.policy):
        connection.execute(_QUICK)
        last = _find_last(connection, facts, expired, bound, after, rows)
        values = Values()
        where = join([condition(facts, expired, bound, values), after_key(facts, after, values)], " AND ")
        if last is not None:
            where = sql.SQL("{} AND {}").format(where, up_to_key(facts, last, values))
        statement = sql.SQL("DELETE FROM {} AS t WHERE {}").format(facts.table.identifier, where)
        gone = connection.execute(statement, values.bound).rowcount
        if gone > rows:  # somebody put old rows into that range meanwhile: row by row, no more go than were asked for
            raise LockedError(f"{gone - rows} rows came into a batch of {facts.table.full_name}. It is taken back.")
        return Batch(gone, 0, last)


def _find_last(
    connection: Lines, facts: PolicyFacts, expired: Expired, bound: str, after: Key | None, rows: int
) -> Key | None:
    """Where a batch ends; None where fewer rows than that are left."""
    values = Values()
    statement = sql.SQL("SELECT {} FROM {} AS t WHERE {} AND {} ORDER BY {} OFFSET {} LIMIT 1").format(
        texts(facts.order, "t"),
        facts.table.identifier,
        condition(facts, expired, bound, values),
        after_key(facts, after, values),
        columns(facts.order, "t"),
        sql.Literal(rows - 1),
    )
    row = connection.execute(statement, values.bound).fetchone()
    return tuple(row) if row is not None else None


def _delete_locked(
    connection: Lines, facts: PolicyFacts, expired: Expired, bound: str, after: Key | None, rows: int
) -> Batch:
    """Lock rows that nobody else has, so that nothing new can refer to them; delete what does; delete them."""
    picked, last = _pick(connection, facts, expired, bound, after, rows, lock=True)
    if not picked:
        return Batch(0, 0, None)
    along = 0
    for child in facts.children:
        values = Values()
        where = related(facts, child, among_keys(facts.table, picked, values), "c")
        statement = sql.SQL("DELETE FROM {} AS c WHERE {}").format(child.identifier, where)
        along += connection.execute(statement, values.bound).rowcount
    values = Values()
    statement = sql.SQL("DELETE FROM {} AS t WHERE {}").format(
        facts.table.identifier, among_keys(facts.table, picked, values)
    )
    gone = connection.execute(statement, values.bound).rowcount
    return Batch(gone, along, last)


def _probe(connection: Lines) -> float:
    """How long the server takes for the smallest question: the median of a few."""
    seconds: list[float] = []
    for _ in range(_PROBES):
        begun = time.perf_counter()
        connection.execute("SELECT 1")
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def _replica_lag(connection: Lines) -> float | None:
    """Seconds of the slowest replica; None where there is none, or this role may not see it."""
    row = connection.execute("SELECT max(extract(epoch FROM replay_lag))::float8 FROM pg_stat_replication").fetchone()
    return float(row[0]) if row is not None and row[0] is not None else None
