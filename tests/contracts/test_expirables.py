"""What everything that expires promises, in memory, as files, and as objects and uploads of a real S3 server."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures_s3 import s3_account

from blocks.expirables_files import FileExpirables, kept_environments, rotated_logs
from blocks.expirables_s3 import ObjectExpirables, UploadExpirables, refuse_forbidden
from blocks.memory_cleaning import MemoryExpirables
from domain.errors import ConfigError
from domain.expiry import choose_expired, preview_items
from domain.ports_cleanup import Expirable, Expirables

NAMES = ("one.log.1", "three.log.2", "two.log.1")
KEPT = "two.log.1"


def memory(tmp_path: Path, request: pytest.FixtureRequest) -> Expirables:
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    return MemoryExpirables(
        [
            Expirable(name, 10, begun + timedelta(days=day), "in use" if name == KEPT else "")
            for day, name in enumerate(NAMES)
        ]
    )


def files(tmp_path: Path, request: pytest.FixtureRequest) -> Expirables:
    for day, name in enumerate(NAMES):
        (tmp_path / name).write_text("0123456789")
        os.utime(tmp_path / name, (1_700_000_000 + day * 86_400,) * 2)
    (tmp_path / "now.log").write_text("somebody writes to it")
    return FileExpirables(tmp_path, rotated_logs, lambda path: "in use" if path.name == KEPT else "")


def objects(tmp_path: Path, request: pytest.FixtureRequest) -> Expirables:
    installation = request.getfixturevalue("s3")
    client = s3_account(installation, "s3").client()
    prefix = f"things-{time.monotonic_ns()}/"
    for name in NAMES:
        client.put_object(Bucket="releases", Key=prefix + name, Body=b"0123456789")
    protect = {prefix + KEPT: "in use"}
    made = ObjectExpirables(lambda: client, "releases", prefix, lambda: lambda key: protect.get(key, ""))
    return Prefixed(made, prefix)


class Prefixed:
    """Hides what the names in the bucket begin with, so that one suite fits all."""

    def __init__(self, made: Expirables, prefix: str) -> None:
        self._made, self._prefix = made, prefix

    def read(self) -> list[Expirable]:
        return [Expirable(o.key.removeprefix(self._prefix), o.size_bytes, o.at, o.protected) for o in self._made.read()]

    def remove(self, keys: list[str]) -> Any:
        return self._made.remove([self._prefix + key for key in keys])


@pytest.fixture(params=[memory, files, objects], ids=lambda make: make.__name__)
def things(request: pytest.FixtureRequest, tmp_path: Path) -> Expirables:
    make: Callable[[Path, pytest.FixtureRequest], Expirables] = request.param
    return make(tmp_path, request)


def test_everything_is_listed_oldest_first_and_says_why_it_stays(things: Expirables):
    found = things.read()
    assert sorted(one.key for one in found) == list(NAMES) and all(one.size_bytes == 10 for one in found)
    assert [one.at for one in found] == sorted(one.at for one in found) and found[0].at.tzinfo is not None
    assert {one.key: one.protected for one in found if one.protected} == {KEPT: "in use"}


def test_exactly_what_is_named_goes_once_and_what_is_protected_stays(things: Expirables):
    removed = things.remove(["one.log.1", KEPT, "never.log.1", "../one.log.1"])
    assert (removed.count, removed.size_bytes) == (1, 10)
    assert [reason for _, reason in removed.failed] == ["in use"]
    assert sorted(one.key for one in things.read()) == ["three.log.2", KEPT]
    assert things.remove(["one.log.1"]).count == 0


def test_what_is_chosen_is_old_not_among_the_newest_and_not_in_use():
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    items = [Expirable(str(day), day, begun + timedelta(days=day), "runs" if day == 1 else "") for day in range(10)]
    cutoff = begun + timedelta(days=8)
    chosen = choose_expired(items, cutoff=cutoff, keep_newest=5)
    assert [one.key for one in chosen] == ["0", "2", "3", "4"]
    seen = preview_items(items, chosen, cutoff=cutoff)
    assert (seen.rows, seen.size_bytes, seen.total_rows, seen.held_rows) == (4, 9, 10, 1)
    assert choose_expired(items, cutoff=cutoff, keep_newest=50) == []


def test_an_environment_s_age_is_that_of_its_last_use(tmp_path: Path):
    for name in ("a", "b"):
        folder = tmp_path / "environments" / name
        folder.mkdir(parents=True)
        (folder / ".complete").write_text("x")
    (tmp_path / "environments" / "half").mkdir()
    found = FileExpirables(tmp_path, kept_environments).read()
    assert [one.key for one in found] == ["environments/a", "environments/b"]
    assert FileExpirables(tmp_path, kept_environments).remove(["environments/a", "environments/half"]).count == 1
    assert (tmp_path / "environments" / "half").exists() and not (tmp_path / "environments" / "a").exists()


@pytest.mark.parametrize("name", ["anchors", "backups", "x/backup-of-desk/", "wal", "archives", "Backup"])
def test_buckets_and_prefixes_of_backups_and_anchors_are_refused(name: str):
    with pytest.raises(ConfigError, match="never touches"):
        refuse_forbidden("releases", name)
    with pytest.raises(ConfigError, match="never touches"):
        ObjectExpirables(lambda: None, name, "", lambda: lambda key: "")


def test_an_unfinished_upload_is_aborted_and_a_finished_object_is_not(request: pytest.FixtureRequest):
    client = s3_account(request.getfixturevalue("s3"), "s3").client()
    key = f"half/{time.monotonic_ns()}"
    client.put_object(Bucket="releases", Key=f"{key}-whole", Body=b"x")
    upload = client.create_multipart_upload(Bucket="releases", Key=key)["UploadId"]
    client.upload_part(Bucket="releases", Key=key, UploadId=upload, PartNumber=1, Body=b"y" * 100)
    uploads = UploadExpirables({"releases": lambda: client})
    (found,) = [one for one in uploads.read() if one.key.endswith(key)]
    assert datetime.now(UTC) - found.at < timedelta(minutes=10)
    assert uploads.remove([found.key]).count == 1
    assert [one for one in uploads.read() if one.key.endswith(key)] == []
    assert client.head_object(Bucket="releases", Key=f"{key}-whole")["ContentLength"] == 1
