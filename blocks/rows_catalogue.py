"""What PostgreSQL's catalogue says of a clean-up policy's tables: columns, keys, references, indexes, partitions.

Used by `blocks/rows_postgres.py` before each run. A policy that does not fit is refused here, with what is there or
the statement that mends it, so that no name of a policy reaches a statement without having been found.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import Connection, sql

from domain.cleanup_policy import CleanupPart, full_name
from domain.errors import ConfigError

DATES = {"timestamp with time zone", "timestamp without time zone", "date"}
_NAMES_MAX = 12
_BOUNDS = re.compile(r"^FOR VALUES FROM \((MINVALUE|'[^']*')\) TO \('([^']*)'\)$")


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key: `columns` of a table refer to `parent_columns` of another."""

    name: str
    parent: int
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table as it is. `columns` are name and type in order; `kept` are those without the generated ones."""

    oid: int
    schema: str
    name: str
    columns: dict[str, str]
    kept: tuple[str, ...]
    keys: tuple[str, ...]
    references: tuple[Reference, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition. `lower` (None: MINVALUE) and `upper` are the bounds of a range of one column; `upper` None: none."""

    schema: str
    name: str
    lower: str | None
    upper: str | None
    is_pending: bool
    is_leaf: bool

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """The tables of a policy. `children` stand in the order in which they are deleted; `order` walks the table."""

    table: TableFacts
    children: tuple[TableFacts, ...]
    order: tuple[str, ...]
    is_partitioned: bool
    by_age: bool
    has_default: bool
    is_referenced: bool


def read_facts(connection: Connection[Any], policy: CleanupPart) -> PolicyFacts:
    """Read and check everything that a policy names.

    Raises: ConfigError naming the first thing that does not fit.
    """
    table = _read_table(connection, policy.table)
    _check_columns(table, policy)
    partitioning = connection.execute(_PARTITIONING, (table.oid,)).fetchone()
    attributes = list(partitioning[1]) if partitioning else []
    by_age = bool(partitioning) and partitioning[0] == "r" and attributes == [policy.age_column]
    if not table.keys and not by_age:
        raise ConfigError(
            f"Table {table.full_name} has no primary key, so its rows can't be deleted in batches. Add one, or "
            f"partition the table by {policy.age_column}."
        )
    children = tuple(_read_table(connection, name) for name in policy.children)
    known = {one.oid: one for one in (*children, table)}
    _refuse_circles(connection, known)
    linked = tuple(_link(connection, child, known, number, children) for number, child in enumerate(children))
    _refuse_strangers(connection, table, known)
    return PolicyFacts(
        table=table,
        children=linked,
        order=_order(connection, table, policy.age_column),
        is_partitioned=partitioning is not None,
        by_age=by_age,
        has_default=bool(partitioning and partitioning[2]),
        is_referenced=bool(_referring(connection, table.oid)),
    )


_PARTITIONING = """
SELECT partstrat::text,
    array(SELECT attname::text FROM unnest(partattrs::int2[]) WITH ORDINALITY AS part (number, place)
        LEFT JOIN pg_attribute ON attrelid = partrelid AND attnum = part.number ORDER BY place),
    partdefid <> 0
FROM pg_partitioned_table WHERE partrelid = %s
"""


def _read_table(connection: Connection[Any], written: str) -> TableFacts:
    schema, name = full_name(written)
    found = connection.execute(
        "SELECT c.oid::int8, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE nspname = %s AND relname = %s",
        (schema, name),
    ).fetchone()
    if found is None or found[1] not in ("r", "p"):
        raise ConfigError(
            f"No table '{written}' in this database. There are: {_some(_tables(connection, schema))}. "
            "Correct the policy; names are case-sensitive."
        )
    oid = int(found[0])
    _refuse_heirs(connection, oid, f"{schema}.{name}", kind=str(found[1]))
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attgenerated = '' FROM pg_attribute "
        "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (oid,),
    ).fetchall()
    columns = {str(column): str(kind) for column, kind, _ in rows}
    kept = tuple(str(column) for column, _, is_kept in rows if is_kept)
    return TableFacts(oid, schema, name, columns, kept, _key_columns(connection, oid))


