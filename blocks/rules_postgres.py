"""Looks whether restored data keeps the rules that its own database declares: foreign keys, constraints, sequences.

PostgreSQL checks a row when it is written, and never again: `session_replication_role = replica`, a disabled trigger or
a damaged page leave rows that no rule would let in, and a copy of them is faithful. Called by the scratch servers of
drills; one seldom-written rule may call functions of the application, so it runs where nothing can be harmed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

LIMIT_S = 3600
FOUND_MAX = 20
_ARGUMENTS_MAX = 90

# Partitions have copies of their parent's keys: the parent's says it all. Equality is the operator of the key itself.
_FOREIGN = """
SELECT k.conname, cn.nspname, c.relname, pn.nspname, p.relname, k.confmatchtype::text,
  array_agg(ca.attname::text ORDER BY o.n), array_agg(pa.attname::text ORDER BY o.n),
  array_agg(opn.nspname::text ORDER BY o.n), array_agg(op.oprname::text ORDER BY o.n)
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
CROSS JOIN LATERAL unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY AS o (child, parent, op, n)
JOIN pg_attribute ca ON ca.attrelid = c.oid AND ca.attnum = o.child
JOIN pg_attribute pa ON pa.attrelid = p.oid AND pa.attnum = o.parent
JOIN pg_operator op ON op.oid = o.op JOIN pg_namespace opn ON opn.oid = op.oprnamespace
WHERE k.contype = 'f' AND k.convalidated AND k.conparentid = 0
  AND NOT coalesce((to_jsonb(k) ->> 'conperiod')::bool, false)
GROUP BY k.oid, k.conname, cn.nspname, c.relname, pn.nspname, p.relname, k.confmatchtype ORDER BY 2, 3, 1"""

# to_jsonb, because older servers have no such column
_RULES = """
SELECT n.nspname, c.relname,
  (SELECT array_agg(a.attname::text) FROM pg_attribute a
   WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped),
  (SELECT array_agg(k.conname || ': ' || pg_get_expr(k.conbin, k.conrelid) ORDER BY k.conname) FROM pg_constraint k
   WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.convalidated
     AND coalesce((to_jsonb(k) ->> 'conenforced')::bool, true))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND NOT (n.nspname LIKE 'pg\\_%' OR n.nspname = 'information_schema')
ORDER BY 1, 2"""

# Only where the column has a key of its own: elsewhere a number may come twice.
_SEQUENCES = """
SELECT sn.nspname, s.relname, tn.nspname, t.relname, a.attname
FROM pg_sequence q JOIN pg_class s ON s.oid = q.seqrelid JOIN pg_namespace sn ON sn.oid = s.relnamespace
JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
  AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
JOIN pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p') JOIN pg_namespace tn ON tn.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE q.seqincrement > 0 AND NOT q.seqcycle AND s.relpersistence = 'p' AND EXISTS (
  SELECT 1 FROM pg_index i WHERE i.indrelid = t.oid AND i.indisunique AND i.indpred IS NULL
    AND i.indnatts = 1 AND i.indkey[0] = a.attnum)
