"""What archives promise, in memory and as Parquet in a bucket of a real S3 server; and rows through them and back."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from fixtures_rows import RowsStage, expired, tickets_policy, visits_policy

from blocks import partitions_postgres
from blocks.archives_s3 import S3Archives
from blocks.backup_keys import make_identity, recipient_of
from blocks.bundle import sha256_of
from blocks.memory_cleaning import MemoryArchives
from deployments.stack.credentials import RECIPES
from domain.cleanup_policy import HoldPart
from domain.errors import ConfigError, InvariantError, RefusedError, TransientError
from domain.ports_cleanup import Archives, CopiedPartition, CopiedTable, Expired


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


def through_store(
    stage: RowsStage, archives: S3Archives, what: Expired, partition: str, folder: Path
) -> tuple[CopiedPartition, list[CopiedTable]]:
    parts: list[CopiedTable] = []

    def keep(part: CopiedTable) -> None:
        parquet, csv = folder / f"{len(parts)}.parquet", folder / f"{len(parts)}.back.csv"
        assert archives.pack(part, parquet) == part.rows == archives.unpack(parquet, csv)
        parts.append(replace(part, file=csv))

    return stage.rows.copy_partition(what, partition, folder=folder, keep=keep), parts


def test_a_whole_partition_is_copied_in_parts_dropped_and_comes_back(
    rows_stage: RowsStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(partitions_postgres, "PART_ROWS", 200)
    rows_stage.months(rows=1000)
    archives = S3Archives(None, lambda: Path(sys.executable))  # type: ignore[arg-type]
    what = expired(visits_policy(archive=True))
    seen = rows_stage.rows.preview(what)
    assert (seen.method, seen.rows) == ("archive", 3000)
    assert rows_stage.rows.pending_partitions(what) == ["public.visits_01", "public.visits_02", "public.visits_03"]
    before = rows_stage.run("SELECT t::text FROM visits t ORDER BY id")
    with pytest.raises(InvariantError, match="was not archived"):
        rows_stage.rows.drop_partition(what, "public.visits_01")
    one, parts = through_store(rows_stage, archives, what, "public.visits_01", tmp_path)
    assert one.rows == 1000 == sum(part.rows for part in parts) and len(parts) > 3
    rows_stage.rows.drop_partition(what, one.name, state=one.state)
    assert rows_stage.rows.drop_partition(what, one.name, state=one.state) == 0
    assert rows_stage.count("visits") == 5000 and rows_stage.run("SELECT to_regclass('visits_01')") == [(None,)]
    assert rows_stage.rows.restore(parts, partition=one) == {"public.visits": 1000}
    assert rows_stage.run("SELECT t::text FROM visits t ORDER BY id") == before
    assert rows_stage.count("visits_01") == 1000
    assert rows_stage.rows.restore(parts, partition=one) == {"public.visits": 0}


def test_a_partition_that_changed_since_it_was_archived_is_not_dropped(rows_stage: RowsStage, tmp_path: Path):
    rows_stage.months()
    archives = S3Archives(None, lambda: Path(sys.executable))  # type: ignore[arg-type]
    what = expired(visits_policy(archive=True))
    one, _ = through_store(rows_stage, archives, what, "public.visits_01", tmp_path)
    rows_stage.run("UPDATE visits SET page = 'changed' WHERE id = 1001")
    with pytest.raises(RefusedError, match="changed since it was archived"):
        rows_stage.rows.drop_partition(what, one.name, state=one.state)
    one, _ = through_store(rows_stage, archives, what, "public.visits_01", tmp_path)
    # killed behind detaching; somebody writes to what is nobody's any more
    rows_stage.run(
        """COMMENT ON TABLE visits_01 IS 'slipway cleanup: {"parent": "public.visits", """
        """"lower": "2026-01-01 00:00:00+00", "upper": "2026-02-01 00:00:00+00"}'"""
    )
    rows_stage.run("ALTER TABLE visits DETACH PARTITION visits_01")
    rows_stage.run("DELETE FROM visits_01 WHERE id = 1002")
    with pytest.raises(RefusedError, match="attached again"):
        rows_stage.rows.drop_partition(what, one.name, state=one.state)
    assert rows_stage.count("visits") == 239

    def change(part: CopiedTable) -> None:
        rows_stage.run("DELETE FROM visits WHERE id = 1003")

    with pytest.raises(TransientError, match="changed while they were copied"):
        rows_stage.rows.copy_partition(what, one.name, folder=tmp_path, keep=change)
    one, _ = through_store(rows_stage, archives, what, "public.visits_01", tmp_path)
    rows_stage.rows.drop_partition(what, one.name, state=one.state)
    assert rows_stage.count("visits") == 200


def test_rows_without_a_key_come_back_once(rows_stage: RowsStage, tmp_path: Path):
    rows_stage.run("CREATE TABLE bare (at timestamptz NOT NULL, j json) PARTITION BY RANGE (at)")
    rows_stage.run("CREATE TABLE bare_1 PARTITION OF bare FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')")
    rows_stage.run("INSERT INTO bare SELECT '2025-02-01', '{\"a\": 1}' FROM generate_series(1, 30) n")
    archives = S3Archives(None, lambda: Path(sys.executable))  # type: ignore[arg-type]
    what = expired(visits_policy(table="bare", archive=True))
    one, parts = through_store(rows_stage, archives, what, "public.bare_1", tmp_path)
    assert rows_stage.rows.copy_batch(what, after=None, rows=10, folder=tmp_path).tables == ()
    rows_stage.rows.drop_partition(what, one.name, state=one.state)
    assert rows_stage.rows.restore(parts, partition=one) == {"public.bare": 30}
    assert rows_stage.rows.restore(parts, partition=one) == {"public.bare": 0}
    assert rows_stage.count("bare") == 30


def test_a_file_is_locked_for_whoever_restores_and_read_back_by_who_made_it(tmp_path: Path):
    identity = make_identity()
    secrets = {
        "backup_identity": identity,
        "backup_recipient": recipient_of(identity),
        "seal_key": RECIPES["seal_key"](),
    }
    (tmp_path / "credentials.json").write_text(json.dumps(secrets))
    installation = SimpleNamespace(state=tmp_path)
    archives = S3Archives(installation, lambda: Path(sys.executable))  # type: ignore[arg-type]
    plain, back, again = tmp_path / "plain", tmp_path / "back", tmp_path / "again"
    plain.write_bytes(b"rows of people" * 1000)
    locked = archives.lock(plain, tmp_path / "locked")
    assert locked.encryption == "age" and b"rows of people" not in locked.file.read_bytes()
    locked.reopen(locked.file, back)
    archives.open(locked.file, again)
    assert back.read_bytes() == again.read_bytes() == plain.read_bytes()
    damaged = tmp_path / "damaged"
    damaged.write_bytes(locked.file.read_bytes()[:-1] + b"!")
    with pytest.raises(InvariantError, match="can't be opened"):
        archives.open(damaged, again)
    sealed = archives.seal(b"id,version")
    assert b"id,version" not in sealed and archives.unseal(sealed) == b"id,version"


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
