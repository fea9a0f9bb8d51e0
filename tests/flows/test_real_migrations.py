"""Migrations that fail on a real PostgreSQL: the old release serves on, nothing is held, and the ledger says it."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import psycopg
import pytest
from fixtures_ci import make_installation
from stage import APPLICATION, FILE, Stage
from test_rollouts import canary

from blocks.databases_postgres import PostgresDatabases
from blocks.installation import Users, write_private
from blocks.memory_target import Command
from domain.service import Outcome
from tasks.approval import read_live

TOOL = """
import os, sys, psycopg
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    for statement in sys.argv[1:]:
        connection.execute(statement)
        print("done:", statement)
"""
LIMITS = "lock_timeout_s = 1\nlock_attempts = 2\ncompatible_with_live = true\n"


class MigratedStage:
    """A stage on which migrations are real: statements, run one by one by another process, with no transaction."""

    def __init__(self, stage: Stage, databases: PostgresDatabases) -> None:
        self.stage = stage
        self.databases = databases
        stage.world.databases = databases  # type: ignore[assignment]
        stage.world.target("production", "alpha").answer = self._run
        self.statements: dict[str, list[str]] = {}

    def pin(self, letter: str, *statements: str) -> str:
        release = self.stage.pin(letter, file=FILE.replace("[database]", f"[database]\n{LIMITS}"))
        self.statements[release] = list(statements)
        return release

    def go_live(self, letter: str, *statements: str) -> str:
        release = self.pin(letter, *statements)
        live = read_live.fn(APPLICATION, "production")
        assert canary(release, live=live, run=f"run-{letter}")["outcome"] == "completed"
        return release

    @contextmanager
    def reader(self) -> Generator[psycopg.Connection]:
        """A report that reads tickets in a long transaction."""
        with psycopg.connect(self.url, application_name="monthly-report") as connection:
            connection.execute("SELECT * FROM tickets")
            yield connection

    @property
    def url(self) -> str:
        return self.databases.url(APPLICATION, "production")

    def columns(self) -> set[str]:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'tickets'")
            return {str(row[0]) for row in rows.fetchall()}

    def _run(self, command: Command) -> Outcome:
        if command.command != ("migrate",):
            return Outcome(0, 0.1)
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", TOOL, *self.statements[command.release]],
            env={"DATABASE_URL": command.environment["DATABASE_URL"]},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Outcome(done.returncode, time.monotonic() - begun, (done.stdout + done.stderr)[-2000:])


@pytest.fixture
def migrated(
    stage: Stage, open_tmp: Path, open_tmp_root: Path, users: Users, postgres: str
) -> Generator[MigratedStage]:
    state = open_tmp / "state"
    state.mkdir(mode=0o711)
    make_installation(state, users, open_tmp_root / "binaries")
    url = urlparse(postgres)
    write_private(state / "credentials.json", json.dumps({"postgres_superuser": url.password}))
    databases = PostgresDatabases(state=str(state), port=url.port)
    yield MigratedStage(stage, databases)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {APPLICATION}_production WITH (FORCE)")


def test_a_migration_that_fails_halfway_leaves_the_old_release_and_says_what_happened(migrated: MigratedStage):
    stage = migrated.stage
    old = migrated.go_live("a", "CREATE TABLE tickets (id int)")
    bad = migrated.pin("b", "ALTER TABLE tickets ADD COLUMN done boolean", "ALTER TABLE tickets ADD COLUMN id text")
    ended = canary(bad, live=old, run="run-bad")
    assert ended["outcome"] == "failed"
    assert 'column "id" of relation "tickets" already exists' in ended["cause"]
    for site in ("alpha", "beta"):
        assert stage.serving("production", site) == {old: 100}
        assert stage.running("production", site) == {old}
    assert stage.world.leases.held() == []
    assert migrated.columns() == {"id", "done"}, "outside a transaction the first half stays"
    (entry,) = stage.world.ledger.entries(kinds=["migration.ended"], release=bad)
    assert (entry.data["result"], entry.data["attempts"]) == ("failed", 1)
    assert "done: ALTER TABLE tickets ADD COLUMN done" in entry.data["tail"], "what was done stands in the record"
    assert [e.kind for e in stage.world.ledger.entries(run="run-bad")][-1] != "rollout.begun"
    assert "rollout.failed" in stage.kinds(run="run-bad")
    mended = migrated.pin("c", "ALTER TABLE tickets ADD COLUMN IF NOT EXISTS done boolean")
    assert canary(mended, live=old, run="run-mended")["outcome"] == "completed"


def test_a_migration_behind_a_long_transaction_ends_in_time_and_names_it(migrated: MigratedStage):
    old = migrated.go_live("a", "CREATE TABLE tickets (id int)")
    bad = migrated.pin("b", "ALTER TABLE tickets ADD COLUMN done boolean")
    with migrated.reader() as reader:
        begun = time.monotonic()
        ended = canary(bad, live=old, run="run-bad")
        assert time.monotonic() - begun < 60
        reader.execute("SELECT * FROM tickets")  # whoever read before reads on
    assert ended["outcome"] == "failed"
    assert "AccessExclusiveLock on tickets" in ended["cause"] and "monthly-report" in ended["cause"]
    (entry,) = migrated.stage.world.ledger.entries(kinds=["migration.ended"], release=bad)
    assert (entry.data["result"], entry.data["attempts"]) == ("failed", 2)
    assert migrated.stage.serving("production", "alpha") == {old: 100}
    assert migrated.columns() == {"id"}


def test_a_migration_that_met_a_lock_is_applied_once_the_lock_is_gone(migrated: MigratedStage):
    old = migrated.go_live("a", "CREATE TABLE tickets (id int)")
    new = migrated.pin("b", "ALTER TABLE tickets ADD COLUMN IF NOT EXISTS done boolean")
    with migrated.reader() as reader:
        tried = threading.Event()
        target = migrated.stage.world.target("production", "alpha")
        run = target.answer

        def answer(command: Command) -> Outcome:
            outcome = run(command)
            if not tried.is_set():
                tried.set()
                reader.rollback()  # the report ends while the first attempt has failed
            return outcome

        target.answer = answer
        assert canary(new, live=old, run="run-b")["outcome"] == "completed"
    (entry,) = migrated.stage.world.ledger.entries(kinds=["migration.ended"], release=new)
    assert (entry.data["result"], entry.data["attempts"]) == ("applied", 2)
    assert migrated.columns() == {"id", "done"}
