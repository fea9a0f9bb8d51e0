"""Expired rows on a real PostgreSQL: counted, deleted in order, held, refused where a policy does not fit."""

import threading
import time
from typing import Any

import psycopg
import pytest
from fixtures_rows import RowsStage, expired, tickets_policy, visits_policy
from psycopg.conninfo import make_conninfo

from blocks import partitions_postgres
from blocks.rows_postgres import PostgresRows
from blocks.rows_session import LockedError
from domain.cleanup_policy import CleanupPart, HoldPart
from domain.errors import ConfigError, RefusedError
from domain.ports_cleanup import Expired, Key


def delete_all(stage: RowsStage, what: Expired, *, rows: int = 50) -> list[int]:
    """Delete batch by batch; returns the size of each."""
    sizes: list[int] = []
    after: Key | None = None
    while True:
        batch = stage.rows.delete_batch(what, after=after, rows=rows)
        sizes.append(batch.rows)
        if batch.last is None:
            return sizes
        after = batch.last


def test_a_preview_counts_what_would_go_and_shows_keys_and_ages_only(rows_stage: RowsStage):
    rows_stage.fill(120, 80, comments=3, files=1)
    what = expired(tickets_policy(holds=[{"column": "customer", "values": [3], "reason": "dispute"}]))
    seen = rows_stage.rows.preview(what)
    held = sum(1 for n in range(1, 121) if n % 7 == 3)
    assert (seen.rows, seen.total_rows, seen.held_rows) == (120 - held, 200, held)
    assert dict(seen.related) == {"public.files": 3 * (120 - held), "public.comments": 3 * (120 - held)}
    assert seen.method == "batches" and 0 < seen.size_bytes < 2_000_000
    assert seen.oldest < seen.newest < "2024-07-02" and len(seen.sample) == 5
    assert all(one.startswith("id=") and "created_at=2024" in one and "käse" not in one for one in seen.sample)
    assert rows_stage.count("tickets") == 200


def test_batches_go_children_first_and_remember_where_they_are(rows_stage: RowsStage):
    rows_stage.fill(120, 80, comments=3, files=2)
    assert delete_all(rows_stage, expired(tickets_policy())) == [50, 50, 20]
    assert [rows_stage.count(one) for one in ("tickets", "comments", "files")] == [80, 240, 480]
    proof = rows_stage.rows.prove(expired(tickets_policy()))
    assert (proof.left_rows, proof.orphans) == (0, 0)
    rows_stage.rows.vacuum(expired(tickets_policy()))


def test_a_table_that_nothing_refers_to_is_deleted_by_place(rows_stage: RowsStage):
    rows_stage.run("INSERT INTO notes SELECT n, date '2020-01-01' + n, 'm' || n % 2 FROM generate_series(1, 3000) n")
    policy = CleanupPart.model_validate(
        {
            "name": "notes",
            "table": "public.notes",
            "age_column": "at",
            "older_than_days": 1825,
            "only": [{"column": "mark", "values": ["m1"]}],
        }
    )
    seen = rows_stage.rows.preview(expired(policy))
    sizes = delete_all(rows_stage, expired(policy), rows=100)
    assert (
        sum(sizes)
        == seen.rows
        == rows_stage.run(
            "SELECT count(*) FROM generate_series(1, 3000) n "
            "WHERE n % 2 = 1 AND date '2020-01-01' + n < date '2021-07-02'"
        )[0][0]
    )
    assert rows_stage.count("notes") == 3000 - seen.rows


def test_what_somebody_works_on_is_skipped_and_counted_as_left(rows_stage: RowsStage):
    rows_stage.fill(100, 10)
    with psycopg.connect(rows_stage.url) as other:
        other.execute("SELECT 1 FROM tickets WHERE customer = 1 ORDER BY id LIMIT 5 FOR UPDATE")
        gone = sum(delete_all(rows_stage, expired(tickets_policy())))
        assert gone == 95 and rows_stage.rows.prove(expired(tickets_policy())).left_rows == 5
    assert sum(delete_all(rows_stage, expired(tickets_policy()))) == 5


