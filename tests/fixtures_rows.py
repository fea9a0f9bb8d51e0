"""A database with tickets, comments and notes, and a table partitioned by month, for the suites of clean-up."""

import itertools
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from blocks.rows_postgres import PostgresRows
from domain.cleanup_policy import CleanupPart
from domain.ports_cleanup import Expired

NOW = datetime(2026, 7, 1, tzinfo=UTC)
VISITS = """
CREATE TABLE visits (id bigint, at timestamptz NOT NULL, page text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
"""
SCHEMA = (
    VISITS
    + """
CREATE TABLE tickets (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL, subject text,
    created_at timestamptz NOT NULL, words tsvector GENERATED ALWAYS AS (to_tsvector('english', subject)) STORED);
CREATE INDEX ON tickets (created_at);
CREATE TABLE comments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ticket_id bigint NOT NULL REFERENCES tickets,
    body text);
CREATE INDEX ON comments (ticket_id);
CREATE TABLE files (id int PRIMARY KEY, comment_id bigint NOT NULL REFERENCES comments, content bytea);
CREATE INDEX ON files (comment_id);
CREATE TABLE notes (id int PRIMARY KEY, at date NOT NULL, mark text);
"""
)
_numbers = itertools.count(1)


@dataclass
class RowsStage:
    """A fresh database. Ages count back from `NOW`."""

    url: str
    rows: PostgresRows

    def run(self, statement: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def count(self, table: str) -> int:
        return int(self.run(f"SELECT count(*) FROM {table}")[0][0])

    def ids(self, table: str = "tickets") -> list[int]:
        return [row[0] for row in self.run(f"SELECT id FROM {table} ORDER BY 1")]

    def fill(self, old: int, new: int, *, comments: int = 0, files: int = 0) -> None:
        """Tickets of two years and of yesterday, each with so many comments with so many files."""
        self.fill_tickets(old, new, comments=comments)
        self.run(
            "INSERT INTO files SELECT row_number() OVER (), c.id, '\\x00ff' FROM comments c, generate_series(1, %s) n",
            files,
        )

    def fill_tickets(self, old: int, new: int, *, comments: int = 0) -> None:
        """Tickets of two years and of yesterday, each with so many comments."""
        for count, days in ((old, 730), (new, 1)):
            self.run(
                "INSERT INTO tickets (customer, subject, created_at) "
                "SELECT n %% 7, 'No ''' || n || ''', \"käse\"' || chr(10) || n, %s::timestamptz - n * interval '1 s' "
                "FROM generate_series(1, %s) n",
                NOW - timedelta(days=days),
                count,
            )
        self.run(
            "INSERT INTO comments (ticket_id, body) SELECT id, CASE n WHEN 1 THEN NULL WHEN 2 THEN '' ELSE 'x,' END "
            "FROM tickets, generate_series(1, %s) n",
            comments,
        )

    def months(self, first: int = 1, last: int = 6, *, rows: int = 40) -> None:
        """Partitions of `visits` for months of 2026, each with some rows."""
        for month in range(first, last + 1):
            following = f"2026-{month + 1:02}-01"
            self.run(
                f"CREATE TABLE visits_{month:02} PARTITION OF visits "
                f"FOR VALUES FROM ('2026-{month:02}-01') TO ('{following}')"
            )
            self.run(
                "INSERT INTO visits SELECT %s * 1000 + n, make_timestamptz(2026, %s, 1 + n %% 28, 0, 0, 0, 'UTC'), 'p' "
                "FROM generate_series(1, %s) n",
                month,
                month,
                rows,
            )


def tickets_policy(**more: Any) -> CleanupPart:
    given: dict[str, Any] = {
        "name": "old-tickets",
        "table": "tickets",
        "age_column": "created_at",
        "older_than_days": 365,
        "children": ["files", "comments"],
        "batch_rows": 50,
        "pause_ms": 0,
        **more,
    }
    return CleanupPart.model_validate(given)


def visits_policy(**more: Any) -> CleanupPart:
    given = {"name": "old-visits", "table": "visits", "age_column": "at", "older_than_days": 75, "pause_ms": 0, **more}
    return CleanupPart.model_validate(given)


def expired(policy: CleanupPart, **more: Any) -> Expired:
    return Expired(policy, NOW - timedelta(days=policy.older_than_days), **more)


@pytest.fixture
def rows_stage(postgres: str) -> Generator[RowsStage]:
    name = f"rows_{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    url = psycopg.conninfo.make_conninfo(postgres, dbname=name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA)
    rows = PostgresRows(lambda: url)
    yield RowsStage(url, rows)
    rows.close()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]
