"""Archive-then-delete, killed at every kind of point and started again: nothing is lost, nothing is there twice."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from archive_program import FileArchives
from fixtures_rows import SCHEMA, VISITS, RowsStage

from blocks.memory_world import MemoryWorld
from blocks.rows_postgres import PostgresRows
from blocks.world import use_world
from domain.archive import encryption_of
from domain.ports_cleanup import CopiedPartition, CopiedTable
from tasks.archive import read_archive

POINTS = 20
OLD, NEW = 100, 300
TABLES = ("tickets", "comments", "files")


class Program:
    """The process that forks a child for each run."""

    def __init__(self, url: str) -> None:
        self.url = url
        program = Path(__file__).with_name("archive_program.py")
        tests = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            [sys.executable, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}", "PREFECT_LOGGING_LEVEL": "ERROR"},
        )

    def run(self, store: Path, *, number: int, run: str, table: str = "tickets") -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{self.url} {store} {number} {run} {table}\n")
        self._process.stdin.flush()
        while not (line := self._process.stdout.readline()).startswith("{"):
            assert line, "the program ended"
        return json.loads(line)

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.communicate(timeout=30)


@pytest.fixture
def stage(postgres: str) -> Generator[RowsStage]:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS killed WITH (FORCE)")
        connection.execute("CREATE DATABASE killed")
    url = psycopg.conninfo.make_conninfo(postgres, dbname="killed")
    url = f"postgresql://{_user(url)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA)
    rows = PostgresRows(lambda: url)
    yield RowsStage(url, rows)
    rows.close()


def _user(conninfo: str) -> str:
    """A URL without spaces, for the program's input."""
    told = psycopg.conninfo.conninfo_to_dict(conninfo)
    return f"{told['user']}:{told['password']}@{told['host']}:{told['port']}/{told['dbname']}"


def contents(stage: RowsStage) -> dict[str, list[str]]:
    return {name: [row[0] for row in stage.run(f"SELECT t::text FROM {name} t ORDER BY id")] for name in TABLES}


def refill(stage: RowsStage) -> None:
    stage.run("TRUNCATE tickets, comments, files RESTART IDENTITY")
    stage.fill(OLD, NEW, comments=2, files=1)


def archived(store: Path) -> dict[str, list[str]]:
    """The keys in every whole archive whose rows were deleted, by table."""
    events = [json.loads(line) for line in (store / "ledger.jsonl").read_text().splitlines()]
    deleted = [event["data"]["prefix"] for event in events if event["kind"] == "deletion.completed"]
    whole = sorted(path.name.replace("~", "/") for path in store.glob("*manifest.json"))
    assert sorted(f"{prefix}manifest.json" for prefix in set(deleted)) == whole
    found: dict[str, list[str]] = {f"public.{name}": [] for name in TABLES}
    for table in copied(store):
        lines = table.file.read_text().splitlines()[1:]
        found[table.table] += [line.split(",")[0] for line in lines if line.split(",")[0].isdigit()]
    return found


def copied(store: Path) -> list[CopiedTable]:
    """What a restoration reads: every whole archive, fetched, compared, opened and counted."""
    world, found = MemoryWorld(), list[CopiedTable]()
    world.cleaning.archives = FileArchives(store)
    use_world(lambda: world)
    try:
        for number, path in enumerate(sorted(store.glob("*manifest.json"))):
            manifest = json.loads(path.read_text())
            assert encryption_of(manifest) == "age"
            folder = store / f"read-{number}"
            folder.mkdir(exist_ok=True)
            found += read_archive(manifest, folder)
    finally:
        use_world(None)
    return found


