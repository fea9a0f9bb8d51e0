"""What archives promise, in memory and as Parquet in a bucket of a real S3 server; and rows through them and back."""

import sys
from pathlib import Path

import psycopg
import pytest
from fixtures_rows import RowsStage, expired, tickets_policy

from blocks.archives_s3 import S3Archives
from blocks.bundle import sha256_of
from blocks.memory_cleaning import MemoryArchives
from domain.cleanup_policy import HoldPart
from domain.errors import ConfigError, InvariantError
from domain.ports_cleanup import Archives, CopiedTable


@pytest.fixture(params=["memory", "s3"])
def archives(request: pytest.FixtureRequest) -> Archives:
    if request.param == "memory":
        return MemoryArchives()
    return S3Archives(request.getfixturevalue("s3"), lambda: Path(sys.executable))


def test_the_first_under_a_key_counts_and_damage_is_told(archives: Archives, tmp_path: Path):
    one, other, back = tmp_path / "one", tmp_path / "other", tmp_path / "back"
    one.write_bytes(b"one")
    other.write_bytes(b"other")
    key = f"desk/production/p/{tmp_path.name}/00001/t.parquet"
    archives.put(key, one, sha256=sha256_of(one))
    archives.put(key, one, sha256=sha256_of(one))
    with pytest.raises(InvariantError):
        archives.put(key, other, sha256=sha256_of(other))
    archives.get(key, back, sha256=sha256_of(one))
    assert back.read_bytes() == b"one"
    with pytest.raises(InvariantError):
        archives.get(key, back, sha256=sha256_of(other))
    with pytest.raises(ConfigError):
        archives.get(key + "x", back, sha256=sha256_of(one))
    manifest = key.replace("t.parquet", "manifest.json")
    assert archives.read(manifest) is None
    archives.keep(manifest, b"first")
    archives.keep(manifest, b"second")
    assert archives.read(manifest) == b"first"


def through_parquet(archives: S3Archives, tables: tuple[CopiedTable, ...], folder: Path) -> list[CopiedTable]:
    found: list[CopiedTable] = []
    for number, table in enumerate(tables):
        parquet, csv = folder / f"{number}.parquet", folder / f"{number}.back.csv"
        assert archives.pack(table, parquet) == table.rows == archives.unpack(parquet, csv)
        found.append(CopiedTable(table.table, csv, table.columns, table.keys, table.rows))
    return found


def test_every_kind_of_value_comes_back_as_it_was(rows_stage: RowsStage, tmp_path: Path):
    rows_stage.run(
        "CREATE TABLE odd (id bigint PRIMARY KEY, created_at timestamptz, small smallint, flag boolean, n numeric, "
        "f float8, t text, b bytea, a text[], j jsonb, d date, i interval, u uuid, r tstzrange, m int)"
    )
    rows_stage.run(
        """INSERT INTO odd VALUES
        (1, '2020-01-01', -3, true, 1e40, 'NaN', E'a\\nb\\r\\n"c",\\t', '\\x00ff', '{"x,y",NULL}', '{"k":[1,null]}',
         '0044-03-15 BC', '1 mon -2 days', gen_random_uuid(), '[2020-01-01,)', 2147483647),
        (9223372036854775807, '2020-01-01 12:00:00.123456+02', NULL, false, 0.10, -0.0, '', '', '{}', 'null',
         'infinity', NULL, NULL, 'empty', -1),
        (-5, '2019-02-03', 1, NULL, 'NaN', 1e-300, NULL, NULL, NULL, NULL, NULL, '0', NULL, NULL, NULL),
        (7, '2019-02-03', 1, NULL, 0, 0, 'NULL \\N t 汉😀', NULL, NULL, '"\\u00e4"', NULL, '0', NULL, NULL, NULL)"""
    )
    archives = S3Archives(None, lambda: Path(sys.executable))  # type: ignore[arg-type]
    what = expired(tickets_policy(table="odd", children=[]))
    before = rows_stage.run("SELECT t::text FROM odd t ORDER BY id")
    copied = rows_stage.rows.copy_batch(what, after=None, rows=100, folder=tmp_path)
    back = through_parquet(archives, copied.tables, tmp_path)
    assert rows_stage.rows.delete_archived(what, back, rows=2).rows == 4
    assert rows_stage.count("odd") == 0
    assert rows_stage.rows.restore(back) == {"public.odd": 4}
    assert rows_stage.run("SELECT t::text FROM odd t ORDER BY id") == before
    assert rows_stage.rows.restore(back) == {"public.odd": 0}


