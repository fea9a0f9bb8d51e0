"""Takes the fingerprint of a PostgreSQL server: in the source at a named place of its log, and in a restored copy.

Called by `backup` (through `world.fingerprints`) and by the scratch server of a drill. In the source, every table is
locked against writing for a moment, so that the snapshot and the restore point name exactly the same content; the
hashing itself runs after the locks are gone. Unlogged tables, large objects and the server's own catalogues are left
out; the pages of all of them are checked otherwise.
"""

import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from domain.canonical import digest_of
from domain.errors import TransientError
from domain.fingerprint import Fingerprint

_ATTEMPTS_MAX = 20
_PAUSE_S = 0.25
_LOCK_LIMIT_S = 2
POINT_LENGTH_MAX = 63

# Rows are hashed as text: everything that changes how values are written is fixed.
_FIXED = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "search_path": "pg_catalog",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "max_parallel_workers_per_gather": "0",
}

_RESTORED = {
    "statement_timeout": "2h",
    # a sum does not depend on who adds what first: both cores hash
    "max_parallel_workers_per_gather": str(min(4, max(1, (os.cpu_count() or 2) - 1))),
    "min_parallel_table_scan_size": "0",
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
}
"""In a copy that nobody else uses; a damaged page may lead a reader in circles, so that there is a limit."""

_OURS = "NOT (n.nspname LIKE 'pg\\_%' OR n.nspname = 'information_schema')"
_TABLES = f"""
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND {_OURS} ORDER BY 1, 2"""
_SEQUENCES = f"""
SELECT n.nspname, c.relname, s.seqincrement FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_sequence s ON s.seqrelid = c.oid WHERE c.relpersistence = 'p' AND {_OURS} ORDER BY 1, 2"""
_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1"
TOOL_SCHEMA = "pg_slipway_drill"
"""Of a restored copy, with what a drill installs there; its name keeps it out of `_OURS`."""

_EXTENSIONS = f"""
SELECT e.extname, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE n.nspname <> '{TOOL_SCHEMA}' ORDER BY 1"""
_ROLES = """
SELECT r.rolname, concat_ws(' ', r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
  r.rolreplication, r.rolbypassrls, r.rolconnlimit, 'in',
  (SELECT string_agg(g.rolname, ',' ORDER BY g.rolname) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
   WHERE m.member = r.oid))
FROM pg_roles r WHERE r.rolname NOT LIKE 'pg\\_%' ORDER BY 1"""

# Each kind of object as lines of text; a hash of them says whether the schema is the same, and which kind differs.
_SCHEMA = {
    "tables": f"""
SELECT concat_ws('|', n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, a.attnum, a.attname,
  format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid),
  c.relacl::text, pg_get_userbyid(c.relowner))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't' AND {_OURS}""",
    "indexes": f"""
SELECT concat_ws('|', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisunique)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}""",
    "constraints": f"""
SELECT concat_ws('|', n.nspname, k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid), k.convalidated)
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE {_OURS}""",
    "views": f"""
SELECT concat_ws('|', n.nspname, c.relname, pg_get_viewdef(c.oid))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND {_OURS}""",
    "functions": f"""
SELECT concat_ws('|', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), p.prokind, p.prosrc,
  p.provolatile, p.prosecdef, p.proacl::text)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_OURS}""",
    "triggers": f"""
SELECT concat_ws('|', pg_get_triggerdef(t.oid), t.tgenabled)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND {_OURS}""",
    "types": f"""
SELECT concat_ws('|', n.nspname, t.typname, t.typtype,
  (SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype IN ('e', 'd', 'r') AND {_OURS}""",
    "policies": """
SELECT concat_ws('|', schemaname, tablename, policyname, cmd, roles, qual, with_check) FROM pg_policies""",
}

# What a dump does not keep, and does not have to: gaps in columns' numbers, and indexes that are not valid.
_LOGICAL = {
    "tables": _SCHEMA["tables"].replace(
        "a.attnum, a.attname", "row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), a.attname"
    ),
    "indexes": f"{_SCHEMA['indexes']} AND i.indisvalid",
}