def _refuse_heirs(connection: Connection[Any], oid: int, name: str, *, kind: str) -> None:
    """Refuse a plain table that others inherit from: its rows and theirs share keys and places."""
    rows = connection.execute(
        "SELECT nspname || '.' || relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid "
        "JOIN pg_namespace n ON n.oid = relnamespace WHERE inhparent = %s ORDER BY 1",
        (oid,),
    ).fetchall()
    if kind == "r" and rows:
        raise ConfigError(
            f"Tables inherit from {name} ({_some([str(row[0]) for row in rows])}), so that its keys don't tell its "
            "rows apart. Make it a partitioned table, or give each of those a policy of its own and detach it with "
            "ALTER TABLE ... NO INHERIT."
        )


def _tables(connection: Connection[Any], schema: str) -> list[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE nspname = %s AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1",
        (schema,),
    )
    return [f"{schema}.{row[0]}" for row in rows]


def _key_columns(connection: Connection[Any], oid: int) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT attname FROM pg_index, unnest(indkey::int2[]) WITH ORDINALITY AS part (number, place), pg_attribute "
        "WHERE indrelid = %s AND indisprimary AND attrelid = indrelid AND attnum = part.number ORDER BY place",
        (oid,),
    )
    return tuple(str(row[0]) for row in rows)


def _check_columns(table: TableFacts, policy: CleanupPart) -> None:
    dates = [name for name, kind in table.columns.items() if re.sub(r"\(\d+\)", "", kind) in DATES]
    if policy.age_column not in dates:
        found = table.columns.get(policy.age_column)
        problem = f"is of type {found}" if found else "does not exist"
        raise ConfigError(
            f"Policy '{policy.name}': column '{policy.age_column}' of {table.full_name} {problem}. An age is a date or "
            f"a timestamp; there are: {_some(dates)}."
        )
    for condition in (*policy.only, *policy.holds):
        check_column(table, condition.column, f"Policy '{policy.name}'")


def check_column(table: TableFacts, column: str, what: str) -> None:
    """Raises: ConfigError that lists the columns there are."""
    if column not in table.columns:
        raise ConfigError(f"{what}: {table.full_name} has no column '{column}'. It has: {_some(list(table.columns))}.")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return (", ".join(names[:_NAMES_MAX]) or "none") + more


_REFERRING = """
SELECT conname::text, conrelid::int8, confrelid::int8, confdeltype::text,
    array(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS part (number, place)
        JOIN pg_attribute ON attrelid = conrelid AND attnum = part.number ORDER BY place),
    array(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS part (number, place)
        JOIN pg_attribute ON attrelid = confrelid AND attnum = part.number ORDER BY place),
    nspname::text, relname::text
FROM pg_constraint JOIN pg_class c ON c.oid = conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE contype = 'f' AND conparentid = 0 AND confrelid = %s ORDER BY conname
"""


def _referring(connection: Connection[Any], oid: int) -> list[tuple[Any, ...]]:
    return connection.execute(_REFERRING, (oid,)).fetchall()


def _link(
    connection: Connection[Any],
    child: TableFacts,
    known: dict[int, TableFacts],
    number: int,
    children: Sequence[TableFacts],
) -> TableFacts:
    """Find how a child refers to the policy's table or to a child that is deleted after it."""
    later = {one.oid for one in children[number + 1 :]}
    places = {oid for oid in known if oid in later or oid not in {one.oid for one in children}}
    found = [(parent, row) for parent in known for row in _referring(connection, parent) if int(row[1]) == child.oid]
    wrong = [known[parent].full_name for parent, _ in found if parent not in places and parent != child.oid]
    if wrong:
        raise ConfigError(
            f"'children' has {wrong[0]} before {child.full_name}, which refers to it. Name {child.full_name} first."
        )
    references = tuple(
        Reference(str(row[0]), parent, tuple(row[4]), tuple(row[5])) for parent, row in found if parent in places
    )
    if not references:
        raise ConfigError(
            f"{child.full_name} is named in 'children', but no foreign key of it refers to "
            f"{_some([known[oid].full_name for oid in places])}. Leave it out, or add the constraint."
        )
    if not child.keys:
        raise ConfigError(f"Table {child.full_name} has no primary key. Add one.")
    return replace(child, references=references)


