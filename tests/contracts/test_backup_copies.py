"""What copies promise, in memory and on a real server and store: once each, proven, encrypted, and openable again."""

import json
import secrets
import socket
import subprocess
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from fixtures_s3 import s3_account

from blocks.backup_bucket import BackupBucket
from blocks.backup_copies import Copies, Sources
from blocks.backup_keys import make_identity, open_again, recipient_of
from blocks.backup_place import BucketPlace, FolderPlace, Place, why_here
from blocks.bucket import ensure_bucket
from blocks.installation import Installation
from blocks.memory_backup_copies import MemoryBackupCopies
from blocks.postgres_server import PostgresServer
from domain.backup import Backup, BackupKind, BackupState
from domain.backup_retention import Retention
from domain.errors import ConfigError
from domain.ports_backup import BackupCopies


class Bench(Protocol):
    copies: BackupCopies
    database: str
    bucket: str

    def put(self, key: str, body: bytes) -> None: ...


class MemoryBench:
    def __init__(self) -> None:
        self.memory = MemoryBackupCopies()
        self.copies: BackupCopies = self.memory
        self.database, self.bucket = "prefect", "releases"

    def put(self, key: str, body: bytes) -> None:
        self.memory.buckets[self.bucket][key] = body


class RealBench:
    def __init__(self, s3: Installation, postgres: str, bin: Path, folder: Path, user: str | None) -> None:
        where = psycopg.conninfo.conninfo_to_dict(postgres)
        server = PostgresServer(bin=bin, data=folder, port=int(str(where["port"])), user=user)
        self.store, self.bin, self.identity = s3, bin, make_identity()
        self.place, self.work = folder / "place", folder / "work"
        for path in (self.place, self.work):
            path.mkdir()
        self.database, self.bucket = f"desk_{secrets.token_hex(4)}", "releases"
        self.prefix = f"postgres/{secrets.token_hex(4)}/"
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(self.database)))
        with psycopg.connect(server.url(str(where["password"]), database=self.database)) as connection:
            connection.execute("CREATE TABLE said AS SELECT 'PLAINWORDS' AS text FROM generate_series(1, 1000)")
        self.server, self.password = server, str(where["password"])
        self.copies: BackupCopies = self.opened(FolderPlace(self.place, beside=self.work))
        self.without: BackupCopies = self.opened(None)
        self.unmounted: BackupCopies = self.opened(FolderPlace(folder / "nowhere", beside=self.work))

    def opened(self, place: Place | None) -> Copies:
        admin = s3_account(self.store, "s3")
        return Copies(
            Sources(self.server, lambda: self.password, lambda bucket: BackupBucket(admin, bucket, is_encrypted=False)),
            bucket=BackupBucket(s3_account(self.store, "s3_backup")),
            expirer=lambda: BackupBucket(s3_account(self.store, "s3_backup_expire")),
            recipient=lambda: recipient_of(self.identity),
            place=place,
            work=self.work,
        )

    def put(self, key: str, body: bytes) -> None:
        s3_account(self.store, "s3").client().put_object(Bucket=self.bucket, Key=key, Body=body)


@pytest.fixture
def real(s3: Installation, postgres: str, postgres_bin: Path, tmp_path: Path) -> RealBench:
    return RealBench(s3, postgres, postgres_bin, tmp_path, None)