class PostgresFingerprints:
    """Fulfils `domain.ports_drill.Fingerprints` on the server that is backed up."""

    def __init__(self, url: Callable[[], str]) -> None:
        """`url` gives a superuser's URL of any database of the server."""
        self._url = url

    def take(self, point: str) -> Mapping[str, Any]:
        try:
            return {"fingerprint": take_fingerprint(self._url(), point=point).as_dict()}
        except TransientError as exc:
            return {"fingerprint_unavailable": str(exc)[:256]}

    def system_id(self) -> str:
        try:
            with psycopg.connect(self._url(), autocommit=True, connect_timeout=5) as connection:
                return _system_id(connection)
        except psycopg.Error as exc:
            raise TransientError(f"PostgreSQL does not answer: {_first_line(exc)}") from exc


def take_fingerprint(conninfo: str, *, point: str) -> Fingerprint:
    """Take the fingerprint of a server at work, and make the restore point `point` at exactly that content.

    Effect: writers wait for some milliseconds; a restore point in the log. May be repeated under the same name.
    Raises: TransientError where the tables could not be locked in time, or the server does not answer.
    """
    for attempt in range(1, _ATTEMPTS_MAX + 1):
        try:
            with ExitStack() as stack:
                snapshots, lsn = _freeze(conninfo, point[:POINT_LENGTH_MAX], stack)
                return _read_all(snapshots, point=point[:POINT_LENGTH_MAX], lsn=lsn)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as exc:
            if attempt == _ATTEMPTS_MAX:
                raise TransientError(
                    f"No moment without writers in {attempt} attempts of {_LOCK_LIMIT_S} s: {_first_line(exc)} "
                    "End the long transaction (pg_stat_activity), and take the backup again."
                ) from exc
            time.sleep(_PAUSE_S * attempt)
        except psycopg.Error as exc:
            raise TransientError(f"No fingerprint could be taken: {_first_line(exc)}") from exc
    raise AssertionError("unreachable")


def read_restored(conninfo: str) -> Fingerprint:
    """Read the fingerprint of a restored server that nobody writes to.

    Raises: psycopg.Error where something is unreadable.
    """
    with ExitStack() as stack:
        snapshots = {name: stack.enter_context(snapshot(conninfo, name, _RESTORED)) for name in databases(conninfo)}
        return _read_all(snapshots, point="", lsn="")


def read_database(conninfo: str, database: str, *, label: str) -> Fingerprint:
    """Read the fingerprint of one database as it is apart from its files: what a dump keeps of it, and no more.

    Columns count from one without gaps, indexes that are not valid are left out; the cluster and its roles are, too.

    Args:
        label: the name under which its tables stand, whatever the database is called.

    Raises: psycopg.Error where something is unreadable.
    """
    with snapshot(conninfo, database) as connection:
        found = _read_all({label: connection}, point="", lsn="", queries=_SCHEMA | _LOGICAL)
    return replace(found, system_id="", roles={})


def _freeze(conninfo: str, point: str, stack: ExitStack) -> tuple[dict[str, psycopg.Connection], str]:
    """Open one snapshot for each database, all of the moment at which the restore point was made."""
    names = databases(conninfo)
    with ExitStack() as locks:
        keepers = [locks.enter_context(_locked(conninfo, name)) for name in names]
        snapshots = {name: stack.enter_context(snapshot(conninfo, name)) for name in names}
        # everybody who had written before us has ended, everybody after us waits: this names what the snapshots see
        row = keepers[0].execute("SELECT pg_create_restore_point(%s)::text", (point,)).fetchone()
    return snapshots, str(row[0]) if row else ""