def test_holds_of_policy_and_ledger_keep_rows_and_an_unknown_column_is_refused(rows_stage: RowsStage):
    rows_stage.fill(70, 7)
    policy = tickets_policy(holds=[{"column": "customer", "values": [3], "reason": "dispute"}])
    more = HoldPart.model_validate({"column": "id", "values": ["1", "2"], "reason": "court 12/26"})
    delete_all(rows_stage, expired(policy, holds=(more,)))
    assert rows_stage.count("tickets") == 7 + 10 + 2
    assert rows_stage.rows.prove(expired(policy, holds=(more,))).held_rows == 12
    lost = HoldPart.model_validate({"column": "custommer", "values": ["3"], "reason": "typo"})
    with pytest.raises(ConfigError, match=r"hold 'typo'.*no column 'custommer'.*customer"):
        rows_stage.rows.preview(expired(policy, holds=(lost,)))


def test_a_lock_on_the_table_ends_in_time_and_nothing_is_half_done(rows_stage: RowsStage):
    rows_stage.fill(60, 1, comments=1)
    policy = tickets_policy(lock_timeout_s=1)
    with psycopg.connect(rows_stage.url) as other:
        other.execute("LOCK TABLE comments IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(LockedError):
            rows_stage.rows.delete_batch(expired(policy), after=None, rows=10)
    assert rows_stage.count("tickets") == 61
    assert rows_stage.rows.delete_batch(expired(policy), after=None, rows=10).rows == 10


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"table": "ticket"}, "", "No table 'ticket'.*public.tickets"),
    ({"table": "tickets; DROP TABLE tickets"}, "", "No table 'tickets; DROP TABLE tickets'"),
    ({"age_column": "created"}, "", "column 'created'.*does not exist.*there are: created_at"),
    ({"age_column": "subject"}, "", "is of type text"),
    ({"only": [{"column": "stat", "values": ["x"]}]}, "", "no column 'stat'"),
    ({"children": ["comments"]}, "", 'public.files refer to public.comments.*Add "public.files"'),
    ({"children": []}, "", "public.comments refer to public.tickets.*would stop"),
    ({"children": ["comments", "files"]}, "", "Name public.files first"),
    ({"children": ["files", "comments", "notes"]}, "", "no foreign key of it"),
    ({}, "DROP INDEX comments_ticket_id_idx", r'CREATE INDEX CONCURRENTLY ON "public"."comments" \("ticket_id"\);'),
    ({}, "ALTER TABLE tickets ADD COLUMN merged bigint REFERENCES tickets", "refers to itself"),
    (
        {},
        "CREATE TABLE ratings (ticket_id bigint REFERENCES tickets ON DELETE CASCADE);"
        "CREATE INDEX ON ratings (ticket_id)",
        "ratings refer to public.tickets.*deleted along, uncounted",
    ),
    ({"table": "bare", "children": []}, "CREATE TABLE bare (created_at timestamptz)", "no primary key"),
    (
        {},
        "ALTER TABLE tickets ADD COLUMN newest bigint REFERENCES comments; CREATE INDEX ON tickets (newest)",
        "public.comments, public.tickets refer to each other in a circle",
    ),
    ({}, "CREATE TABLE old_tickets () INHERITS (tickets)", "inherit from public.tickets .public.old_tickets"),
    ({"table": "v", "children": []}, "CREATE VIEW v AS SELECT * FROM tickets", "No table 'v'"),
]


@pytest.mark.parametrize("given, before, message", REFUSED)
def test_a_policy_that_does_not_fit_is_refused_with_what_to_do(
    rows_stage: RowsStage, given: dict[str, Any], before: str, message: str
):
    rows_stage.fill(3, 3, comments=1)
    if before:
        rows_stage.run(before)
    what = expired(tickets_policy(**given))
    with pytest.raises(ConfigError, match=message):
        rows_stage.rows.preview(what)
    with pytest.raises(ConfigError, match=message):
        rows_stage.rows.delete_batch(what, after=None, rows=10)
    assert rows_stage.count("tickets") == 6


