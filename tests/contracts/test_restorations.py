"""What restorations promise, in memory and on a real PostgreSQL: the same suite over both.

What was restored is, on the real server, a copy of the live database on the server itself: it is asked by its address.
"""

import json
import secrets
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from blocks.database_comparison import ROWS_MAX, compare_databases
from blocks.memory_backup_engine import MemoryBackupServer
from blocks.memory_drill import MemoryScratch
from blocks.memory_restorations import MemoryRestorations
from blocks.postgres_roles import ensure_database, ensure_role
from blocks.restorations_postgres import PostgresRestorations
from domain.errors import ConfigError, InvariantError
from domain.ports_restore import Restorations
from domain.restore import beside_name, database_name, kept_name

ENVIRONMENT = "production"


class Bench(Protocol):
    """One application's database, and the hands that write and damage."""

    restorations: Any
    application: str

    def write(self, text: str) -> None: ...
    def remove(self, text: str) -> None: ...
    def rows(self, name: str = "") -> list[str]: ...
    def freeze(self) -> str:
        """Make a restored server with what is live now; returns its address."""
        ...

    def lose(self) -> None:
        """Drop the live database."""
        ...

    def spoil(self, key: str) -> None:
        """Change what was extracted."""
        ...


class MemoryBench:
    def __init__(self) -> None:
        self.scratch = MemoryScratch()
        self.restorations = MemoryRestorations(MemoryBackupServer(), self.scratch)
        self.application = "desk"

    def write(self, text: str) -> None:
        self.restorations.write(self.application, ENVIRONMENT, text)

    def remove(self, text: str) -> None:
        self.restorations.databases[database_name(self.application, ENVIRONMENT)].rows.remove(text)

    def rows(self, name: str = "") -> list[str]:
        return self.restorations.databases[name or database_name(self.application, ENVIRONMENT)].rows

    def freeze(self) -> str:
        self.scratch.servers["frozen"] = list(self.rows())
        return self.scratch.address("frozen")

    def lose(self) -> None:
        del self.restorations.databases[database_name(self.application, ENVIRONMENT)]

    def spoil(self, key: str) -> None:
        self.restorations.loses = True


