import threading
import time

import psycopg
import pytest
from helpdesk.migrate import Migration, MigrationError, apply_migrations, main, read_migrations, read_pending


def names_applied(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM schema_migrations ORDER BY name")]


def test_applied_once_and_then_nothing_is_pending(empty_database: str):
    migrations = read_migrations()
    assert read_pending(empty_database, migrations) == [migration.name for migration in migrations]
    assert list(apply_migrations(empty_database, migrations)) == [migration.name for migration in migrations]
    assert list(apply_migrations(empty_database, migrations)) == []
    assert read_pending(empty_database, migrations) == []


def test_two_at_once_apply_each_file_once(empty_database: str):
    migrations = [Migration(f"000{n}_t.sql", f"CREATE TABLE t{n} (); SELECT pg_sleep(0.05)") for n in range(1, 5)]
    done: list[str] = []
    both = [threading.Thread(target=lambda: done.extend(apply_migrations(empty_database, migrations))) for _ in "ab"]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(done) == [migration.name for migration in migrations]


def test_a_failing_file_leaves_no_trace_and_those_before_it_stay(empty_database: str):
    good = Migration("0001_good.sql", "CREATE TABLE good ()")
    bad = Migration("0002_bad.sql", "CREATE TABLE half (); SELECT 1/0")
    with pytest.raises(MigrationError, match=r"0002_bad.sql: division by zero"):
        list(apply_migrations(empty_database, [good, bad]))
    assert names_applied(empty_database) == ["0001_good.sql"]
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


def test_a_locked_table_is_waited_for_without_blocking_others(empty_database: str):
    list(apply_migrations(empty_database, [Migration("0001_t.sql", "CREATE TABLE t (n int)")]))
    change = Migration("0002_t.sql", "ALTER TABLE t ADD COLUMN m int")
    with psycopg.connect(empty_database) as reader:
        reader.execute("SELECT * FROM t")
        thread = threading.Thread(
            target=lambda: list(
                apply_migrations(empty_database, [Migration("0001_t.sql", "CREATE TABLE t (n int)"), change])
            )
        )
        thread.start()
        time.sleep(0.5)
        assert names_applied(empty_database) == ["0001_t.sql"]
        reader.rollback()
    thread.join(timeout=20)
    assert names_applied(empty_database) == ["0001_t.sql", "0002_t.sql"]


def test_the_command_says_what_it_did(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("DATABASE_URL", empty_database)
    assert main(["--check"]) == 1
    assert "pending 0001_desk.sql" in capsys.readouterr().out
    assert main([]) == 0
    assert "applied 0001_desk.sql" in capsys.readouterr().out
    assert main(["--check"]) == 0
