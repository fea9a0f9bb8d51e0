"""What a backup has to know of its PostgreSQL server, and the few things that it asks of it.

One session for the length of a backup: it holds the lock that keeps two backups of one server apart, and that shows
`sweep` whether somebody is at work. All errors in our words.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from domain.errors import InvariantError, TransientError
from domain.wal import read_lsn, segment_at

_LOCK = 0x5119_BACC
"""Of the advisory lock; any number that nobody else takes."""

_LOCK_LIMIT_S = 3.0
"""The session of one that was killed ends within a moment."""

_POLL_S = 0.1


# Source: PostgreSQL 18 manual, 26.3.4 (administrator's overview of hot standby).
_REPLAY_SETTINGS = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server as it is now.

    `size_bytes` is that of all of its databases, without the log; `settings` are those that a server which replays its
    log must not have lower.
    """

    version: int
    system_id: str
    timeline: int
    data: str
    page_checksums: bool
    size_bytes: int
    settings: dict[str, str]


@dataclass(frozen=True, slots=True)
class ArchiverFacts:
    """What the server itself says of its archiving. `waiting_since`: the oldest segment that is not archived;
    `last_archived`: the last file that was."""

    archived_at: datetime | None
    failed_at: datetime | None
    last_failed: str
    waiting: int
    waiting_since: datetime | None
    now: datetime
    last_archived: str = ""

    @property
    def is_failing(self) -> bool:
        return self.failed_at is not None and (self.archived_at is None or self.failed_at > self.archived_at)


class BackupServer:
    """One PostgreSQL server, as a superuser.

    Args:
        url: the connection string, with its password: never logged.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url

    @property
    def url(self) -> str:
        return self._url()

    def facts(self) -> ServerFacts:
        with self._session() as session:
            row = session.execute(
                "SELECT current_setting('server_version_num')::int, s.system_identifier::text, c.timeline_id,"
                " current_setting('data_directory'), current_setting('data_checksums') = 'on',"
                " (SELECT sum(pg_database_size(oid)) FROM pg_database)::bigint"
                " FROM pg_control_system() s, pg_control_checkpoint() c"
            ).fetchone()
            settings = session.execute(
                "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(_REPLAY_SETTINGS)]
            ).fetchall()
        assert row is not None
        return ServerFacts(*row, settings=dict(settings))

    def archiver(self) -> ArchiverFacts:
        with self._session() as session:
            row = session.execute(
                "SELECT a.last_archived_time, a.last_failed_time, coalesce(a.last_failed_wal, ''), r.count, r.oldest,"
                " now(), coalesce(a.last_archived_wal, '') FROM pg_stat_archiver a,"
                " (SELECT count(*)::int AS count, min(modification) AS oldest"
                " FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') r"
            ).fetchone()
        assert row is not None
        return ArchiverFacts(*row)

    def mark(self, name: str) -> tuple[str, str]:
        """Write a restore point and close its segment; returns the place right after it and the segment's name."""
        with self._session() as session:
            row = session.execute(
                "SELECT pg_create_restore_point(%s)::text, c.timeline_id FROM pg_control_checkpoint() c", [name]
            ).fetchone()
            session.execute("SELECT pg_switch_wal()")
        assert row is not None
        return row[0], segment_at(row[1], read_lsn(row[0]) - 1)

    @contextmanager
    def alone(self) -> Generator[None]:
        """Keep every other backup of this server away. Raises: TransientError where one is at work."""
        with self._session() as session:
            deadline = time.monotonic() + _LOCK_LIMIT_S
            while not self._lock(session):
                if time.monotonic() > deadline:
                    raise TransientError("Another backup of this server is at work. It may end first; ask again.")
                time.sleep(_POLL_S)
            try:
                yield
            finally:
                # not left to the end of the session, which the server comes to a moment later
                session.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])

    @staticmethod
    def _lock(session: psycopg.Connection[Any]) -> bool:
        row = session.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone()
        return bool(row and row[0])

    @contextmanager
    def _session(self) -> Generator[psycopg.Connection[Any]]:
        try:
            connection = psycopg.connect(self._url(), connect_timeout=5, autocommit=True, application_name="backup")
        except psycopg.OperationalError as exc:
            raise TransientError(f"PostgreSQL does not answer: {_words(exc)}. Look at `slipway status`.") from exc
        with connection:
            try:
                yield connection
            except psycopg.OperationalError as exc:
                raise TransientError(f"PostgreSQL went away: {_words(exc)}. Look at `slipway status`.") from exc
            except psycopg.Error as exc:
                raise InvariantError(f"PostgreSQL refused a statement: {_words(exc)}.") from exc


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