@contextmanager
def _locked(conninfo: str, database: str) -> Generator[psycopg.Connection]:
    """Hold off writers of every table of a database. It is us whom a deadlock ends, and never the application."""
    with _connect(conninfo, database) as connection:
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{_LOCK_LIMIT_S}s",))
        connection.execute("SET deadlock_timeout = '50ms'")
        connection.execute("BEGIN")
        names = [sql.Identifier(schema, table) for schema, table in connection.execute(_TABLES)]
        if names:
            connection.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.SQL(", ").join(names)))
        yield connection
        connection.execute("COMMIT")


@contextmanager
def snapshot(conninfo: str, database: str, settings: Mapping[str, str] = {}) -> Generator[psycopg.Connection]:
    """Lend a session that sees one moment of a database, and writes values always in the same way."""
    with _connect(conninfo, database) as connection:
        for name, value in {**_FIXED, **settings}.items():
            connection.execute(sql.SQL("SELECT set_config({}, {}, false)").format(name, value))
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute("SELECT 1")  # the snapshot is taken here
        yield connection


def _read_all(
    snapshots: Mapping[str, psycopg.Connection], *, point: str, lsn: str, queries: Mapping[str, str] = _SCHEMA
) -> Fingerprint:
    schema: dict[str, str] = {}
    tables: dict[str, tuple[int, str]] = {}
    sequences: dict[str, tuple[int, int]] = {}
    extensions: dict[str, str] = {}
    # what goes on after the snapshot comes first: sequences are not part of one
    for database, connection in snapshots.items():
        for namespace, name, step in connection.execute(_SEQUENCES).fetchall():
            sequences[f"{database}.{namespace}.{name}"] = (_last_value(connection, namespace, name), int(step))
    for database, connection in snapshots.items():
        schema |= {f"{database}/{kind}": _hash_lines(connection, query) for kind, query in queries.items()}
        extensions |= {f"{database}.{name}": version for name, version in connection.execute(_EXTENSIONS).fetchall()}
        for namespace, name in list_tables(connection):
            tables[f"{database}.{namespace}.{name}"] = hash_table(connection, namespace, name)
    any_one = next(iter(snapshots.values()))
    roles = {str(name): str(attributes) for name, attributes in any_one.execute(_ROLES)}
    return Fingerprint(_system_id(any_one), point, lsn, schema, tables, sequences, extensions, roles)


def list_tables(connection: psycopg.Connection) -> list[tuple[str, str]]:
    """Name the logged tables of a database: schema and table."""
    return [(str(namespace), str(name)) for namespace, name in connection.execute(_TABLES).fetchall()]


def hash_table(connection: psycopg.Connection, namespace: str, name: str) -> tuple[int, str]:
    """How many rows a table has, and the sum of their hashes."""
    # the alias is one that no column has: a column of that name would be hashed instead of the row
    query = sql.SQL(
        "SELECT count(*), coalesce(sum(hashtextextended(slipway_row_::text, 0)::numeric), 0)::text "
        "FROM ONLY {} AS slipway_row_"
    )
    row = connection.execute(query.format(sql.Identifier(namespace, name))).fetchone()
    return (int(row[0]), str(row[1])) if row else (0, "0")


def _last_value(connection: psycopg.Connection, namespace: str, name: str) -> int:
    row = connection.execute(sql.SQL("SELECT last_value FROM {}").format(sql.Identifier(namespace, name))).fetchone()
    return int(row[0]) if row else 0


def _hash_lines(connection: psycopg.Connection, query: str) -> str:
    lines = sorted(str(line) for (line,) in connection.execute(cast(LiteralString, query)))
    return digest_of(lines)[:32]


def _system_id(connection: psycopg.Connection) -> str:
    row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    return str(row[0]) if row else ""


def databases(conninfo: str) -> list[str]:
    """The databases of a server that may hold something of ours."""
    with psycopg.connect(conninfo, autocommit=True, connect_timeout=5) as connection:
        return [str(name) for (name,) in connection.execute(_DATABASES)]


def _connect(conninfo: str, database: str) -> psycopg.Connection:
    info = make_conninfo(conninfo, dbname=database)
    return psycopg.connect(info, autocommit=True, connect_timeout=5)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0][:200]
