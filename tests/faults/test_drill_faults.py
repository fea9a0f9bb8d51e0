"""Every damage that a backup can have turns the drill red, and the drill says by which check it was found.

A real cluster, a real store, one real backup. Where several checks may find a damage, any of those named will do.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from drill_bench import DrillBench, bytes_changed, flip, zero_page
from drill_tools import BROKEN, broken_tools
from fixtures_backup import ArchivingServer, BarmanBench, archiving_server  # noqa: F401 - fixture
from fixtures_s3 import s3  # noqa: F401 - fixture

from blocks.identity import find_python
from blocks.installation import Installation, Users
from domain.drill import Outcome
from domain.errors import InvariantError
from domain.ports_backup import Recovery

Fault = Callable[[DrillBench], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def bench(
    archiving_server: ArchivingServer,  # noqa: F811
    s3: Installation,  # noqa: F811
    users: Users,
    postgres_bin: Path,
    open_tmp_root: Path,
) -> Generator[DrillBench]:
    python = find_python(users.database, copy_to=open_tmp_root / "python")
    barman = BarmanBench(archiving_server, s3, python, open_tmp_root / "wal_client.py")
    folder = open_tmp_root / "bench"
    folder.mkdir()
    yield DrillBench(barman, bin=postgres_bin, folder=folder)
    archiving_server.archiving = None


def base(change: Callable[[bytes], bytes | None]) -> Fault:
    return lambda bench: bench.changed(bench.data_key, change(bench.get(bench.data_key)))


def inside(find: Callable[[DrillBench], str], change: Callable[[bytearray], None]) -> Fault:
    return unseen_by_ledger(lambda bench: bench.hidden(find(bench), change))


def segment(choose: Callable[[list[str]], str], change: Callable[[bytes], bytes | None]) -> Fault:
    def damage(bench: DrillBench) -> AbstractContextManager[None]:
        key = choose(bench.segments())
        return bench.changed(key, change(bench.get(key)))

    return damage


def manifest(change: Callable[[dict[str, Any]], None]) -> Fault:
    return lambda bench: bench.recorded(bench.extra(change))


def clock(ahead: timedelta) -> Fault:
    @contextmanager
    def damage(bench: DrillBench) -> Generator[None]:
        bench.clock.ahead = ahead
        yield
        bench.clock.ahead = timedelta(0)

    return damage


def lost(body: bytes) -> None:
    return None


def _forget_place(found: dict[str, Any]) -> None:
    found["extra"] = {}
    found["facts"]["target_lsn"] = ""


def _other_rows(found: dict[str, Any]) -> None:
    tables = found["extra"]["fingerprint"]["tables"]
    name = next(one for one in tables if one.endswith(".doc"))
    tables[name] = [tables[name][0], str(int(tables[name][1]) + 1)]


def _fewer_objects(found: dict[str, Any]) -> None:
    found["objects"] = [one for one in found["objects"] if "/data.tar" not in one["key"]]


def unseen_by_ledger(fault: Fault) -> Fault:
    """A fault that came before the manifest was recorded: what the ledger knows tells nothing of it."""

    @contextmanager
    def damage(bench: DrillBench) -> Generator[None]:
        with bench.unrecorded(), fault(bench):
            yield

    return damage


@contextmanager
def started_newest(bench: DrillBench) -> Generator[None]:
    """A backup that was killed an hour and a half ago: objects without a manifest."""
    key = f"{bench.prefix}base/20990101T000000/data.tar.lz4"
    bench.admin.put_object(Bucket="backups", Key=key, Body=b"half")
    bench.clock.ahead = timedelta(minutes=90)
    yield
    bench.clock.ahead = timedelta(0)
    bench.admin.delete_object(Bucket="backups", Key=key)


@contextmanager
def wrong_key(bench: DrillBench) -> Generator[None]:
    def open_wrong(purpose: Any) -> Any:
        engine = bench.engine(purpose)
        bucket = engine._bucket  # the test's own hands: an account with a wrong secret
        bucket.account = replace(bucket.account, secret_key="wrong")
        return engine

    bench.world.open_engine = open_wrong
    yield
    bench.world.open_engine = lambda purpose: bench.engine(purpose)


@contextmanager
def wrong_cluster(bench: DrillBench) -> Generator[None]:
    real = bench.fingerprints

    class Other:
        def system_id(self) -> str:
            return "7000000000000000009"

    bench.fingerprints = Other()  # pyright: ignore[reportAttributeAccessIssue]
    yield
    bench.fingerprints = real


@contextmanager
def full_disk(bench: DrillBench) -> Generator[None]:
    real = bench.scratch

    class Full(type(real)):
        def free_bytes(self) -> int:
            return 1_000_000

    bench.scratch = Full(**{name: getattr(real, name) for name in real.__dataclass_fields__})
    yield
    bench.scratch = real


@contextmanager
def nothing(bench: DrillBench) -> Generator[None]:
    cluster = bench.barman.cluster
    bench.barman.cluster = "never-backed-up"
    yield
    bench.barman.cluster = cluster


FAULTS: dict[str, tuple[Fault, set[str]]] = {
    "a byte of the base backup": (base(lambda body: bytes_changed(body, len(body) // 2)), {"integrity.objects"}),
    "the last byte of the base backup": (base(lambda body: bytes_changed(body, len(body) - 1)), {"integrity.objects"}),
    "a truncated base backup": (base(lambda body: body[: len(body) // 2]), {"integrity.objects"}),
    "a lost base backup": (base(lost), {"integrity.objects"}),
    "an exchanged manifest": (
        manifest(lambda found: found["facts"].update(engine_version="0")),
        {"integrity.objects"},
    ),
    "a manifest that lists less": (manifest(_fewer_objects), {"integrity.objects"}),
    "a byte in a table, hidden": (
        inside(lambda bench: bench.path_of("doc"), flip(5 * 8192 + 5000)),
        {"fingerprint.content", "pages.checksums"},
    ),
    "a byte in an index, hidden": (
        inside(lambda bench: bench.path_of("doc_words"), flip(9 * 8192 + 6000)),
        {"pages.checksums", "pages.indexes", "recovery.server"},
    ),
    "a byte in long values, hidden": (
        inside(lambda bench: bench.toast_of("doc"), flip(4 * 8192 + 3000)),
        {"fingerprint.content", "pages.checksums"},
    ),
    "a byte in a catalogue, hidden": (
        inside(lambda bench: bench.path_of("pg_catalog.pg_proc"), flip(8192 // 2)),
        {"recovery.server", "fingerprint.content", "pages.checksums"},
    ),
    "an emptied page, hidden": (
        inside(lambda bench: bench.path_of("doc"), zero_page(3)),
        {"fingerprint.content", "pages.indexes"},
    ),
    "the right number of wrong rows": (unseen_by_ledger(manifest(_other_rows)), {"fingerprint.content"}),
    "a lost control file, hidden": (
        inside(lambda bench: "global/pg_control", lambda body: body.clear()),
        {"recovery.server"},
    ),
    "no named target": (unseen_by_ledger(manifest(_forget_place)), {"target.reached"}),
    "the first segment lost": (segment(lambda keys: keys[0], lost), {"archive.gaps"}),
    "a segment in the middle lost": (segment(lambda keys: keys[2], lost), {"archive.gaps", "recovery.server"}),
    "a byte of a segment": (
        segment(lambda keys: keys[1], lambda body: bytes_changed(body, len(body) // 2)),
        {"recovery.server"},
    ),
    "a truncated segment": (segment(lambda keys: keys[1], lambda body: body[: len(body) // 3]), {"recovery.server"}),
    "a segment that is another": (
        lambda bench: bench.changed(bench.segments()[2], bench.get(bench.segments()[1])),
        {"recovery.server"},
    ),
    "a stale backup": (clock(timedelta(days=3)), {"choice.age"}),
    "a backup from the future": (clock(timedelta(days=-1)), {"choice.age"}),
    "a newest backup that never finished": (started_newest, {"choice.newest"}),
    "a wrong key": (wrong_key, {"choice.newest"}),
    "another cluster's backup": (wrong_cluster, {"choice.cluster"}),
    "a full disk": (full_disk, {"space.free"}),
    "no backup at all": (nothing, {"choice.newest"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_damage_turns_the_drill_red_and_the_check_that_found_it_is_named(name: str, bench: DrillBench):
    fault, found_by = FAULTS[name]
    with fault(bench):
        verdict, checks = bench.drill()
    assert verdict == "FAIL"
    assert found_by & set(checks), checks


def test_without_damage_the_drill_is_green_and_it_notices_what_it_damages_itself(bench: DrillBench):
    """This cluster has no application: expectations are unavailable, and not needed."""
    bench.forget_ledger()
    assert bench.drill(is_tamper_wanted=True) == ("PASS", []), bench.said()
    tampered = [entry.data for entry in bench.world.ledger.entries(kinds=["drill.tampered"])]
    assert [one["noticed"] for one in tampered] == ["yes"] * 3
    assert tampered[0]["found_by"] == "integrity.objects"
    assert bench.drill() == ("PASS", [])


def test_an_older_backup_is_restored_as_well(bench: DrillBench):
    second = bench.take("second")
    verdict, checks = bench.drill()
    assert (verdict, checks) == ("PASS", []), bench.said()
    (completed,) = bench.world.ledger.entries(kinds=["drill.completed"], newest_first=True, limit=1)
    assert completed.data["backups"] == [second.id, bench.backup.id]
    proven = {entry.data["backup"] for entry in bench.world.ledger.entries(kinds=["backup.proven"])}
    assert proven >= {second.id, bench.backup.id}
    assert bench.world.drill_results.verify(completed.event.run)["verdict"] == "PASS"


def test_a_broken_tool_is_unavailable_and_never_passed(bench: DrillBench, postgres_bin: Path, open_tmp: Path):
    whole, name = bench.scratch, "drill-tools"
    with bench.restored(name) as restored:
        assert restored.is_running
        assert whole.check_indexes(name).outcome is Outcome.PASS
        for tool, check in (("pg_amcheck", whole.check_indexes), ("pg_checksums", whole.check_pages)):
            for way, script in BROKEN.items():
                binaries = broken_tools(open_tmp / f"{tool} {way}", postgres_bin, tool, script)
                lacking = replace(whole, binaries=binaries)
                found = getattr(lacking, check.__name__)(name)
                assert found.outcome is Outcome.UNAVAILABLE, (tool, way)
                assert tool in found.values["reason"], (tool, way)
        assert whole.check_pages(name).outcome is Outcome.PASS
        foreign = replace(
            whole, binaries=broken_tools(open_tmp / "postgres", postgres_bin, "postgres", BROKEN["crashes"])
        )
        with pytest.raises(InvariantError, match="postgres crashes"):
            foreign.start(name, Recovery(whole.folder / name / "data", {}), limit_s=5)


BREAKING = """
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, parent_id int REFERENCES parent (id), n int);
INSERT INTO parent VALUES (1);
INSERT INTO child (parent_id, n) VALUES (1, 1);
SET session_replication_role = replica;
INSERT INTO child (parent_id, n) VALUES (404, 1);
RESET session_replication_role;
INSERT INTO child (id, parent_id, n) VALUES (900, 1, 1);
ALTER TABLE child ADD CONSTRAINT small CHECK (n < 10) NOT VALID;
INSERT INTO child (parent_id, n) SELECT 1, 1 FROM generate_series(1, 50);
UPDATE pg_constraint SET convalidated = true WHERE conname = 'small';
CREATE INDEX some ON child (n);
UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'some'::regclass;
"""
MORE = """
INSERT INTO child (parent_id, n) VALUES (1, 2);
UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'some'::regclass;
CREATE TABLE twin (id int NOT NULL);
INSERT INTO twin VALUES (7), (7);
CREATE INDEX twin_id ON twin (id);
UPDATE pg_index SET indisunique = true WHERE indexrelid = 'twin_id'::regclass;
"""
VIOLATING = "ALTER TABLE child DROP CONSTRAINT small; UPDATE child SET n = 11 WHERE id = 5;" + (
    "ALTER TABLE child ADD CONSTRAINT small CHECK (n < 10) NOT VALID;"
    "UPDATE pg_constraint SET convalidated = true WHERE conname = 'small';"
)


def test_data_that_breaks_the_rules_of_its_own_database_is_found_although_the_copy_is_faithful(bench: DrillBench):
    for statements in (BREAKING, VIOLATING, MORE):
        bench.source.execute(statements)
    bench.take("broken rules")
    verdict, checks = bench.drill()
    assert verdict == "FAIL" and set(checks) == {"expectations.rules", "pages.indexes"}, bench.said()
    words = bench.said()["expectations.rules"]
    assert "1 rows of public.child point at nothing" in words
    assert "1 rows of public.child against small" in words
    assert "child_id_seq is at" in words and "goes up to 900" in words
    assert "uniqueness" in bench.said()["pages.indexes"] or "lacks" in bench.said()["pages.indexes"]
    bench.source.execute("DROP TABLE child, parent, twin")