ORDER BY 1, 2"""


@dataclass(frozen=True, slots=True)
class Rules:
    """What was looked at, by kind; `broken` names each rule that does not hold; `unread` what could not be asked."""

    foreign: int
    checks: int
    sequences: int
    broken: tuple[str, ...]
    unread: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Question:
    """One query about a rule, and how its row becomes sentences: none where the rule holds."""

    name: str
    query: sql.Composed
    tell: Callable[[Sequence[Any]], Sequence[str]]


def judge_rules(conninfo: str, databases: Sequence[str]) -> Rules:
    """Look at every rule of some databases of a server that nobody writes to. Raises: psycopg.Error where it falls."""
    counts, broken, unread = [0, 0, 0], list[str](), list[str]()
    for database in databases:
        with psycopg.connect(make_conninfo(conninfo, dbname=database), autocommit=True, connect_timeout=10) as session:
            session.execute("SELECT set_config('statement_timeout', %s, false)", [f"{LIMIT_S}s"])
            session.execute("SET default_transaction_read_only = on")
            for number, kind in enumerate((_foreign_keys, _row_rules, _sequences)):
                for question in kind(session):
                    counts[number] += 1
                    try:
                        row = session.execute(question.query).fetchone()
                        broken += [f"{database}: {words}" for words in question.tell(row or ())]
                    except psycopg.OperationalError:
                        raise
                    except psycopg.Error as exc:
                        words = (str(exc).splitlines() or ["no word"])[0][:120]
                        unread.append(f"{database}: {question.name}: {words}")
    return Rules(counts[0], counts[1], counts[2], tuple(broken[:FOUND_MAX]), tuple(unread[:FOUND_MAX]))


def _foreign_keys(session: psycopg.Connection[Any]) -> Iterator[_Question]:
    for key, schema, table, far_schema, far, match, ours, theirs, op_schemas, ops in session.execute(_FOREIGN):
        meets = sql.SQL(" AND ").join(
            sql.SQL("p.{} OPERATOR({}.{}) c.{}").format(
                sql.Identifier(their), sql.Identifier(op_schema), sql.SQL(op), sql.Identifier(our)
            )
            for our, their, op_schema, op in zip(ours, theirs, op_schemas, ops, strict=True)
        )
        asked = sql.SQL("num_nonnulls({}) > 0" if match == "f" else "num_nulls({}) = 0").format(
            sql.SQL(", ").join(sql.SQL("c.{}").format(sql.Identifier(one)) for one in ours)
        )
        query = sql.SQL("SELECT count(*) FROM {} AS c WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {})").format(
            sql.Identifier(schema, table), asked, sql.Identifier(far_schema, far), meets
        )
        words = f"rows of {schema}.{table} point at nothing in {far_schema}.{far} ({key})"
        yield _Question(key, query, partial(_tell_counts, [words]))


def _row_rules(session: psycopg.Connection[Any]) -> Iterator[_Question]:
    for schema, table, columns, rules in session.execute(_RULES):
        words: list[str] = []
        parts: list[sql.Composable] = []
        for begin in range(0, len(columns or []), _ARGUMENTS_MAX):
            words.append(f"rows of {schema}.{table} without a value that they must have")
            listed = sql.SQL(", ").join(sql.Identifier(one) for one in columns[begin : begin + _ARGUMENTS_MAX])
            # not IS NULL: the planner believes the catalogue, and would not look
            parts.append(sql.SQL("count(*) FILTER (WHERE num_nulls({}) > 0)").format(listed))
        for rule in rules or []:
            name, _, expression = rule.partition(": ")
            words.append(f"rows of {schema}.{table} against {name}")
            parts.append(sql.SQL("count(*) FILTER (WHERE NOT (" + expression + "))"))
        if parts:
            query = sql.SQL("SELECT {} FROM ONLY {}").format(sql.SQL(", ").join(parts), sql.Identifier(schema, table))
            yield _Question(f"{schema}.{table}", query, partial(_tell_counts, words))


def _sequences(session: psycopg.Connection[Any]) -> Iterator[_Question]:
    for schema, name, table_schema, table, column in session.execute(_SEQUENCES):
        query = sql.SQL("SELECT (SELECT last_value FROM {}), (SELECT max({}) FROM {})").format(
            sql.Identifier(schema, name), sql.Identifier(column), sql.Identifier(table_schema, table)
        )
        yield _Question(name, query, partial(_tell_behind, f"{schema}.{name}", f"{table_schema}.{table}.{column}"))


def _tell_counts(words: Sequence[str], row: Sequence[Any]) -> Sequence[str]:
    return [f"{count} {said}" for count, said in zip(row, words, strict=False) if count]


def _tell_behind(sequence: str, column: str, row: Sequence[Any]) -> Sequence[str]:
    if None in row or row[0] >= row[1]:
        return []
    return [f"{sequence} is at {row[0]}, and {column} goes up to {row[1]}"]
