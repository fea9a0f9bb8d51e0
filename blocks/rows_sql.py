"""Statements over a clean-up policy's rows: every name from the catalogue and quoted, every value bound.

Used by `blocks/rows_postgres.py` and `blocks/partitions_postgres.py`.
"""

from collections.abc import Sequence
from typing import Any, LiteralString, cast

from psycopg import Connection, sql

from blocks.rows_catalogue import PolicyFacts, TableFacts, check_column
from domain.cleanup_policy import ConditionPart
from domain.ports_cleanup import Expired, Key

Text = sql.SQL | sql.Composed


class Values:
    """Binds values by name, so that a piece of a statement may stand in it several times."""

    def __init__(self) -> None:
        self.bound: dict[str, Any] = {}

    def bind(self, value: Any) -> sql.Placeholder:
        name = f"v{len(self.bound)}"
        self.bound[name] = value
        return sql.Placeholder(name)


def kind(table: TableFacts, column: str) -> sql.SQL:
    """A column's type, as the server's own catalogue writes it, for statements with values."""
    return sql.SQL(cast(LiteralString, table.columns[column].replace("%", "%%")))


def doubled(piece: sql.Composed) -> sql.SQL:
    """A piece whose names may hold a `%`, for statements with values."""
    return sql.SQL(cast(LiteralString, piece.as_string(None).replace("%", "%%")))


def join(parts: Sequence[sql.Composable], by: LiteralString = ", ") -> sql.Composed:
    return sql.SQL(by).join(parts)


def columns(names: Sequence[str], alias: str) -> sql.Composed:
    return join([sql.Identifier(alias, name) for name in names])


def texts(names: Sequence[str], alias: str) -> sql.Composed:
    """Columns as text, exact in both directions."""
    return join([sql.SQL("{}::text").format(sql.Identifier(alias, name)) for name in names])


def read_bound(connection: Connection[Any], facts: PolicyFacts, expired: Expired, uppers: Sequence[str]) -> str | None:
    """The cut-off in the type of the age column, as text.

    Of a table that is partitioned by age only whole partitions go: then it is the last bound of one before the cut-off,
    and None where there is none.
    """
    values = Values()
    cutoff = sql.SQL("{}::timestamptz").format(values.bind(expired.cutoff.isoformat()))
    age_type = facts.table.columns[expired.policy.age_column]
    if not age_type.endswith("with time zone"):
        cutoff = sql.SQL("({} AT TIME ZONE 'UTC')").format(cutoff)
    typed = sql.SQL("{}::{}").format(cutoff, kind(facts.table, expired.policy.age_column))
    statement: Text = sql.SQL("SELECT ({})::text").format(typed)
    if facts.by_age:
        every = sql.SQL("{}::text[]::{}[]").format(
            values.bind(list(uppers)), kind(facts.table, expired.policy.age_column)
        )
        statement = sql.SQL("SELECT max(bound)::text FROM unnest({}) AS bound WHERE bound <= {}").format(every, typed)
    row = connection.execute(statement, values.bound).fetchone()
    return str(row[0]) if row is not None and row[0] is not None else None


def condition(facts: PolicyFacts, expired: Expired, bound: str, values: Values, alias: str = "t") -> sql.Composed:
    """Rows that expired, that match, and that nothing holds."""
    return sql.SQL("{} AND {}").format(
        past(facts, expired, bound, values, alias), unheld(facts, expired, values, alias)
    )


def past(facts: PolicyFacts, expired: Expired, bound: str, values: Values, alias: str = "t") -> sql.Composed:
    """Rows past the cut-off that match the policy, held or not."""
    age = sql.Identifier(alias, expired.policy.age_column)
    typed = sql.SQL("{} < {}::{}").format(age, values.bind(bound), kind(facts.table, expired.policy.age_column))
    return join([typed, *(_among(one, values, alias, "IS TRUE") for one in expired.policy.only)], " AND ")


def unheld(facts: PolicyFacts, expired: Expired, values: Values, alias: str = "t") -> sql.Composed:
    """Rows that no hold keeps; a hold on a column that there is not is refused, never passed over."""
    for hold in expired.holds:
        check_column(facts.table, hold.column, f"The hold '{hold.reason}'")
    kept = [_among(one, values, alias, "IS NOT TRUE") for one in expired.all_holds]
    return join([sql.SQL("true"), *kept], " AND ")


def _among(part: ConditionPart, values: Values, alias: str, truth: LiteralString) -> sql.Composed:
    return sql.SQL("({}::text = ANY({}::text[])) {}").format(
        sql.Identifier(alias, part.column), values.bind(list(part.values)), sql.SQL(truth)
    )


def after_key(facts: PolicyFacts, after: Key | None, values: Values) -> sql.Composed:
    """Rows behind the last one of the batch before."""
    if after is None:
        return sql.SQL("{}").format(sql.SQL("true"))
    return sql.SQL("({}) > ({})").format(columns(facts.order, "t"), _place(facts, after, values))


def up_to_key(facts: PolicyFacts, last: Key, values: Values) -> sql.Composed:
    """Rows up to the last one of a batch, it included."""
    return sql.SQL("({}) <= ({})").format(columns(facts.order, "t"), _place(facts, last, values))


def _place(facts: PolicyFacts, key: Key, values: Values) -> sql.Composed:
    return join(
        [
            sql.SQL("{}::{}").format(values.bind(one), kind(facts.table, name))
            for name, one in zip(facts.order, key, strict=True)
        ]
    )


def among_keys(table: TableFacts, keys: Sequence[Key], values: Values, alias: str = "t") -> sql.Composed:
    """Rows of a table with these primary keys."""
    names = [sql.Identifier("k", f"k{place}") for place in range(len(table.keys))]
    arrays = [sql.SQL("{}::text[]").format(values.bind([key[place] for key in keys])) for place in range(len(names))]
    # value by value, not array by array: a key may be an array itself
    typed = [sql.SQL("{}::{}").format(one, kind(table, name)) for one, name in zip(names, table.keys, strict=True)]
    bare = [sql.Identifier(f"k{place}") for place in range(len(names))]
    return sql.SQL("({}) IN (SELECT {} FROM unnest({}) AS k ({}))").format(
        columns(table.keys, alias), join(typed), join(arrays), join(bare)
    )


def related(facts: PolicyFacts, child: TableFacts, root: sql.Composed, alias: str) -> sql.Composed:
    """Rows of a child that refer, perhaps through other children, to the rows of the policy's table in `root`.

    Args:
        root: a condition on the policy's table under the alias `t`.
    """
    known = {one.oid: one for one in facts.children}
    found: list[sql.Composed] = []
    for number, reference in enumerate(child.references):
        inner = f"{alias}{number}"
        parent = known.get(reference.parent)
        if parent is None:
            parent, inner, where = facts.table, "t", root
        else:
            where = related(facts, parent, root, inner)
        found.append(
            sql.SQL("({}) IN (SELECT {} FROM {} AS {} WHERE {})").format(
                columns(reference.columns, alias),
                columns(reference.parent_columns, inner),
                parent.identifier,
                sql.Identifier(inner),
                where,
            )
        )
    return sql.SQL("({})").format(join(found, " OR "))
