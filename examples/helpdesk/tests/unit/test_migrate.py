from pathlib import Path

import pytest
from helpdesk.migrate import Migration, MigrationError, choose_pending, read_migrations


def write(folder: Path, name: str, sql: str = "SELECT 1;") -> None:
    (folder / name).write_text(sql)


def test_files_come_in_the_order_of_their_numbers(tmp_path: Path):
    for name in ("0010_c.sql", "0002_b.sql", "0001_a.sql"):
        write(tmp_path, name)
    assert [migration.name for migration in read_migrations(tmp_path)] == ["0001_a.sql", "0002_b.sql", "0010_c.sql"]


def test_two_files_with_one_number_are_refused(tmp_path: Path):
    write(tmp_path, "0001_a.sql")
    write(tmp_path, "0001_b.sql")
    with pytest.raises(MigrationError, match=r"0001_b.sql and 0001_a.sql share a number"):
        read_migrations(tmp_path)


def test_a_name_without_number_is_refused(tmp_path: Path):
    write(tmp_path, "add_column.sql")
    with pytest.raises(MigrationError, match=r"NNNN_words\.sql"):
        read_migrations(tmp_path)


def test_what_is_applied_is_not_pending():
    first, second = Migration("0001_a.sql", "A"), Migration("0002_b.sql", "B")
    assert choose_pending([first, second], {first.name: first.sha256}) == [second]


def test_a_database_that_is_ahead_has_nothing_pending():
    first = Migration("0001_a.sql", "A")
    assert choose_pending([first], {first.name: first.sha256, "0002_newer.sql": "1234"}) == []


def test_a_file_changed_afterwards_is_refused():
    with pytest.raises(MigrationError, match=r"0001_a.sql was changed after it was applied"):
        choose_pending([Migration("0001_a.sql", "new")], {"0001_a.sql": Migration("", "old").sha256})


def test_our_own_files_are_in_order():
    names = [migration.name for migration in read_migrations()]
    assert names[0] == "0001_desk.sql" and len(names) >= 4
