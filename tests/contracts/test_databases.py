"""What databases promise, in memory and on a real PostgreSQL."""

import json
import stat
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlparse

import psycopg
import pytest
from fixtures_ci import make_installation

from blocks.databases_postgres import PostgresDatabases
from blocks.installation import Users, write_private
from blocks.memory_databases import MemoryDatabases
from domain.errors import ConfigError
from domain.ports import Databases


@pytest.fixture
def real(open_tmp: Path, open_tmp_root: Path, users: Users, postgres: str) -> PostgresDatabases:
    state = open_tmp / "state"
    state.mkdir(mode=0o711)
    make_installation(state, users, open_tmp_root / "binaries")
    url = urlparse(postgres)
    write_private(state / "credentials.json", json.dumps({"postgres_superuser": url.password}))
    return PostgresDatabases(state=str(state), port=url.port)


@pytest.fixture(params=["memory", "postgres"])
def databases(request: pytest.FixtureRequest) -> Databases:
    return MemoryDatabases() if request.param == "memory" else request.getfixturevalue("real")


def test_no_two_environments_share_a_database_a_role_or_a_password(databases: Databases):
    places = [("desk", "test"), ("desk", "staging"), ("shop", "test")]
    for place in places:
        databases.ensure(*place)
    urls = [urlparse(databases.url(*place)) for place in places]
    for part in ("path", "username", "password"):
        assert len({getattr(url, part) for url in urls}) == len(places)


def test_ensuring_again_changes_nothing(databases: Databases):
    databases.ensure("desk", "test")
    before = databases.url("desk", "test")
    databases.ensure("desk", "test")
    assert databases.url("desk", "test") == before


def test_a_rotated_password_is_another_one_and_nothing_else_changes(databases: Databases):
    databases.ensure("desk", "test")
    databases.ensure("desk", "staging")
    before, beside = databases.url("desk", "test"), databases.url("desk", "staging")
    databases.rotate("desk", "test")
    after = databases.url("desk", "test")
    assert urlparse(after).password != urlparse(before).password and urlparse(after).path == urlparse(before).path
    assert databases.url("desk", "staging") == beside
    with pytest.raises(ConfigError, match="desk_nowhere"):
        databases.rotate("desk", "nowhere")


def test_a_rotated_password_works_and_the_one_before_is_refused(real: PostgresDatabases):
    real.ensure("desk", "test")
    before = real.url("desk", "test")
    # killed after the new one was written down and before it was in force: the same one is taken
    (real.installation.state / "credentials.d" / ".database-desk_test.next").write_text("the-one-of-the-killed")
    real.rotate("desk", "test")
    assert urlparse(real.url("desk", "test")).password == "the-one-of-the-killed"
    psycopg.connect(real.url("desk", "test")).close()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(before)


def test_a_database_that_was_never_made_has_no_url(databases: Databases):
    with pytest.raises(ConfigError, match="desk_nowhere"):
        databases.url("desk", "nowhere")


def test_throw_away_servers_differ(databases: Databases, open_tmp: Path):
    urls: list[str] = []
    for _ in range(2):
        with databases.throwaway(open_tmp / "pg") as url:
            urls.append(url)
    assert urls[0] != urls[1]


def test_each_role_enters_its_own_database_and_no_other(real: PostgresDatabases):
    for environment in ("test", "staging"):
        real.ensure("desk", environment)
    with psycopg.connect(real.url("desk", "test")) as connection:
        connection.execute("CREATE TABLE t (a int)")
        row = connection.execute("SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = user")
        assert row.fetchone() == (False,)
    mine, other = urlparse(real.url("desk", "test")), urlparse(real.url("desk", "staging"))
    trespass = f"postgresql://{mine.username}:{mine.password}@{mine.hostname}:{mine.port}{other.path}"
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(trespass)


def test_passwords_are_for_the_owner_s_eyes(real: PostgresDatabases):
    real.ensure("desk", "test")
    folder = real.installation.state / "credentials.d"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in folder.glob("database-*"))


def test_a_name_that_could_be_read_in_two_ways_is_refused(real: PostgresDatabases):
    with pytest.raises(ConfigError, match="underscore"):
        real.ensure("desk_test", "x")


def test_a_throw_away_server_serves_and_leaves_nothing(real: PostgresDatabases, open_tmp: Path):
    started = time.monotonic()
    with real.throwaway(open_tmp / "pg") as url:
        assert time.monotonic() - started < 20
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
    assert not (open_tmp / "pg").exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=2)