def test_an_index_that_is_partial_or_led_by_another_column_does_not_count(rows_stage: RowsStage):
    rows_stage.run("DROP INDEX comments_ticket_id_idx")
    rows_stage.run("CREATE INDEX ON comments (ticket_id) WHERE body IS NULL")
    rows_stage.run("CREATE INDEX ON comments (body, ticket_id)")
    with pytest.raises(ConfigError, match="CREATE INDEX CONCURRENTLY"):
        rows_stage.rows.preview(expired(tickets_policy()))
    rows_stage.run("CREATE INDEX ON comments (ticket_id, body)")
    rows_stage.rows.preview(expired(tickets_policy()))


def test_odd_names_are_quoted(rows_stage: RowsStage):
    rows_stage.run('CREATE SCHEMA "My data"')
    rows_stage.run('CREATE TABLE "My data"."select" ("the id" int PRIMARY KEY, "Größe (m)" timestamptz NOT NULL)')
    rows_stage.run("""INSERT INTO "My data"."select" VALUES (1, '2020-01-01'), (2, '2026-06-30')""")
    policy = CleanupPart.model_validate(
        {"name": "odd", "table": "My data.select", "age_column": "Größe (m)", "older_than_days": 30}
    )
    assert rows_stage.rows.preview(expired(policy)).rows == 1
    assert delete_all(rows_stage, expired(policy)) == [1]
    assert rows_stage.run('SELECT "the id" FROM "My data"."select"') == [(2,)]


def test_ages_without_an_end_are_counted_and_shown(rows_stage: RowsStage):
    rows_stage.run("INSERT INTO notes VALUES (1, '-infinity', 'm'), (2, '0044-03-15 BC', 'm'), (3, 'infinity', 'm')")
    what = expired(tickets_policy(table="notes", age_column="at", children=[]))
    seen = rows_stage.rows.preview(what)
    assert (seen.rows, seen.oldest, seen.newest) == (2, "-infinity", "0044-03-15 BC")
    assert delete_all(rows_stage, what) == [2] and rows_stage.ids("notes") == [3]


def test_rows_that_row_level_security_hides_are_an_error_and_never_passed_over(rows_stage: RowsStage):
    rows_stage.run("INSERT INTO notes VALUES (1, '2020-01-01', 'mine'), (2, '2020-01-01', 'hidden')")
    rows_stage.run("DO $$ BEGIN CREATE ROLE seer LOGIN PASSWORD 'of-a-test'; EXCEPTION WHEN OTHERS THEN NULL; END $$")
    rows_stage.run("GRANT ALL ON notes TO seer; ALTER TABLE notes ENABLE ROW LEVEL SECURITY")
    rows_stage.run("CREATE POLICY mine ON notes USING (mark = 'mine')")
    url = make_conninfo(rows_stage.url, user="seer", password="of-a-test")
    what = expired(tickets_policy(table="notes", age_column="at", children=[]))
    with pytest.raises(ConfigError, match="Row-level security hides rows"):
        PostgresRows(lambda: url).preview(what)
    with pytest.raises(ConfigError, match="Row-level security hides rows"):
        PostgresRows(lambda: url).delete_batch(what, after=None, rows=10)
    assert rows_stage.count("notes") == 2


def test_a_row_that_a_trigger_keeps_is_not_counted_as_deleted(rows_stage: RowsStage):
    rows_stage.run("INSERT INTO notes SELECT n, '2020-01-01', 'm' FROM generate_series(1, 30) n")
    rows_stage.run(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF OLD.id % 3 = 0 THEN RETURN NULL; END IF; RETURN OLD; END $$"
    )
    rows_stage.run("CREATE TRIGGER keep BEFORE DELETE ON notes FOR EACH ROW EXECUTE FUNCTION keep()")
    what = expired(tickets_policy(table="notes", age_column="at", children=[]))
    assert sum(delete_all(rows_stage, what, rows=7)) == 20
    assert rows_stage.rows.prove(what).left_rows == 10


