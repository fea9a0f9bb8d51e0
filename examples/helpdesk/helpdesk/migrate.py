"""Brings the database to what this release expects: `python -m helpdesk.migrate`, and `--check` to look only.

Numbered SQL files in `migrations/`, each applied once, in order, in a transaction of its own. Two at a time wait for
each other (advisory lock). A statement that would queue behind long transactions gives up after `LOCK_LIMIT` instead of
blocking everybody's reads, and is tried again. Files are only ever added: the release before must work on the result
(expand first, contract in a later release), because during a rollout both run.
"""

import argparse
import hashlib
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

FOLDER = Path(__file__).resolve().parent.parent / "migrations"
LOCK_KEY = 0x48454C50  # "HELP"
TURN_LIMIT = "60s"
LOCK_LIMIT = "3s"
ATTEMPTS = 5

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_REGISTER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationError(Exception):
    """The database can't be brought there; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its name (`0001_desk.sql`), its text and the hash of it."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations(folder: Path = FOLDER) -> list[Migration]:
    """Read the files in their order.

    Raises:
        MigrationError: for a file whose name is not `NNNN_words.sql`, or a number used twice.
    """
    migrations = [Migration(path.name, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.sql"))]
    numbers: dict[str, str] = {}
    for migration in migrations:
        match = _NAME.fullmatch(migration.name)
        if not match:
            raise MigrationError(f"{migration.name} is not named NNNN_words.sql. Rename it.")
        if match[1] in numbers:
            raise MigrationError(f"{migration.name} and {numbers[match[1]]} share a number. Give one the next number.")
        numbers[match[1]] = migration.name
    return migrations


def choose_pending(migrations: Sequence[Migration], applied: dict[str, str]) -> list[Migration]:
    """Choose what is still to do; `applied` maps names to hashes.

    Raises:
        MigrationError: where an applied file was changed afterwards.
    """
    for migration in migrations:
        if applied.get(migration.name, migration.sha256) != migration.sha256:
            raise MigrationError(f"{migration.name} was changed after it was applied. Undo that and add a new file.")
    return [migration for migration in migrations if migration.name not in applied]


def apply_migrations(url: str, migrations: Sequence[Migration]) -> Iterator[str]:
    """Apply what is pending and yield each name once it is committed. Running it again does nothing.

    Raises:
        MigrationError: where a migration fails; those before it stay applied.
    """
    with psycopg.connect(url, autocommit=True, connect_timeout=10, application_name="helpdesk-migrate") as connection:
        _take_turn(connection)
        connection.execute(_REGISTER)
        for migration in choose_pending(migrations, _read_applied(connection)):
            _apply(connection, migration)
            yield migration.name


def read_pending(url: str, migrations: Sequence[Migration]) -> list[str]:
    """Name what `apply_migrations` would do."""
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        known = connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone()
        applied = _read_applied(connection) if known and known[0] else {}
        return [migration.name for migration in choose_pending(migrations, applied)]


def _take_turn(connection: psycopg.Connection) -> None:
    connection.execute(f"SET lock_timeout = '{TURN_LIMIT}'")
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
    except psycopg.errors.LockNotAvailable as exc:
        raise MigrationError(
            f"Another migration has been running for {TURN_LIMIT}. Wait for it, then try again."
        ) from exc


def _read_applied(connection: psycopg.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sha256 FROM schema_migrations").fetchall())


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = '{LOCK_LIMIT}'")
                connection.execute(migration.sql.encode())
                connection.execute(
                    "INSERT INTO schema_migrations (name, sha256) VALUES (%s, %s)", (migration.name, migration.sha256)
                )
            return
        except psycopg.errors.LockNotAvailable as exc:
            if attempt == ATTEMPTS:
                raise MigrationError(
                    f"{migration.name}: no lock within {LOCK_LIMIT} in {ATTEMPTS} attempts. "
                    "End the long transactions (pg_stat_activity) and run it again."
                ) from exc
            time.sleep(attempt)
        except psycopg.Error as exc:
            raise MigrationError(f"{migration.name}: {exc}") from exc


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="helpdesk.migrate", description="Bring the database to this release.")
    parser.add_argument("--check", action="store_true", help="only list what is pending; exit 1 if something is")
    options = parser.parse_args(arguments)
    url = os.environ.get("DATABASE_URL", "")
    if not url:
        print("DATABASE_URL is not set. Set it to postgresql://user:password@host:port/database.", file=sys.stderr)
        return 2
    try:
        migrations = read_migrations()
        if options.check:
            pending = read_pending(url, migrations)
            print("\n".join(f"pending {name}" for name in pending) or "nothing pending")
            return 1 if pending else 0
        count = 0
        for name in apply_migrations(url, migrations):
            count += 1
            print(f"applied {name}", flush=True)
        print(f"{count} applied, {len(migrations)} in all")
        return 0
    except (MigrationError, psycopg.OperationalError) as exc:
        print(f"migration failed: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