@pytest.fixture(params=["memory", "real"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return MemoryBench() if request.param == "memory" else request.getfixturevalue("real")


def test_a_dump_of_a_label_is_taken_once_and_is_encrypted_before_upload(bench: Bench):
    assert bench.database in bench.copies.databases()
    first, again = bench.copies.dump(bench.database, label="run-1"), bench.copies.dump(bench.database, label="run-1")
    assert first.sha256 == again.sha256 and first.size_bytes == again.size_bytes > 0
    assert first.encryption == "client" and first.name == f"dump of {bench.database}"


def test_only_what_is_new_in_a_bucket_is_copied(bench: Bench):
    bench.put(f"x/{secrets.token_hex(4)}", secrets.token_bytes(100))
    bench.copies.objects(bench.bucket)
    assert bench.copies.objects(bench.bucket).new_objects == 0
    bench.put(f"x/{secrets.token_hex(4)}", secrets.token_bytes(321))
    third = bench.copies.objects(bench.bucket)
    assert (third.new_objects, third.new_bytes) == (1, 321) and third.encryption == "bucket"
    assert bench.copies.objects(bench.bucket).sha256 == third.sha256


def test_the_newest_dumps_stay_and_a_look_removes_nothing(bench: Bench):
    for label in ("run-1", "run-2", "run-3"):
        bench.copies.dump(bench.database, label=label)
    mine = [gone for gone in bench.copies.expire(keep=2, dry_run=True) if bench.database in gone]
    assert len(mine) == 1 and "run-1" in mine[0]
    assert [gone for gone in bench.copies.expire(keep=2, dry_run=False) if bench.database in gone] == mine
    assert not [gone for gone in bench.copies.expire(keep=2, dry_run=True) if bench.database in gone]


def test_what_was_replaced_under_its_name_is_kept_as_well(real: RealBench):
    key = f"x/{secrets.token_hex(4)}"
    for body in (b"first content", b"second content"):
        real.put(key, body)
        real.copies.objects(real.bucket)
    kept = BackupBucket(s3_account(real.store, "s3_backup_read"))
    manifests = [json.loads(kept.get(one.key)[0]) for one in kept.objects("objects/releases/manifests/")]  # pyright: ignore[reportOptionalSubscript]
    found = [one["objects"][key]["sha256"] for one in manifests if key in one["objects"]]
    bodies = {kept.get(f"objects/releases/data/{sha256}")[0] for sha256 in found}  # pyright: ignore[reportOptionalSubscript]
    assert bodies == {b"first content", b"second content"}


def test_everything_goes_elsewhere_once_locked_and_opens_for_the_identity_alone(real: RealBench, tmp_path: Path):
    real.copies.dump(real.database, label="run-1")
    first, again = real.copies.elsewhere(), real.copies.elsewhere()
    assert first is not None and again is not None and first.new_objects > 0 and again.new_objects == 0
    file = real.place / f"dumps/{real.database}/run-1.dump.age"
    open_again(file, tmp_path / "dump", real.identity)
    command = [str(real.bin / "pg_restore"), "-l", str(tmp_path / "dump")]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "TABLE DATA public said" in listed.stdout
    assert not list(real.work.iterdir()), "a draft was left"
    assert b"PLAINWORDS" not in file.read_bytes()


def test_one_that_was_lost_there_is_copied_again(real: RealBench):
    real.copies.dump(real.database, label="run-1")
    real.copies.elsewhere()
    (real.place / f"dumps/{real.database}/run-1.dump.age").unlink()
    again = real.copies.elsewhere()
    assert again is not None and again.new_objects == 1


PLACE = "second-place"
NOW = datetime.now(UTC)


def stored_backup(bench: RealBench, id: str, days_ago: float) -> Backup:
    """Put what looks like a backup of barman-cloud into the bucket."""
    bucket = BackupBucket(s3_account(bench.store, "s3_backup"))
    begun = NOW - timedelta(days=days_ago)
    bucket.put(f"{bench.prefix}base/{id}/data.tar", b"PLAINWORDS")
    bucket.put(f"{bench.prefix}slipway/manifests/{id}.json", b"{}")
    return Backup(id, BackupKind.FULL, BackupState.DONE, "barman-cloud", "1", begun, begin_wal=f"{days_ago:024.0f}")


def removed(bench: RealBench, *ids: str) -> None:
    expirer = BackupBucket(s3_account(bench.store, "s3_backup_expire"))
    for id in ids:
        keys = [one.key for one in expirer.objects(f"{bench.prefix}base/{id}/")]
        expirer.remove([*keys, f"{bench.prefix}slipway/manifests/{id}.json"])


@pytest.fixture
def other_store(s3: Installation) -> Generator[BucketPlace]:
    """A bucket that stands for another server's, in a folder of its own."""
    admin, prefix = s3_account(s3, "s3_admin"), f"{secrets.token_hex(4)}/"
    ensure_bucket(admin, PLACE)
    bucket = BackupBucket(admin, PLACE, is_encrypted=False)
    yield BucketPlace(bucket, prefix, expirer=bucket)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_the_second_place_expires_by_the_rules_what_lies_there_and_keeps_all_when_the_bucket_is_emptied(
    kind: str, real: RealBench, other_store: BucketPlace
):
    place = FolderPlace(real.place, beside=real.work) if kind == "folder" else other_store
    copies = real.opened(place)
    held, old, new = (
        replace(stored_backup(real, "20250101T000000", 400), hold="audit 7"),
        stored_backup(real, "20250201T000000", 300),
        stored_backup(real, "20260101T000000", 1),
    )
    copies.elsewhere([held, old, new])
    rules = Retention(count=1, window_days=0, daily=0, weekly=0, monthly=0)

    def expire(dry_run: bool) -> set[str]:
        gone = copies.expire_elsewhere(rules, now=NOW, dry_run=dry_run)
        return {key.split("/")[-2] for key in gone if key.startswith(real.prefix) and "/base/" in key}

    assert expire(False) == set(), "what is in the bucket stays at the second place as well"
    removed(real, held.id, old.id, new.id)
    assert expire(True) == expire(False) == {old.id}
    assert {one.id for one in copies.kept_elsewhere()} == {held.id, new.id}
    names = {name for name in place.names() if name.startswith(real.prefix)}
    assert names == {
        f"{real.prefix}{rest}"
        for id in (held.id, new.id)
        for rest in (f"base/{id}/data.tar.age", f"slipway/manifests/{id}.json.age")
    }
    assert expire(False) == set()


def test_a_bucket_of_another_server_gets_only_locked_files_and_each_once(
    real: RealBench, other_store: BucketPlace, s3: Installation, tmp_path: Path
):
    copies = real.opened(other_store)
    taken = stored_backup(real, "20260101T000000", 1)
    first, again = copies.elsewhere([taken]), copies.elsewhere([taken])
    assert first is not None and again is not None and first.new_objects > 0 and again.new_objects == 0
    admin = s3_account(s3, "s3_admin").client()
    keys = [one["Key"] for one in admin.list_objects_v2(Bucket=PLACE)["Contents"]]
    (key,) = [key for key in keys if f"{real.prefix}base/{taken.id}/data.tar" in key]
    body = admin.get_object(Bucket=PLACE, Key=key)["Body"].read()
    assert b"PLAINWORDS" not in body and body.startswith(b"age-encryption.org")
    (tmp_path / "locked").write_bytes(body)
    open_again(tmp_path / "locked", tmp_path / "open", real.identity)
    assert (tmp_path / "open").read_bytes() == b"PLAINWORDS"


def test_a_bucket_that_is_missing_is_never_made_and_one_on_this_machine_does_not_count(
    real: RealBench, s3: Installation
):
    nowhere = BucketPlace(BackupBucket(s3_account(s3, "s3_admin"), "nowhere-at-all"), "", expirer=None)
    with pytest.raises(ConfigError, match="nowhere-at-all"):
        real.opened(nowhere).elsewhere()
    described = nowhere.describe()
    assert not described.is_apart and described.reason == "the endpoint is this machine itself"
    with pytest.raises(ConfigError, match="SLIPWAY_BACKUP_COPY_EXPIRE_ACCESS_KEY"):
        nowhere.remove(["x"])


def test_a_name_of_this_machine_is_this_machine_and_one_that_nobody_knows_is_no_other():
    assert why_here("localhost") and why_here(socket.gethostname())
    assert "can't be found" in why_here("store.invalid")
    assert why_here("203.0.113.7") == ""


def test_a_place_on_the_same_disk_one_that_is_not_mounted_and_none_do_not_count(real: RealBench):
    assert not real.copies.place().is_apart and "disk that it is to protect" in real.copies.place().reason
    assert real.without.elsewhere() is None and "SLIPWAY_BACKUP_COPY" in real.without.place().reason
    assert "mounted" in real.unmounted.place().reason
    with pytest.raises(ConfigError, match="Mount it"):
        real.unmounted.elsewhere()
    assert not Path(real.unmounted.place().where).exists()