class PostgresBench:
    """An application's database with what real ones have: keys, sequences, views, functions, extensions, grants."""

    def __init__(self, url: str, bin: Path, folder: Path) -> None:
        self.url, self.application = url, f"desk{secrets.token_hex(3)}"
        self.name = database_name(self.application, ENVIRONMENT)
        self.password = secrets.token_urlsafe(12)
        ensure_role(url, self.name, password=self.password)
        ensure_role(url, "auditor", password=self.password)
        ensure_database(url, self.name, owner=self.name)
        self.restorations = PostgresRestorations(
            url=lambda database: make_conninfo(url, dbname=database),
            role_url=lambda application, environment: self.role_url(),
            binaries=bin,
            folder=folder / "restores",
        )
        (folder / "restores").mkdir()
        self.frozen = ""
        with psycopg.connect(self.role_url(), autocommit=True) as connection:
            connection.execute(SCHEMA)  # pyright: ignore[reportArgumentType]
        with psycopg.connect(make_conninfo(url, dbname=self.name), autocommit=True) as connection:
            connection.execute("CREATE SCHEMA ext")
            connection.execute("CREATE EXTENSION pg_trgm SCHEMA ext")
            connection.execute("CREATE TABLE of_another (n int PRIMARY KEY)")
            connection.execute("ALTER TABLE of_another OWNER TO auditor")
            for words in ("search_path = app, public, ext", "work_mem = '8MB'"):
                connection.execute(f"ALTER DATABASE {self.name} SET {words}")  # pyright: ignore[reportArgumentType]
            connection.execute(f"GRANT CONNECT ON DATABASE {self.name} TO auditor")  # pyright: ignore[reportArgumentType]

    def role_url(self) -> str:
        place = urlparse(self.url)
        return f"postgresql://{self.name}:{self.password}@{place.hostname}:{place.port}/{self.name}"

    def execute(self, statement: str, *values: object, name: str = "") -> list[tuple[Any, ...]]:
        info = make_conninfo(self.url, dbname=name or self.name)
        with psycopg.connect(info, autocommit=True) as connection:
            done = connection.execute(statement, list(values))  # pyright: ignore[reportArgumentType]
            return done.fetchall() if done.description else []

    def write(self, text: str) -> None:
        with psycopg.connect(self.role_url(), autocommit=True) as connection:
            connection.execute("INSERT INTO app.said (text) VALUES (%s)", (text,))

    def remove(self, text: str) -> None:
        self.execute("DELETE FROM app.said WHERE text = %s", text)

    def rows(self, name: str = "") -> list[str]:
        return [row[0] for row in self.execute("SELECT text FROM app.said ORDER BY n", name=name)]

    def freeze(self) -> str:
        """A second server would only be slower: what is asked for by address is the server itself, as it is now."""
        return self.url

    def lose(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))

    def spoil(self, key: str) -> None:
        folder = self.restorations.folder / key / "dump"
        victim = max(folder.iterdir(), key=lambda path: path.stat().st_size)
        body = bytearray(victim.read_bytes())
        body[len(body) // 2] ^= 1
        victim.write_bytes(bytes(body))


SCHEMA = """
CREATE SCHEMA app;
CREATE FUNCTION app.is_fine(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT length($1) > 0 $$;
CREATE TYPE app.mood AS ENUM ('good', 'bad');
CREATE TABLE app.said (
  n bigserial PRIMARY KEY, gone int, text text NOT NULL CHECK (app.is_fine(text)), mood app.mood DEFAULT 'good',
  written_at timestamptz NOT NULL DEFAULT now());
ALTER TABLE app.said DROP COLUMN gone;
CREATE TABLE app.answer (n int PRIMARY KEY REFERENCES app.said (n), body text);
CREATE TABLE app.loose (text text);
CREATE TABLE app.part (n int, at date) PARTITION BY RANGE (at);
CREATE TABLE app.part_1 PARTITION OF app.part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO app.part VALUES (1, '2026-05-05');
CREATE INDEX said_text ON app.said (lower(text));
CREATE VIEW app.loud AS SELECT upper(text) AS text FROM app.said;
CREATE MATERIALIZED VIEW app.counted AS SELECT count(*) FROM app.said;
ALTER TABLE app.answer ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.answer FOR SELECT TO auditor USING (n > 0);
GRANT SELECT ON app.said TO auditor;
GRANT USAGE ON SCHEMA app TO auditor;
"""


@pytest.fixture
def real(postgres: str, postgres_bin: Path, tmp_path: Path) -> PostgresBench:
    return PostgresBench(postgres, postgres_bin, tmp_path)


@pytest.fixture(params=["memory", "postgres"])
def bench(request: pytest.FixtureRequest) -> Generator[Bench]:
    made: Bench = MemoryBench() if request.param == "memory" else request.getfixturevalue("real")
    for text in ("first", "second"):
        made.write(text)
    yield made


def extract(bench: Bench, key: str = "k1") -> str:
    bench.restorations.extract(bench.application, ENVIRONMENT, source=bench.freeze(), key=key)
    return key


def place(bench: Bench) -> tuple[str, str]:
    return bench.application, ENVIRONMENT


def test_the_restored_database_takes_the_name_and_the_live_one_is_kept(bench: Bench):
    key = extract(bench)
    bench.remove("second")
    bench.write("third")
    restorations: Restorations = bench.restorations
    before = restorations.find(*place(bench))
    seen: list[float] = []
    restorations.load(*place(bench), key=key, on_progress=seen.append)
    assert bench.rows() == ["first", "third"], "the live one goes on while the other is loaded"
    restorations.exchange(*place(bench), key=key)
    found = restorations.find(*place(bench))
    assert bench.rows() == ["first", "second"] and bench.rows(kept_name(*place(bench), key)) == ["first", "third"]
    assert found.is_live(key) and found.kept[key].identity == before.identity and not found.beside
    assert found.kept[key].facts["kept_at"] and restorations.verify(*place(bench)) == ""


def test_each_step_done_again_changes_nothing(bench: Bench):
    key = extract(bench)
    for _ in range(2):
        first = bench.restorations.load(*place(bench), key=key)
    identity = bench.restorations.find(*place(bench)).beside[key].identity
    assert bench.restorations.load(*place(bench), key=key) == first
    assert bench.restorations.find(*place(bench)).beside[key].identity == identity
    for _ in range(2):
        bench.restorations.exchange(*place(bench), key=key)
    assert bench.restorations.find(*place(bench)).identity == identity
    bench.restorations.load(*place(bench), key=key)
    assert not bench.restorations.find(*place(bench)).beside, "what is live is not loaded once more"


def test_what_was_kept_comes_back_and_goes_for_good(bench: Bench):
    key = extract(bench)
    bench.write("third")
    bench.restorations.load(*place(bench), key=key)
    bench.restorations.exchange(*place(bench), key=key)
    comparison = bench.restorations.compare(*place(bench), kept=key)
    assert comparison.back == 1 and comparison.lost == 0
    bench.restorations.exchange(*place(bench), key="k2", kept=key)
    assert bench.rows() == ["first", "second", "third"]
    assert list(bench.restorations.find(*place(bench)).kept) == ["k2"]
    for _ in range(2):
        bench.restorations.drop(*place(bench), key="k2", kept=True)
    assert not bench.restorations.find(*place(bench)).kept and bench.rows()


def test_a_live_database_that_is_gone_is_told_and_comes_back(bench: Bench):
    key = extract(bench)
    source = bench.freeze() if isinstance(bench, MemoryBench) else ""
    bench.lose()
    assert bench.restorations.find(*place(bench)).live is None
    assert bench.restorations.verify(*place(bench)) != ""
    if source:
        assert "no such database" in bench.restorations.compare(*place(bench), source=source).problem
    bench.restorations.load(*place(bench), key=key)
    bench.restorations.exchange(*place(bench), key=key)
    assert bench.rows() == ["first", "second"] and not bench.restorations.find(*place(bench)).kept
    assert bench.restorations.verify(*place(bench)) == ""


def test_what_is_not_what_was_proven_is_not_left_beside(bench: Bench):
    key = extract(bench)
    bench.spoil(key)
    with pytest.raises(InvariantError):
        bench.restorations.load(*place(bench), key=key)
    with pytest.raises(ConfigError, match="Start `restore` again"):
        bench.restorations.exchange(*place(bench), key=key)
    assert not bench.restorations.find(*place(bench)).beside and bench.rows() == ["first", "second"]


def test_what_was_extracted_is_whole_when_its_facts_are_there_and_is_forgotten(bench: Bench):
    key = extract(bench)
    assert bench.restorations.recall(key) is None
    bench.restorations.remember(key, {"digest": "d"})
    assert bench.restorations.recall(key) == {"digest": "d"}
    assert key in {one.key for one in bench.restorations.left_over()}
    for _ in range(2):
        bench.restorations.forget(key)
    assert bench.restorations.recall(key) is None
    assert key not in {one.key for one in bench.restorations.left_over()}
    with pytest.raises(ConfigError, match="Start `restore` again"):
        bench.restorations.load(*place(bench), key=key)


def test_databases_left_beside_are_found(bench: Bench):
    key = extract(bench)
    bench.restorations.load(*place(bench), key=key)
    assert [one.key for one in bench.restorations.left_over() if one.application == bench.application] == [key]
    bench.restorations.drop(*place(bench), key=key, kept=False)
    assert not [one for one in bench.restorations.left_over() if one.application == bench.application]


# on the real server only ----------------------------------------------------------------------------------------------


def test_all_that_belongs_to_a_database_comes_back_with_it(real: PostgresBench):
    real.write("first")
    key = extract(real)
    shape = (
        "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_schema = 'app' ORDER BY 1"
    )
    before = {question: real.execute(question) for question in (shape, *QUESTIONS)}
    real.lose()
    real.restorations.load(*place(real), key=key)
    real.restorations.exchange(*place(real), key=key)
    assert {question: real.execute(question) for question in before} == before
    real.write("second")
    assert real.execute("SELECT max(n) FROM app.said") == [(2,)]


QUESTIONS = [
    "SELECT unnest(setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase "
    "WHERE d.datname = current_database() ORDER BY 1",
    "SELECT extname, extnamespace::regnamespace::text, extversion FROM pg_extension ORDER BY 1",
    "SELECT pg_get_userbyid(relowner), relname FROM pg_class WHERE relname IN ('said', 'of_another') ORDER BY 2",
    "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate FROM pg_database "
    "WHERE datname = current_database()",
    "SELECT t, has_table_privilege('auditor', t, 'SELECT') FROM unnest(ARRAY['app.said', 'app.loose']) t",
    "SELECT policyname, roles FROM pg_policies",
    "SELECT has_database_privilege('public', current_database(), 'CONNECT')",
]


def test_roles_that_are_gone_since_come_back_without_a_login(real: PostgresBench):
    gone = f"gone{secrets.token_hex(3)}"
    real.execute(f"CREATE ROLE {gone} LOGIN")
    real.execute(f"GRANT SELECT ON app.loose TO {gone}")
    key = extract(real)
    real.execute(f"DROP OWNED BY {gone}")
    real.execute(f"DROP ROLE {gone}")
    real.restorations.load(*place(real), key=key)
    assert real.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", gone) == [(False,)]
    real.restorations.drop(*place(real), key=key, kept=False)
    real.execute(f"DROP ROLE {gone}")


def test_functions_of_the_application_get_no_superuser_while_it_is_loaded(real: PostgresBench):
    """Whoever owns a database may plant a function that is called when it is loaded."""
    with psycopg.connect(real.role_url(), autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION app.plant(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN "
            "IF current_setting('is_superuser')::boolean OR pg_has_role(session_user, 'pg_execute_server_program', "
            "'member') THEN RAISE 'loaded as a superuser'; END IF; RETURN true; END $$"
        )
        connection.execute("CREATE TABLE app.planted (n int CHECK (app.plant(n)))")
        connection.execute("INSERT INTO app.planted VALUES (1)")
    real.restorations.load(*place(real), key=extract(real))


def test_a_half_loaded_database_is_loaded_anew(real: PostgresBench):
    real.write("first")
    key = extract(real)
    name = beside_name(*place(real), key)
    real.execute(f"CREATE DATABASE {name}")
    real.execute("CREATE TABLE half (n int)", name=name)
    with pytest.raises(ConfigError, match="loaded and proven beside"):
        real.restorations.exchange(*place(real), key=key)
    real.restorations.load(*place(real), key=key)
    real.restorations.exchange(*place(real), key=key)
    assert real.execute("SELECT to_regclass('half')") == [(None,)] and real.rows() == ["first"]


def test_a_comparison_counts_rows_by_key_and_says_when_it_can_not(real: PostgresBench):
    for text in ("one", "two", "three"):
        real.write(text)
    real.execute("INSERT INTO app.loose VALUES ('a'), ('b')")
    key = extract(real)
    real.restorations.load(*place(real), key=key)
    real.remove("one")
    real.execute("UPDATE app.said SET text = 'TWO' WHERE text = 'two'")
    real.write("four")
    real.execute("DELETE FROM app.loose WHERE text = 'a'")
    real.execute("CREATE TABLE app.later AS SELECT 1 AS n")
    real.execute("ALTER TABLE app.answer ADD COLUMN more int")
    real.execute("INSERT INTO app.answer VALUES (2, 'x', 1)")
    source, name = make_conninfo(real.url), beside_name(*place(real), key)
    found = {one.name: one for one in compare_databases((source, real.name), (source, name)).tables}
    said, loose, later, answer = (found[f"app.{one}"] for one in ("said", "loose", "later", "answer"))
    assert (said.lost, said.changed, said.back) == (1, 1, 1) and said.newest_now > said.newest_then
    assert loose.lost is None and (loose.rows_now, loose.rows_then) == (1, 2)
    assert (later.rows_now, later.rows_then, later.lost) == (1, None, 1)
    assert answer.has_other_columns and answer.lost == 1
    assert found["app.part_1"].is_same and ROWS_MAX >= 100_000


def test_a_damaged_live_table_is_named_and_the_others_are_compared(real: PostgresBench):
    real.write("one")
    key = extract(real)
    real.restorations.load(*place(real), key=key)
    (path,) = real.execute("SELECT current_setting('data_directory') || '/' || pg_relation_filepath('app.loose')")[0]
    real.execute("INSERT INTO app.loose SELECT repeat('x', 100) FROM generate_series(1, 200)")
    real.execute("CHECKPOINT")
    body = bytearray(Path(path).read_bytes())
    body[4096] ^= 0xFF
    Path(path).write_bytes(bytes(body))
    real.execute("CREATE EXTENSION pg_buffercache")
    real.execute("SELECT pg_buffercache_evict_relation('app.loose'::regclass)")
    source = make_conninfo(real.url)
    found = {
        one.name: one for one in compare_databases((source, real.name), (source, beside_name(*place(real), key))).tables
    }
    loose = found["app.loose"]
    assert found["app.said"].is_same
    assert "invalid page" in loose.problem and loose.rows_now is None and loose.lost is None
    real.execute("DROP TABLE app.loose")  # nothing else of this server has to read it


def test_users_who_come_back_at_once_hold_up_no_exchange_and_wait_for_a_moment_only(real: PostgresBench):
    real.write("first")
    key = extract(real)
    real.write("second")
    real.restorations.load(*place(real), key=key)
    done, gaps, last = threading.Event(), [0.0], [time.monotonic()]

    def use() -> None:
        while not done.is_set():
            try:
                with psycopg.connect(real.role_url(), connect_timeout=5) as connection:
                    connection.execute("SELECT count(*) FROM app.said").fetchone()
            except psycopg.Error:
                continue
            gaps.append(time.monotonic() - last[0])
            last[0] = time.monotonic()

    idle = psycopg.connect(real.role_url())
    idle.execute("SELECT 1")
    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    try:
        time.sleep(0.5)
        real.restorations.exchange(*place(real), key=key)
        time.sleep(0.5)
    finally:
        done.set()
        for user in users:
            user.join()
    assert real.rows() == ["first"] and max(gaps) < 10
    with pytest.raises(psycopg.OperationalError):
        idle.execute("SELECT 1")
    print(json.dumps({"longest_wait_s": round(max(gaps), 3)}))
