"""The emergency on real parts: rows are backed up, more is written, all is deleted, and comes back as just before.

A real cluster with a real backup and log in a real store, a real scratch server; people and the ledger are in memory.
"""

import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlparse

import psycopg
import pyotp
import pytest
from drill_bench import DrillBench
from fixtures_backup import PASSWORD, ArchivingServer, BarmanBench, archiving_server  # noqa: F401 - fixture
from fixtures_s3 import s3  # noqa: F401 - fixture
from plain_engine import Ended, PlainEngine, PlainRun
from stage import APPLICATION, Stage

from blocks.clock import MemoryClock
from blocks.identity import find_python
from blocks.installation import Installation, Users
from blocks.memory_approvers import MemoryApprovers
from blocks.postgres_roles import ensure_database, ensure_role
from blocks.restorations_postgres import PostgresRestorations
from blocks.world import use_world
from domain.errors import InvariantError, RefusedError
from domain.ledger import Event
from domain.ports import Application, Approver
from domain.release import read_manifest
from domain.restore import Wanted, choose_course, database_name, kept_name, key_of
from domain.wal import read_lsn, segment_at
from flows.restore import restore

DATABASE = database_name(APPLICATION, "production")


class EmergencyBench(DrillBench):
    """A cluster with an application's database, and the people who are called at night."""

    def __init__(self, barman: BarmanBench, engine: PlainEngine, *, bin: Path, folder: Path) -> None:
        super().__init__(barman, bin=bin, folder=folder)
        self.plain = engine
        world: Any = self.world
        place = urlparse(self.source.url)
        (folder / "restores").mkdir()
        world.restorations = PostgresRestorations(
            url=lambda database: self.source.server.url(PASSWORD, database=database),
            role_url=lambda application, environment: f"postgresql://{DATABASE}:pw@127.0.0.1:{place.port}/{DATABASE}",
            binaries=bin,
            folder=folder / "restores",
        )
        world.applications.add(Application(APPLICATION, "gitea", "team/desk", "file:///x"), webhook_secret="s")
        live = Stage(world).pin("a")
        world.ledger.append(Event("rollout.completed", APPLICATION, "production", release=live, run="run-0"))
        manifest = read_manifest(world.ledger.entries(kinds=["release.pinned"])[0].data["manifest"])
        for site in world.environment("production").sites:
            world.target("production", site.name).prepare(manifest)
        self.people = MemoryClock()
        world.approvers = MemoryApprovers(self.people.now)
        uri = world.approvers.enrol(Approver("ann"))
        self.seed = parse_qs(urlparse(uri).query)["secret"][0]

    def _fill(self) -> None:
        super()._fill()
        ensure_role(self.source.url, DATABASE, password="pw")
        ensure_database(self.source.url, DATABASE, owner=DATABASE)
        self.desk("CREATE TABLE ticket (n bigserial PRIMARY KEY, title text, at timestamptz DEFAULT clock_timestamp())")
        self.desk("INSERT INTO ticket (title) SELECT 'ticket ' || i FROM generate_series(1, 1000) i")

    def desk(self, statement: str, *, database: str = DATABASE) -> list[Any]:
        url = self.source.server.url("pw", user=DATABASE, database=database)
        with psycopg.connect(url, autocommit=True) as connection:
            done = connection.execute(statement)  # pyright: ignore[reportArgumentType]
            return done.fetchall() if done.description else []

    def run(self, name: str, **options: Any) -> tuple[PlainRun, Ended]:
        parameters = {"application": APPLICATION, "environment": "production", "reason": "DELETE without WHERE"}
        run = PlainRun(name, restore, {**parameters, "dry_run": False, **options})
        with self.opened_with_engine():
            while (ended := self.plain.process(run)).state == "paused":
                self.people.sleep(31)
                code = pyotp.TOTP(self.seed).at(self.people.now())
                run.answers[ended.key] = {"decision": "approve", "approver": "ann", "code": code, "comment": ""}
        return run, ended

    def opened_with_engine(self) -> Any:
        world: Any = self.world
        world.clock, world.scratch, world.fingerprints = self.clock, self.scratch, self.fingerprints
        return _used(world)


class _used:
    def __init__(self, world: Any) -> None:
        self.world = world

    def __enter__(self) -> None:
        use_world(lambda: self.world)

    def __exit__(self, *_: object) -> None:
        use_world(None)


@pytest.fixture(scope="module")
def bench(
    archiving_server: ArchivingServer,  # noqa: F811
    s3: Installation,  # noqa: F811
    users: Users,
    postgres_bin: Path,
    open_tmp_root: Path,
) -> Generator[EmergencyBench]:
    python = find_python(users.database, copy_to=open_tmp_root / "python")
    barman = BarmanBench(archiving_server, s3, python, open_tmp_root / "wal_client.py")
    folder = open_tmp_root / "emergency"
    folder.mkdir()
    with PlainEngine(MemoryClock()).installed() as engine:
        yield EmergencyBench(barman, engine, bin=postgres_bin, folder=folder)
    archiving_server.archiving = None