def test_odd_names_and_keys_of_several_columns_come_back(rows_stage: RowsStage, tmp_path: Path):
    rows_stage.run("CREATE TYPE \"a%b\" AS ENUM ('y', 'x')")
    rows_stage.run(
        'CREATE TABLE "a/b c" (part "a%b", list int[], name varchar(9), at timestamp(3), "50%" text, "x:y" int, '
        "PRIMARY KEY (part, list, name))"
    )
    rows_stage.run(
        """INSERT INTO "a/b c" SELECT (ARRAY['x', 'y'])[1 + n % 2]::"a%b", ARRAY[n, n], chr(10) || '"' || n, """
        "timestamp '2020-01-01 00:00:00.123' + n * interval '1 s', '%s', n FROM generate_series(1, 20) n"
    )
    archives = S3Archives(None, lambda: Path(sys.executable))  # type: ignore[arg-type]
    what = expired(tickets_policy(table="a/b c", age_column="at", children=[]))
    before = rows_stage.run('SELECT t::text FROM "a/b c" t ORDER BY part, list, name')
    copied = rows_stage.rows.copy_batch(what, after=None, rows=7, folder=tmp_path)
    more = rows_stage.rows.copy_batch(what, after=copied.last, rows=100, folder=tmp_path.parent)
    assert (copied.tables[0].rows, more.tables[0].rows) == (7, 13)
    copied = rows_stage.rows.copy_batch(what, after=None, rows=100, folder=tmp_path)
    back = through_parquet(archives, copied.tables, tmp_path)
    assert rows_stage.rows.delete_archived(what, back, rows=6).rows == 20 and rows_stage.count('"a/b c"') == 0
    assert rows_stage.rows.restore(back) == {"public.a/b c": 20}
    assert rows_stage.run('SELECT t::text FROM "a/b c" t ORDER BY part, list, name') == before


def copied_out(stage: RowsStage, tmp_path: Path) -> tuple[CopiedTable, ...]:
    return stage.rows.copy_batch(expired(tickets_policy()), after=None, rows=1000, folder=tmp_path).tables


def test_exactly_what_was_archived_goes_and_what_changed_since_stays(rows_stage: RowsStage, tmp_path: Path):
    rows_stage.fill(60, 10, comments=2, files=1)
    tables = copied_out(rows_stage, tmp_path)
    assert [(one.table, one.rows) for one in tables] == [
        ("public.files", 120),
        ("public.comments", 120),
        ("public.tickets", 60),
    ]
    rows_stage.run("UPDATE tickets SET subject = 'changed' WHERE id = 5")
    rows_stage.run("INSERT INTO comments (ticket_id, body) VALUES (9, 'new')")
    rows_stage.run("UPDATE files SET content = 'x' WHERE comment_id IN (SELECT id FROM comments WHERE ticket_id = 13)")
    rows_stage.run("UPDATE tickets SET created_at = '2026-06-30' WHERE id = 17")
    hold = HoldPart.model_validate({"column": "id", "values": [21], "reason": "court"})
    what = expired(tickets_policy(), holds=(hold,))
    deleted = rows_stage.rows.delete_archived(what, tables, rows=20)
    assert (deleted.rows, deleted.related, deleted.left) == (55, 220, 5)
    assert rows_stage.ids()[:5] == [5, 9, 13, 17, 21]
    assert rows_stage.count("comments") == 2 * 15 + 1
    again = rows_stage.rows.delete_archived(what, tables, rows=20)
    assert (again.rows, again.related, again.left) == (0, 0, 5)


def test_a_key_that_was_used_anew_is_not_deleted_by_an_old_archive(rows_stage: RowsStage, tmp_path: Path):
    rows_stage.fill(3, 0)
    tables = copied_out(rows_stage, tmp_path)
    assert rows_stage.rows.delete_archived(expired(tickets_policy()), tables, rows=10).rows == 3
    rows_stage.run(
        "INSERT INTO tickets (id, customer, subject, created_at) OVERRIDING SYSTEM VALUE "
        "VALUES (2, 1, 'x', '2020-01-01')"
    )
    assert rows_stage.rows.delete_archived(expired(tickets_policy()), tables, rows=10).rows == 0
    assert rows_stage.ids() == [2]


def test_restoring_into_a_table_without_a_column_says_what_to_do(rows_stage: RowsStage, tmp_path: Path):
    rows_stage.fill(3, 0)
    tables = copied_out(rows_stage, tmp_path)
    with psycopg.connect(rows_stage.url, autocommit=True) as connection:
        connection.execute("ALTER TABLE tickets DROP COLUMN customer")
    with pytest.raises(ConfigError, match="no column customer any more"):
        rows_stage.rows.restore(tables)