def test_a_batch_that_meets_a_lock_passes_over_that_row_and_takes_the_others(rows_stage: RowsStage):
    rows_stage.run("INSERT INTO notes SELECT n, '2020-01-01', 'm' FROM generate_series(1, 30) n")
    what = expired(tickets_policy(table="notes", age_column="at", children=[]))
    with psycopg.connect(rows_stage.url) as other:
        other.execute("UPDATE notes SET mark = 'x' WHERE id = 5")
        assert sum(delete_all(rows_stage, what, rows=10)) == 29
    assert rows_stage.ids("notes") == [5]


def test_partitions_that_are_wholly_past_go_and_the_one_midway_stays(rows_stage: RowsStage):
    rows_stage.months()
    what = expired(visits_policy())  # 2026-04-17
    seen = rows_stage.rows.preview(what)
    assert (seen.method, seen.rows) == ("partitions", 120)
    waiting = rows_stage.rows.pending_partitions(what)
    assert waiting == ["public.visits_01", "public.visits_02", "public.visits_03"]
    for one in waiting:
        rows_stage.rows.drop_partition(what, one)
        assert rows_stage.rows.drop_partition(what, one) == 0
    assert rows_stage.count("visits") == 120
    assert rows_stage.rows.preview(what).rows == 0
    assert rows_stage.run("SELECT to_regclass('visits_01'), to_regclass('visits_04')::text") == [(None, "visits_04")]


def test_a_partition_with_a_held_row_is_not_dropped_and_its_other_rows_go_in_batches(rows_stage: RowsStage):
    rows_stage.months()
    hold = HoldPart.model_validate({"column": "id", "values": [2005], "reason": "court"})
    what = expired(visits_policy(), holds=(hold,))
    assert rows_stage.rows.pending_partitions(what) == ["public.visits_01", "public.visits_03"]
    with pytest.raises(RefusedError, match="have to stay"):
        rows_stage.rows.drop_partition(what, "public.visits_02")
    for one in rows_stage.rows.pending_partitions(what):
        rows_stage.rows.drop_partition(what, one)
    assert sum(delete_all(rows_stage, what)) == 39
    assert rows_stage.run("SELECT id FROM visits WHERE at < '2026-04-01'") == [(2005,)]


def test_a_partitioned_table_without_a_primary_key_goes_by_whole_partitions(rows_stage: RowsStage):
    rows_stage.run("CREATE TABLE bare (at date NOT NULL, n int) PARTITION BY RANGE (at)")
    rows_stage.run("CREATE TABLE bare_1 PARTITION OF bare FOR VALUES FROM (MINVALUE) TO ('2026-01-01')")
    rows_stage.run("CREATE TABLE bare_2 PARTITION OF bare FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')")
    rows_stage.run("INSERT INTO bare SELECT date '2025-06-01' + n, n FROM generate_series(1, 300) n; ANALYZE bare")
    what = expired(visits_policy(table="bare"))
    seen = rows_stage.rows.preview(what)
    assert (seen.method, seen.rows, seen.sample[0]) == ("partitions", 213, "at=2025-06-02")
    assert rows_stage.rows.drop_partition(what, "public.bare_1") == 213
    assert rows_stage.rows.delete_batch(what, after=None, rows=10).last is None
    assert rows_stage.count("bare") == 87


def test_a_default_partition_is_refused(rows_stage: RowsStage):
    rows_stage.months()
    rows_stage.run("CREATE TABLE visits_rest PARTITION OF visits DEFAULT")
    with pytest.raises(ConfigError, match="default partition"):
        rows_stage.rows.preview(expired(visits_policy()))


