"""What the bucket of backups holds against: keys that write can't delete, locks hold, nothing lies there in clear."""

import secrets
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from fixtures_s3 import s3_account, s3_admin

from blocks import wal_client
from blocks.backup_bucket import BUCKET, BackupBucket
from blocks.backup_keys import lock_away, make_identity, open_again, recipient_of
from blocks.disk_identity import same_disk
from blocks.installation import Installation
from blocks.wal_archive import WalArchive
from blocks.wal_door import Archiving, Serving, open_door
from domain.errors import ConfigError, InvariantError, TransientError
from domain.wal import SEGMENT_BYTES

SEGMENT = "000000010000000000000007"


def bucket(s3: Installation, keys: str = "s3_backup") -> BackupBucket:
    return BackupBucket(s3_account(s3, keys))


@pytest.fixture
def prefix() -> str:
    return f"p{secrets.token_hex(4)}/"


def segment(text: bytes = b"row ") -> bytes:
    return (text * (SEGMENT_BYTES // len(text) + 1))[:SEGMENT_BYTES]


def test_a_bucket_that_is_missing_is_refused_and_not_made(s3: Installation):
    nowhere = BackupBucket(s3_account(s3, "s3_admin"), "backupz")
    with pytest.raises(ConfigError, match="never made"):
        nowhere.require()
    assert "backupz" not in [one["Name"] for one in s3_admin(s3).client().list_buckets()["Buckets"]]


def test_who_writes_deletes_nothing_and_who_reads_neither_writes_nor_deletes(s3: Installation, prefix: str):
    writer, reader = (bucket(s3, keys).client for keys in ("s3_backup", "s3_backup_read"))
    version = writer.put_object(Bucket=BUCKET, Key=f"{prefix}a", Body=b"a")["VersionId"]
    attempts: list[Callable[[], object]] = [
        lambda: writer.delete_object(Bucket=BUCKET, Key=f"{prefix}a"),
        lambda: writer.delete_object(Bucket=BUCKET, Key=f"{prefix}a", VersionId=version),
        lambda: reader.delete_object(Bucket=BUCKET, Key=f"{prefix}a", VersionId=version),
        lambda: reader.put_object(Bucket=BUCKET, Key=f"{prefix}b", Body=b"b"),
        lambda: writer.put_bucket_policy(Bucket=BUCKET, Policy="{}"),
        lambda: writer.delete_bucket_policy(Bucket=BUCKET),
        lambda: writer.put_object_retention(
            Bucket=BUCKET,
            Key=f"{prefix}a",
            VersionId=version,
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(minutes=1)},
        ),
    ]
    for attempt in attempts:
        with pytest.raises(ClientError):
            attempt()
    assert reader.get_object(Bucket=BUCKET, Key=f"{prefix}a")["Body"].read() == b"a"


def test_what_is_removed_stays_below_the_lock_and_is_seen_no_more(s3: Installation, prefix: str):
    writer, expirer = bucket(s3), bucket(s3, "s3_backup_expire")
    writer.put(f"{prefix}a", b"a")
    expirer.remove([f"{prefix}a"])
    assert not writer.objects(prefix) and expirer.purge(prefix) == 0
    versions = expirer.client.list_object_versions(Bucket=BUCKET, Prefix=prefix)["Versions"]
    assert [one["Key"] for one in versions] == [f"{prefix}a"]


def test_nothing_lies_on_the_stores_disk_in_clear_nor_does_its_key(s3: Installation, prefix: str, tmp_path: Path):
    words = f"PLAIN-{secrets.token_hex(12)}"
    writer, large = bucket(s3), tmp_path / "large"
    large.write_text(words * 600_000)
    writer.put(f"{prefix}small", words.encode())
    writer.put_file(f"{prefix}large", large)
    for key in (f"{prefix}small", f"{prefix}large"):
        assert writer.client.head_object(Bucket=BUCKET, Key=key)["ServerSideEncryption"] == "AES256"
    key = (s3.state / "credentials.json").read_text().split('"s3_encryption_key": "')[1][:64]
    for text in (words, key):
        found = subprocess.run(["grep", "-rlaF", text, str(s3.state / "data")], capture_output=True, text=True)
        assert found.stdout == ""


def test_a_segment_comes_back_and_one_that_is_damaged_is_no_missing_one(s3: Installation, prefix: str):
    archive = WalArchive(bucket(s3), prefix)
    archive.put(SEGMENT, segment())
    archive.put(SEGMENT, segment())  # the answer was lost, and PostgreSQL asks again
    assert archive.get(SEGMENT) == segment() and archive.get(SEGMENT[:-1] + "8") is None
    with pytest.raises(InvariantError, match="another server"):
        archive.put(SEGMENT, segment(b"else"))
    (stored,) = bucket(s3).objects(prefix)
    body = bytearray(bucket(s3).get(stored.key)[0])  # pyright: ignore[reportOptionalSubscript]
    body[len(body) // 2] ^= 1
    bucket(s3).put(stored.key, bytes(body))
    with pytest.raises(InvariantError, match="damaged"):
        archive.get(SEGMENT)


def test_the_whole_log_is_read_and_each_damage_in_it_is_named(s3: Installation, prefix: str):
    archive, store = WalArchive(bucket(s3), prefix), bucket(s3)
    names = [f"{SEGMENT[:-1]}{n}" for n in range(1, 5)]
    for name in names:
        archive.put(name, segment(name.encode()))
    archive.put("00000002.history", b"1\t0/5000000\tno reason")
    whole = archive.verify(since="", seed="s", bytes_max=1 << 30)
    assert whole.is_intact and whole.checked == 5
    assert archive.verify(since=names[2], seed="s", bytes_max=1 << 30).checked == 3
    assert archive.verify(since="", seed="s", bytes_max=1).checked <= 2
    keys = {one.key.rpartition("/")[2][:24]: one.key for one in store.objects(prefix)}
    body, marks = store.get(keys[names[0]]) or (b"", {})
    store.put(keys[names[0]], body + b"garbage", metadata=marks)  # the decoder would have passed over it
    store.put(keys[names[1]], body, metadata=marks)  # another segment, whole in itself
    store.put(f"{keys[names[2]]}.old", body, metadata=marks)
    found = archive.verify(since="", seed="s", bytes_max=1 << 30).damage
    assert [name for name in names if any(name in words for words in found)] == names[:3]
    assert any("is no file of the log" in words for words in found)


def ask(socket: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", wal_client.__file__, str(socket), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_door_takes_segments_of_one_folder_and_hands_them_out_whole(s3: Installation, prefix: str, open_tmp: Path):
    archive, pg_wal = WalArchive(bucket(s3), prefix), open_tmp / "pg_wal"
    pg_wal.mkdir()
    (pg_wal / SEGMENT).write_bytes(segment())
    (pg_wal / "0000000100000000000000FF").symlink_to("/etc/passwd")
    with open_door(open_tmp / "in", Archiving(archive, pg_wal), user=None):
        assert ask(open_tmp / "in", "put", SEGMENT).returncode == 0
        for name in ("../../etc/passwd", "0000000100000000000000FF", "000000010000000000000099"):
            assert ask(open_tmp / "in", "put", name).returncode == 1
    assert list(archive.names()) == [SEGMENT]
    serving = Serving(archive)
    with open_door(open_tmp / "out", serving, user=None):
        assert ask(open_tmp / "out", "get", SEGMENT, str(open_tmp / "got")).returncode == 0
        assert (open_tmp / "got").read_bytes() == segment()
        missing = ask(open_tmp / "out", "get", "000000010000000000000099", str(open_tmp / "none"))
        assert missing.returncode == 1 and not (open_tmp / "none").exists()
    serving.close()


def test_a_store_that_is_away_is_not_the_end_of_the_log(open_tmp: Path):
    def away(action: str, name: str) -> bytes:
        raise TransientError("S3 did not answer")

    with open_door(open_tmp / "door", away, user=None):
        assert ask(open_tmp / "door", "put", SEGMENT).returncode == 1
        assert ask(open_tmp / "door", "get", SEGMENT, str(open_tmp / "x")).returncode == wal_client.STOP > 125
    assert ask(open_tmp / "door", "put", SEGMENT).returncode == 1  # nobody is there
    assert ask(open_tmp / "door", "get", SEGMENT, str(open_tmp / "x")).returncode == wal_client.STOP


def test_what_is_locked_away_opens_for_its_identity_alone(tmp_path: Path):
    identity, plain = make_identity(), tmp_path / "plain"
    plain.write_bytes(secrets.token_bytes(3_000_000))
    lock_away(plain, tmp_path / "locked", recipient_of(identity))
    assert plain.read_bytes()[:64] not in (tmp_path / "locked").read_bytes()
    open_again(tmp_path / "locked", tmp_path / "back", identity)
    assert (tmp_path / "back").read_bytes() == plain.read_bytes()
    with pytest.raises(InvariantError, match="identity"):
        open_again(tmp_path / "locked", tmp_path / "never", make_identity())
    assert not (tmp_path / "never").exists()
    with pytest.raises(ConfigError, match="age1"):
        lock_away(plain, tmp_path / "locked", "nobody")


def test_two_folders_of_one_file_system_are_on_one_disk(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert same_disk(tmp_path / "a", tmp_path / "b")
    assert same_disk(Path("/proc"), tmp_path)  # of what can't be known nothing is assumed
