"""Looks on while a migration runs: which locks it waits for, and who holds them.

A thread with a superuser's connection. It also ends waits that outlast the time-out, because a migration tool may set
one of its own; advisory locks, with which such tools take turns, are left to them.
"""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from domain.errors import TransientError
from domain.schema import LockWait

_POLL_S = 0.2
_GRACE_S = 1.0
"""How much longer than its time-out a wait may last before it is ended here: the server's own limit comes first."""

_WAITS = """
SELECT a.pid, l.locktype, l.mode, CASE WHEN l.relation IS NULL THEN '' ELSE l.relation::regclass::text END AS relation,
       coalesce(extract(epoch FROM clock_timestamp() - l.waitstart), 0)::float AS seconds,
       pg_blocking_pids(a.pid) AS blockers
FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
WHERE a.usename = %s AND a.datname = %s AND l.locktype <> 'advisory'
"""
_HOLDERS = """
SELECT pid, usename, application_name, state, extract(epoch FROM clock_timestamp() - xact_start)::float AS seconds
FROM pg_stat_activity WHERE pid = ANY(%s) ORDER BY pid
"""


class MigrationWatch:
    """Watches the sessions of one role in one database, in a `with` block; `waits` holds the worst of each wait."""

    def __init__(self, url: str, *, role: str, database: str, lock_timeout_s: float, waits: list[LockWait]) -> None:
        self._url = url
        self._role = role
        self._database = database
        self._lock_timeout_s = lock_timeout_s
        self._waits = waits
        self._at: dict[tuple[int, str], int] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"locks of {role}", daemon=True)

    def __enter__(self) -> "MigrationWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(timeout=10)

    def _watch(self) -> None:
        # a server that does not answer the watch does not answer the migration either: that one says so
        with suppress(psycopg.Error), psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
            while not self._done.wait(_POLL_S):
                with connection.cursor(row_factory=dict_row) as cursor:
                    for row in cursor.execute(_WAITS, (self._role, self._database)).fetchall():
                        self._note(cursor, row)

    def _note(self, cursor: psycopg.Cursor[dict[str, Any]], row: dict[str, Any]) -> None:
        wanted = f"{row['mode']} on {row['relation']}" if row["relation"] else f"a lock of type {row['locktype']}"
        holders = cursor.execute(_HOLDERS, (row["blockers"],)).fetchall()
        wait = LockWait(wanted, row["seconds"], tuple(_describe(holder) for holder in holders))
        key = (row["pid"], wanted)
        at = self._at.setdefault(key, len(self._waits))
        if at == len(self._waits):
            self._waits.append(wait)
        elif wait.seconds < self._waits[at].seconds:  # the same session waits for it again: a wait of its own
            self._at[key] = len(self._waits)
            self._waits.append(wait)
        else:
            self._waits[at] = wait
        if row["seconds"] > self._lock_timeout_s + _GRACE_S:
            cursor.execute("SELECT pg_cancel_backend(%s)", (row["pid"],))


def _describe(holder: dict[str, Any]) -> str:
    """Who holds a lock; not what it runs: a statement may hold data of customers."""
    name = f"{holder['usename']}" + (f" ({holder['application_name']})" if holder["application_name"] else "")
    age = f", its transaction {holder['seconds']:.0f} s old" if holder["seconds"] is not None else ""
    return f"pid {holder['pid']} of {name}, {holder['state'] or 'working'}{age}"


@contextmanager
def ended_sessions(url: str, *, role: str) -> Generator[None]:
    """End every session of a role when the block ends: a client that was killed leaves its statement working."""
    try:
        yield
    finally:
        _end_sessions(url, role)


def _end_sessions(url: str, role: str) -> None:
    deadline = time.monotonic() + 10
    with suppress(psycopg.Error), psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
        while connection.execute(ending, (role,)).fetchall() and time.monotonic() < deadline:
            time.sleep(0.1)


def limit_role(url: str, role: str, *, acts_as: str, lock_timeout_s: float, statement_timeout_s: float) -> None:
    """Let a role act as another in all that it does, with time-outs of its own. May be repeated.

    On the server's side, so that every client gets them: not each one reads `PGOPTIONS` or the options of a URL.
    """
    settings = {
        "role": acts_as,
        "lock_timeout": f"{round(lock_timeout_s * 1000)}ms",
        "statement_timeout": f"{round(statement_timeout_s * 1000)}ms",
    }
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(acts_as), sql.Identifier(role)))
            for name, value in settings.items():
                connection.execute(
                    sql.SQL("ALTER ROLE {} SET {} = {}").format(
                        sql.Identifier(role), sql.Identifier(name), sql.Literal(value)
                    )
                )
    except psycopg.OperationalError as exc:
        raise TransientError(f"PostgreSQL does not answer its superuser: {str(exc).splitlines()[0][:256]}") from exc