def _refuse_circles(connection: Connection[Any], known: dict[int, TableFacts]) -> None:
    """Refuse tables that refer to each other, by however many steps: none of them can go first."""
    parents = {one: {parent for parent in known if parent != one and _refers(connection, one, parent)} for one in known}
    while free := [one for one, referred in parents.items() if not referred & parents.keys()]:
        for one in free:
            del parents[one]
    if parents:
        names = ", ".join(known[one].full_name for one in parents)
        raise ConfigError(
            f"{names} refer to each other in a circle, so that none of them can go first. Set one of these references "
            "to NULL in the application before, drop its constraint, then name the tables again."
        )


def _refers(connection: Connection[Any], child: int, parent: int) -> bool:
    return any(int(row[1]) == child for row in _referring(connection, parent))


def _refuse_strangers(connection: Connection[Any], table: TableFacts, known: dict[int, TableFacts]) -> None:
    """Refuse references from tables that the policy does not name, to themselves, or without an index."""
    for parent in known.values():
        for name, child, _, action, columns, _, schema, relation in _referring(connection, parent.oid):
            if int(child) == parent.oid:
                raise ConfigError(
                    f"{parent.full_name} refers to itself ({name}): which rows go first can't be said in batches. "
                    "Break the references in the application, or drop the constraint."
                )
            if int(child) not in known and action in ("a", "r", "c"):
                effect = "would be deleted along, uncounted" if action == "c" else "would stop the deletion"
                raise ConfigError(
                    f"Rows of {schema}.{relation} refer to {parent.full_name} ({name}) and {effect}. Add "
                    f"\"{schema}.{relation}\" to 'children' of the policy for {table.full_name}, before what it "
                    "refers to."
                )
            _need_index(connection, int(child), schema, relation, tuple(columns))


def _need_index(connection: Connection[Any], oid: int, schema: str, relation: str, columns: tuple[str, ...]) -> None:
    """Raises: ConfigError with the statement that makes the index; without one each row deleted reads the table."""
    rows = connection.execute(
        "SELECT array(SELECT attname::text FROM unnest(indkey::int2[]) WITH ORDINALITY AS part (number, place) "
        "JOIN pg_attribute ON attrelid = indrelid AND attnum = part.number WHERE place <= indnkeyatts ORDER BY place) "
        "FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_am ON pg_am.oid = i.relam "
        "WHERE indrelid = %s AND indisvalid AND indpred IS NULL AND amname = 'btree'",
        (oid,),
    )
    if any(set(row[0][: len(columns)]) == set(columns) for row in rows):
        return
    statement = sql.SQL("CREATE INDEX CONCURRENTLY ON {} ({});").format(
        sql.Identifier(schema, relation), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    raise ConfigError(
        f"{schema}.{relation} refers to what is deleted by {', '.join(columns)}, without an index: each row would read "
        f"the whole table. Create it first: {statement.as_string(connection)}"
    )


def _order(connection: Connection[Any], table: TableFacts, age_column: str) -> tuple[str, ...]:
    """Walk by age where an index leads with it, else by the primary key."""
    row = connection.execute(
        "SELECT count(*) FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_am ON pg_am.oid = i.relam, "
        "pg_attribute WHERE indrelid = %s AND indisvalid AND indpred IS NULL AND amname = 'btree' "
        "AND attrelid = indrelid AND attnum = indkey[0] AND attname = %s",
        (table.oid, age_column),
    ).fetchone()
    if row is not None and row[0] and age_column not in table.keys:
        return (age_column, *table.keys)
    return table.keys


def read_partitions(connection: Connection[Any], oid: int) -> list[Partition]:
    """List the partitions of a table, those included whose detaching was interrupted."""
    rows = connection.execute(
        "SELECT nspname, relname, pg_get_expr(relpartbound, c.oid), inhdetachpending, relkind = 'r' "
        "FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE inhparent = %s ORDER BY 2",
        (oid,),
    ).fetchall()
    return [
        Partition(str(row[0]), str(row[1]), *_bounds(str(row[2] or "")), is_pending=bool(row[3]), is_leaf=bool(row[4]))
        for row in rows
    ]


def _bounds(text: str) -> tuple[str | None, str | None]:
    found = _BOUNDS.match(text)
    if found is None:
        return None, None
    return (None if found.group(1) == "MINVALUE" else found.group(1).strip("'")), found.group(2)