def test_a_throw_away_server_ends_with_its_killed_owner(real: PostgresDatabases, open_tmp: Path):
    program = f"""
import sys, time
from pathlib import Path
from blocks.databases_postgres import PostgresDatabases
with PostgresDatabases(state={real.state!r}).throwaway(Path({str(open_tmp / "pg")!r})) as url:
    print(url, flush=True)
    time.sleep(1000)
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    with psycopg.connect(url):
        pass
    owner.kill()
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_owner_that_fails_takes_its_server_along(real: PostgresDatabases, open_tmp: Path):
    with pytest.raises(KeyError), real.throwaway(open_tmp / "pg"):
        raise KeyError("a check of ours")
    assert not (open_tmp / "pg").exists()


def test_a_migration_has_a_way_of_its_own(databases: Databases):
    databases.ensure("desk", "test")
    with databases.migrating("desk", "test", lock_timeout_s=1, statement_timeout_s=5) as migrating:
        mine, service = urlparse(migrating.variables["DATABASE_URL"]), urlparse(databases.url("desk", "test"))
        assert mine.path == service.path
        assert mine.username != service.username
        assert migrating.variables["DATABASE_URL"] not in repr(migrating)


def test_a_migration_of_a_database_that_was_never_made_is_refused(databases: Databases):
    with (
        pytest.raises(ConfigError, match="desk_nowhere"),
        databases.migrating("desk", "nowhere", lock_timeout_s=1, statement_timeout_s=5),
    ):
        pass


def test_what_a_migration_makes_belongs_to_the_service_s_role(real: PostgresDatabases):
    real.ensure("desk", "owned")
    for _ in range(2):
        with (
            real.migrating("desk", "owned", lock_timeout_s=1, statement_timeout_s=5) as migrating,
            psycopg.connect(migrating.variables["DATABASE_URL"]) as connection,
        ):
            connection.execute("CREATE TABLE IF NOT EXISTS t (a int)")
    with psycopg.connect(real.url("desk", "owned")) as connection:
        connection.execute("ALTER TABLE t ADD COLUMN b int")
        owner = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 't'").fetchone()
        limits = connection.execute("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
        assert (owner, limits.fetchone()) == (("desk_owned",), ("0", "0")), "the service has no such limits"


def test_a_wait_for_a_lock_ends_in_time_and_names_who_holds_it(real: PostgresDatabases):
    real.ensure("desk", "locked")
    url = real.url("desk", "locked")
    with psycopg.connect(url, application_name="monthly-report") as report:
        report.execute("CREATE TABLE tickets (a int)")
        report.commit()
        report.execute("SELECT * FROM tickets")
        begun = time.monotonic()
        with (
            real.migrating("desk", "locked", lock_timeout_s=1, statement_timeout_s=30) as migrating,
            psycopg.connect(migrating.variables["DATABASE_URL"]) as connection,
            pytest.raises(psycopg.errors.LockNotAvailable),
        ):
            connection.execute("ALTER TABLE tickets ADD COLUMN b int")
        assert time.monotonic() - begun < 5
    (wait,) = migrating.waits
    assert wait.wanted == "AccessExclusiveLock on tickets" and 0.5 < wait.seconds < 2
    assert "monthly-report" in wait.blockers[0] and "idle in transaction" in wait.blockers[0]


def test_a_tool_that_sets_a_longer_time_out_of_its_own_is_ended_all_the_same(real: PostgresDatabases):
    real.ensure("desk", "patient")
    with psycopg.connect(real.url("desk", "patient")) as report:
        report.execute("CREATE TABLE tickets (a int)")
        report.commit()
        report.execute("SELECT * FROM tickets")
        begun = time.monotonic()
        with (
            real.migrating("desk", "patient", lock_timeout_s=0.5, statement_timeout_s=30) as migrating,
            psycopg.connect(migrating.variables["DATABASE_URL"]) as connection,
        ):
            connection.execute("SET lock_timeout = '60s'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute("ALTER TABLE tickets ADD COLUMN b int")
        assert time.monotonic() - begun < 10


def test_a_statement_whose_client_was_killed_does_not_work_on(real: PostgresDatabases):
    real.ensure("desk", "killed")
    program = "import psycopg, sys; psycopg.connect(sys.argv[1]).execute('SELECT pg_sleep(600)')"
    with real.migrating("desk", "killed", lock_timeout_s=1, statement_timeout_s=900) as migrating:
        client = subprocess.Popen([sys.executable, "-c", program, migrating.variables["DATABASE_URL"]])
        time.sleep(1.5)
        client.kill()
        client.wait()
    with psycopg.connect(real.url("desk", "killed")) as connection:
        left = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'desk_killed_migrate'")
        assert left.fetchone() == (0,)


def test_what_is_migrated_in_template1_is_in_every_database_that_a_check_makes(real: PostgresDatabases, open_tmp: Path):
    with real.throwaway(open_tmp / "pg") as url:
        template = urlparse(url)._replace(path="/template1").geturl()
        with psycopg.connect(template) as connection:
            connection.execute("CREATE TABLE migrated (a int)")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE made_by_a_check")
        with psycopg.connect(urlparse(url)._replace(path="/made_by_a_check").geturl()) as connection:
            connection.execute("INSERT INTO migrated VALUES (1)")
            connection.execute("ALTER TABLE migrated ADD COLUMN b int")


def test_a_check_s_role_may_make_databases_and_cannot_start_programs(real: PostgresDatabases, open_tmp: Path):
    with real.throwaway(open_tmp / "pg") as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE another")
        connection.execute("CREATE EXTENSION pg_trgm")
        for attempt in ("COPY (SELECT 1) TO PROGRAM 'id'", "SELECT pg_read_file('/etc/passwd')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(attempt)