@pytest.mark.timeout(900)
def test_killed_at_any_point_and_started_again_it_loses_nothing_and_keeps_nothing_twice(stage: RowsStage):
    program = Program(stage.url)
    stores: list[Path] = []
    try:
        refill(stage)
        before = contents(stage)
        stores.append(Path(tempfile.mkdtemp()))
        total = program.run(stores[-1], number=0, run="run-0")["passed"]
        assert total > POINTS
        _holds(stage, stores[-1], before)
        for point in range(POINTS):
            number = 1 + point * (total - 1) // (POINTS - 1)
            refill(stage)
            stores.append(Path(tempfile.mkdtemp()))
            first = program.run(stores[-1], number=number, run="run-1")
            assert first["killed"], (number, total)
            # the same run again as a worker does, and another one as the schedule does
            again = program.run(stores[-1], number=0, run="run-1" if point % 2 else "run-2")
            assert again["code"] == 0, (number, again)
            _holds(stage, stores[-1], before)
            last = program.run(stores[-1], number=0, run="run-3")
            assert last["code"] == 0
            _holds(stage, stores[-1], before)
    finally:
        program.end()
        for store in stores:
            shutil.rmtree(store)


def _holds(stage: RowsStage, store: Path, before: dict[str, list[str]]) -> None:
    """What is left and what is archived are together exactly what was there; put back, byte by byte."""
    left = contents(stage)
    assert [len(left[name]) for name in TABLES] == [NEW, 2 * NEW, 2 * NEW]
    keys = archived(store)
    for name in TABLES:
        here = {row.strip("(").split(",")[0] for row in left[name]}
        gone = keys[f"public.{name}"]
        assert len(gone) == len(set(gone)), f"{name}: archived twice"
        assert set(gone).isdisjoint(here) and len(gone) + len(here) == len(before[name])
    order = {f"public.{name}": place for place, name in enumerate(reversed(TABLES))}
    tables = sorted(copied(store), key=lambda table: order[table.table])
    with psycopg.connect(stage.url) as connection:
        from blocks.rows_archived import restore

        with connection.transaction(force_rollback=True):
            restore(connection, tables)
            now = {
                name: [row[0] for row in connection.execute(f"SELECT t::text FROM {name} t ORDER BY id")]  # type: ignore[arg-type]
                for name in TABLES
            }
    assert now == before


PARTITION_POINTS = 10


def test_killed_between_archiving_and_dropping_a_partition_it_loses_nothing(stage: RowsStage, tmp_path: Path):
    program = Program(stage.url)
    try:
        total = 2
        for point in range(PARTITION_POINTS + 1):
            store = tmp_path / str(point)
            store.mkdir()
            number = 0 if point == 0 else 1 + (point - 1) * (total - 1) // (PARTITION_POINTS - 1)
            stage.run("DROP TABLE visits")
            stage.run(VISITS)
            stage.months(1, 3, rows=20)
            stage.months(4, 6, rows=100)
            before = stage.run("SELECT t::text FROM visits t ORDER BY id")
            first = program.run(store, number=number, run="run-1", table="visits")
            if point == 0:
                total = first["passed"]
            else:
                assert first["killed"], (number, total)
                again = program.run(store, number=0, run="run-1" if point % 2 else "run-2", table="visits")
                assert again["code"] == 0, (number, again)
            assert stage.count("visits") == 300
            assert stage.run("SELECT to_regclass('visits_01'), to_regclass('visits_03')") == [(None, None)]
            _comes_back(stage, store, before)
    finally:
        program.end()


def _comes_back(stage: RowsStage, store: Path, before: list[Any]) -> None:
    """Every partition once, from the archives by which it was dropped."""
    events = [json.loads(line) for line in (store / "ledger.jsonl").read_text().splitlines()]
    ended = [event["data"] for event in events if event["kind"] == "deletion.completed" and event["data"]["archived"]]
    assert sorted(data["partition"] for data in ended if data["left"] == 0) == [
        f"public.visits_0{n}" for n in (1, 2, 3)
    ]
    tables = copied(store)
    assert sum(table.rows for table in tables) == 60
    bounds = [CopiedPartition(f"public.visits_0{n}", 20, "", f"2026-0{n}-01", f"2026-0{n + 1}-01") for n in (1, 2, 3)]
    for one in bounds:
        stage.rows.restore([table for table in tables if _month(table) == one.name[-1]], partition=one)
    assert stage.run("SELECT t::text FROM visits t ORDER BY id") == before


def _month(table: CopiedTable) -> str:
    return table.file.read_text().splitlines()[1][0]
