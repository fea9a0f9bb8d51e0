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