def test_detaching_that_was_interrupted_midway_is_finished(rows_stage: RowsStage):
    rows_stage.months()
    what = expired(visits_policy(lock_timeout_s=1))
    with psycopg.connect(rows_stage.url) as reader:
        reader.execute("SELECT count(*) FROM visits")  # an older transaction: the second phase waits for it
        with psycopg.connect(rows_stage.url, autocommit=True) as killed:
            killed.execute("SET lock_timeout = '400ms'")
            killed.execute(
                """COMMENT ON TABLE visits_01 IS 'slipway cleanup: {"parent": "public.visits", """
                """"lower": "2026-01-01 00:00:00+00", "upper": "2026-02-01 00:00:00+00"}'"""
            )
            with pytest.raises(psycopg.errors.LockNotAvailable):
                killed.execute("ALTER TABLE visits DETACH PARTITION visits_01 CONCURRENTLY")
        assert rows_stage.run("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == [(1,)]
        assert rows_stage.rows.pending_partitions(what)[0] == "public.visits_01"
    assert rows_stage.rows.drop_partition(what, "public.visits_01") > 0
    assert rows_stage.run("SELECT to_regclass('visits_01')") == [(None,)]


def test_a_long_reader_makes_detaching_give_up_in_time_and_the_next_run_goes_on(
    rows_stage: RowsStage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(partitions_postgres, "_REST_S", 0.01)
    rows_stage.months()
    what = expired(visits_policy(lock_timeout_s=1))
    with psycopg.connect(rows_stage.url) as reader:
        reader.execute("SELECT count(*) FROM visits")
        with pytest.raises(LockedError, match="long transactions"):
            rows_stage.rows.drop_partition(what, "public.visits_01")
        assert rows_stage.run("SELECT count(*) FROM visits_04") == [(40,)]  # nobody else was kept waiting
    rows_stage.rows.drop_partition(what, rows_stage.rows.pending_partitions(what)[0])
    assert rows_stage.run("SELECT to_regclass('visits_01')") == [(None,)]


def test_killed_between_detaching_and_dropping_it_is_found_again(rows_stage: RowsStage):
    rows_stage.months()
    what = expired(visits_policy())
    rows_stage.run(
        """COMMENT ON TABLE visits_02 IS 'slipway cleanup: {"parent": "public.visits", """
        """"lower": "2026-02-01 00:00:00+00", "upper": "2026-03-01 00:00:00+00"}'"""
    )
    rows_stage.run("ALTER TABLE visits DETACH PARTITION visits_02")
    assert rows_stage.rows.pending_partitions(what)[0] == "public.visits_02"
    hold = HoldPart.model_validate({"column": "id", "values": [2005], "reason": "court"})
    with pytest.raises(RefusedError, match="attached again"):
        rows_stage.rows.drop_partition(expired(visits_policy(), holds=(hold,)), "public.visits_02")
    assert rows_stage.count("visits") == 240
    for one in rows_stage.rows.pending_partitions(what):
        rows_stage.rows.drop_partition(what, one)
    assert rows_stage.count("visits") == 120


def test_a_detaching_of_somebody_else_is_left_to_them(rows_stage: RowsStage):
    rows_stage.months()
    rows_stage.run("ALTER TABLE visits DETACH PARTITION visits_01")  # theirs, finished: not ours to drop
    assert "public.visits_01" not in rows_stage.rows.pending_partitions(expired(visits_policy()))
    with psycopg.connect(rows_stage.url) as reader:
        reader.execute("SELECT count(*) FROM visits")
        with psycopg.connect(rows_stage.url, autocommit=True) as theirs:
            theirs.execute("SET lock_timeout = '300ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                theirs.execute("ALTER TABLE visits DETACH PARTITION visits_02 CONCURRENTLY")
    with pytest.raises(ConfigError, match=r'DETACH PARTITION "public"."visits_02" FINALIZE'):
        rows_stage.rows.preview(expired(visits_policy()))


def test_a_row_that_others_wait_for_holds_nobody_up_for_long(rows_stage: RowsStage):
    """A batch holds its locks for one short transaction: who wants such a row waits less than the statement's limit."""
    rows_stage.fill(2000, 1)
    waited: list[float] = []
    done = threading.Event()

    def use() -> None:
        with psycopg.connect(rows_stage.url, autocommit=True) as connection:
            while not done.is_set():
                begun = time.monotonic()
                connection.execute("UPDATE tickets SET customer = 9 WHERE id = (SELECT max(id) FROM tickets)")
                waited.append(time.monotonic() - begun)

    user = threading.Thread(target=use)
    user.start()
    try:
        delete_all(rows_stage, expired(tickets_policy()), rows=100)
    finally:
        done.set()
        user.join()
    assert waited and max(waited) < 30
    assert rows_stage.count("tickets") == 1