def test_deleted_rows_come_back_to_the_second_before_and_undo_takes_that_back(bench: EmergencyBench) -> None:
    bench.desk("INSERT INTO ticket (title) SELECT 'since the backup ' || i FROM generate_series(1, 50) i")
    time.sleep(1.1)
    before = datetime.now(UTC)
    time.sleep(0.1)
    bench.desk("UPDATE ticket SET title = 'overwritten' WHERE n <= 3")
    bench.desk("DELETE FROM ticket WHERE n > 3")
    bench.desk("INSERT INTO ticket (title) VALUES ('after'), ('after too')")
    bench.source.execute("UPDATE doc SET words = 'written after' WHERE id = 7")

    run, ended = bench.run("r1restore", to=before.isoformat())
    assert ended.state == "completed", ended.value
    titles = [title for (title,) in bench.desk("SELECT title FROM ticket ORDER BY n")]
    assert len(titles) == 1050 and titles[0] == "ticket 1" and titles[-1] == "since the backup 50"
    # nothing else of the server went back
    assert bench.source.execute("SELECT words FROM doc WHERE id = 7")[0] == "written after"
    preview, report = bench.world.screen.reports["restore"]
    assert "5 rows that are there now would be lost or changed; 1050 rows come back" in preview, preview[:2000]
    assert "| `public.ticket` | 5 | 1050 | **2** | 3 | 1047 |" in preview, preview[:3000]
    assert "`target.reached` | pass" in report and "`pages.checksums` | pass" in report
    assert "`integrity.objects` | pass" in report and f"undo {APPLICATION} {key_of(run.id)}" in report
    assert bench.scratch.leftovers() == [] and list(bench.world.restorations.left_over()) == []
    # the next key goes on where the sequence was
    bench.desk("INSERT INTO ticket (title) VALUES ('next')")
    assert bench.desk("SELECT n FROM ticket WHERE title = 'next'")[0][0] > 1050

    kept = kept_name(APPLICATION, "production", key_of(run.id))
    assert bench.desk("SELECT count(*) FROM ticket", database=kept) == [(5,)]
    back, ended = bench.run("r2undo", act="undo", kept=key_of(run.id))
    assert ended.state == "completed", ended.value
    assert bench.desk("SELECT count(*) FROM ticket") == [(5,)]
    redo, ended = bench.run("r3redo", act="undo", kept=key_of(back.id))
    assert ended.state == "completed" and bench.desk("SELECT count(*) FROM ticket") == [(1051,)]
    _, ended = bench.run("r4away", act="remove", kept=key_of(redo.id))
    assert ended.state == "completed" and not bench.world.restorations.find(APPLICATION, "production").kept


def test_the_place_of_a_backup_is_proven_row_by_row_and_a_dropped_database_comes_back(bench: EmergencyBench) -> None:
    bench.source.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
    _, ended = bench.run("d1dropped", to=f"backup:{bench.backup.id}")
    assert ended.state == "completed", ended.value
    assert bench.desk("SELECT count(*), max(title) FROM ticket") == [(1000, "ticket 999")]
    assert "`fingerprint.content` | pass" in bench.world.screen.reports["restore"][-1]
    assert "could not be looked at" in bench.world.screen.reports["restore"][-2]


def test_as_far_as_there_is_log_is_a_named_place_too(bench: EmergencyBench) -> None:
    bench.desk("INSERT INTO ticket (title) VALUES ('a moment ago')")
    restorations = bench.world.restorations
    before = restorations.position()
    reach = restorations.mark("here")
    course = choose_course(Wanted("latest"), bench.engine("read").backups(), reach=reach, asked="latest")
    assert course.words == "name here" and read_lsn(reach.lsn) > read_lsn(before)
    segment = segment_at(bench.backup.timeline, read_lsn(reach.lsn) - 1)
    assert any(key.endswith(segment) or segment in key for key in bench.segments())


def test_a_moment_before_the_oldest_backup_is_refused_with_the_nearest(bench: EmergencyBench) -> None:
    moment = (bench.backup.ended_at or datetime.now(UTC)) - timedelta(hours=1)
    _, ended = bench.run("b1before", to=moment.isoformat(), dry_run=True)
    assert isinstance(ended.value, RefusedError) and "The nearest place is to=" in str(ended.value)


def test_a_lost_segment_of_the_log_stops_the_restore_before_anything_is_exchanged(bench: EmergencyBench) -> None:
    bench.desk("INSERT INTO ticket (title) VALUES ('behind the gap')")
    lsn = bench.source.write("behind the gap")
    before = bench.desk("SELECT count(*) FROM ticket")
    victim = bench.segments()[-3]
    with bench.changed(victim, None):
        _, ended = bench.run("g1gap", to=lsn)
    assert isinstance(ended.value, InvariantError) and "recovery.server" in str(ended.value)
    assert bench.desk("SELECT count(*) FROM ticket") == before
    (incident,) = bench.world.ledger.entries(kinds=["incident.opened"], run="g1gap")
    assert cast(str, incident.data["severity"]) == "P1"
