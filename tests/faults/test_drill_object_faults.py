"""Every damage that a bucket's copies can have turns the drill red and names its check; what is whole stays green.

The same corpus on a bucket in memory and on a real store, which is read with the key that only reads.
"""

import sys
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "contracts"))
from fixtures_s3 import s3, s3_account, s3_admin  # noqa: F401 - fixture

from blocks.backup_bucket import BackupBucket
from blocks.backup_copies import Copies, Sources
from blocks.installation import Installation
from blocks.memory_world import MemoryWorld
from blocks.scratch_objects import ScratchObjects
from blocks.world import use_world
from domain.application import ReferencePart
from domain.drill import Check, Outcome
from domain.errors import ConfigError
from domain.ledger import Event
from flows.drilling_objects import drill_buckets, prove_object_damage
from tasks.drill_objects import (
    _prove_reference,  # pyright: ignore[reportPrivateUsage]
    prove_references,
)
from tasks.recording import without_engine

SOURCE = "releases"
FIRST = {"bundles/a.tar": b"first bundle", "bundles/b.tar": b"another one!", "empty": b"", "../../etc/passwd": b"name"}
SECOND = {**FIRST, "bundles/c.tar": b"newer"}


class Bench(Protocol):
    world: MemoryWorld

    def copy(self, objects: dict[str, bytes]) -> None: ...
    def keys(self, part: str) -> list[str]: ...
    def get(self, key: str) -> bytes: ...
    def put(self, key: str, body: bytes) -> None: ...
    def remove(self, key: str) -> None: ...


class MemoryBench:
    def __init__(self) -> None:
        self.world = MemoryWorld()

    def copy(self, objects: dict[str, bytes]) -> None:
        self.world.clock.sleep(60)
        sha256 = self.world.object_copies.keep(SOURCE, objects, at=self.world.clock.now())
        record(self.world, sha256)

    def keys(self, part: str) -> list[str]:
        return [one.key for one in self.world.object_copies.objects(f"objects/{SOURCE}/{part}")]

    def get(self, key: str) -> bytes:
        return self.world.object_copies.bytes[key]

    def put(self, key: str, body: bytes) -> None:
        self.world.object_copies.bytes[key] = body

    def remove(self, key: str) -> None:
        del self.world.object_copies.bytes[key]


class RealBench:
    """Copied by the real `Copies` from one bucket of a real store into that with the backups."""

    def __init__(self, store: Installation, folder: Path, prefix: str) -> None:
        self.world = MemoryWorld()
        self.admin = s3_admin(store).client()
        self.bucket = BackupBucket(s3_account(store, "s3_backup"))
        reader = BackupBucket(s3_account(store, "s3_backup_read"))
        self.world.object_copies = ScratchObjects(lambda: reader, folder / "drills")  # pyright: ignore[reportAttributeAccessIssue]
        (folder / "work").mkdir()

        def none() -> Any:
            raise AssertionError("not asked")

        self.copies = Copies(
            Sources(None, none, lambda name: BackupBucket(s3_account(store, "s3_backup"), name, is_encrypted=False)),  # pyright: ignore[reportArgumentType]
            bucket=self.bucket,
            expirer=none,
            recipient=none,
            place=None,
            work=folder / "work",
        )

    def copy(self, objects: dict[str, bytes]) -> None:
        present = {one.key for one in BackupBucket(self.bucket.account, SOURCE).objects("")}
        for key in present - set(objects):
            self.admin.delete_object(Bucket=SOURCE, Key=key)
        for key in sorted(set(objects) - present - {"../../etc/passwd"}):
            self.admin.put_object(Bucket=SOURCE, Key=key, Body=objects[key])
        record(self.world, self.copies.objects(SOURCE).sha256)

    def keys(self, part: str) -> list[str]:
        return [one.key for one in self.bucket.objects(f"objects/{SOURCE}/{part}")]

    def get(self, key: str) -> bytes:
        found = self.bucket.get(key)
        assert found is not None
        return found[0]

    def put(self, key: str, body: bytes) -> None:
        self.admin.put_object(Bucket="backups", Key=key, Body=body, ServerSideEncryption="AES256")

    def remove(self, key: str) -> None:
        self.admin.delete_object(Bucket="backups", Key=key)


def record(world: MemoryWorld, sha256: str) -> None:
    world.ledger.append(Event("objects.copied", data={"bucket": SOURCE, "sha256": sha256}))


@pytest.fixture(params=["memory", "real"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Bench]:
    found: Bench
    if request.param == "memory":
        found = MemoryBench()
    else:
        found = RealBench(request.getfixturevalue("s3"), tmp_path, "")
        for key in found.keys(""):
            found.remove(key)
    found.world.ledger = type(found.world.ledger)(found.world.clock.now)
    world: Any = found.world
    use_world(lambda: world)
    with without_engine():
        found.copy(FIRST)
        found.copy(SECOND)
        yield found
    use_world(None)


def drill(bench: Bench, seed: str = "one") -> list[Check]:
    checks, _ = drill_buckets("run-0001", seed=seed)
    folder = bench.world.object_copies.folder
    assert not folder.exists() or list(folder.iterdir()) == [], "a drill left something behind"
    return checks


def bad(checks: list[Check]) -> set[str]:
    return {check.name for check in checks if check.outcome is Outcome.FAIL}


def content_of(bench: Bench, body: bytes) -> str:
    return next(key for key in bench.keys("data/") if bench.get(key) == body)


def test_whole_copies_are_proven_to_the_last_object_and_nothing_is_left(bench: Bench):
    checks = drill(bench)
    assert bad(checks) == set()
    assert {
        "choice.objects@releases",
        "fingerprint.objects@releases",
        "objectives.objects@releases",
        "restore.objects@releases",
        "integrity.bucket@releases",
        "integrity.bucket@releases-older",
        "destruction.objects@releases",
    } <= {check.name for check in checks if check.outcome is Outcome.PASS}


FAULTS: dict[str, tuple[Callable[[Bench, str], None], str]] = {
    "missing": (lambda bench, key: bench.remove(key), "integrity.bucket@releases"),
    "a byte flipped": (
        lambda bench, key: bench.put(key, bytes([bench.get(key)[0] ^ 1]) + bench.get(key)[1:]),
        "integrity.bucket@releases",
    ),
    "other content of the same size": (lambda bench, key: bench.put(key, b"another one!"), "integrity.bucket@releases"),
    "truncated": (lambda bench, key: bench.put(key, bench.get(key)[:-3]), "integrity.bucket@releases"),
    "emptied": (lambda bench, key: bench.put(key, b""), "integrity.bucket@releases"),
    "grown": (lambda bench, key: bench.put(key, bench.get(key) + b"x"), "integrity.bucket@releases"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_object_turns_the_drill_red(bench: Bench, fault: str):
    damage, check = FAULTS[fault]
    damage(bench, content_of(bench, b"first bundle"))
    assert check in bad(drill(bench))


def test_the_newest_manifest_gone_leaves_a_stale_one_and_is_noticed(bench: Bench):
    bench.remove(bench.keys("manifests/")[-1])
    (check,) = [one for one in drill(bench) if one.name == "fingerprint.objects@releases"]
    assert check.outcome is Outcome.FAIL and check.text == "objects_stale"


def test_an_older_manifest_under_the_newest_name_is_noticed(bench: Bench):
    first, last = bench.keys("manifests/")
    bench.put(last, bench.get(first))
    assert "fingerprint.objects@releases" in bad(drill(bench))


def test_a_manifest_that_leaves_an_object_out_is_noticed(bench: Bench):
    last = bench.keys("manifests/")[-1]
    bench.put(last, bench.get(last).replace(b"bundles/c.tar", b"bundles/x.tar"))
    assert "fingerprint.objects@releases" in bad(drill(bench))


def test_a_manifest_that_is_none_is_noticed(bench: Bench):
    bench.put(bench.keys("manifests/")[-1], b"{}")
    assert {"fingerprint.objects@releases", "restore.objects@releases"} <= bad(drill(bench))


def test_every_manifest_gone_is_noticed(bench: Bench):
    for key in bench.keys("manifests/"):
        bench.remove(key)
    assert bad(drill(bench)) == {"choice.objects@releases"}


def test_copies_that_stopped_are_noticed(bench: Bench):
    bench.world.clock.sleep(timedelta(hours=40).total_seconds())
    assert bad(drill(bench)) == {"objectives.objects@releases"}


def test_each_damage_done_on_purpose_is_noticed_by_the_proof(bench: Bench):
    _, chosen = drill_buckets("run-0001", seed="one")
    checks = prove_object_damage("run-0001", chosen)
    assert {check.name: check.outcome for check in checks} == dict.fromkeys(
        [
            "tamper.object_missing",
            "tamper.object_flipped",
            "tamper.object_swapped",
            "tamper.object_truncated",
            "tamper.object_stale",
        ],
        Outcome.PASS,
    )


def test_what_was_never_copied_is_unavailable_and_not_proven():
    world: Any = MemoryWorld()
    use_world(lambda: world)
    with without_engine():
        checks, chosen = drill_buckets("run-0001", seed="one")
    use_world(None)
    assert {check.outcome for check in checks} == {Outcome.UNAVAILABLE} and prove_object_damage("r", chosen) == []


def test_objects_that_the_database_names_have_to_be_in_the_copy_of_that_time():
    bench = MemoryBench()
    world: Any = bench.world
    use_world(lambda: world)
    reference = ReferencePart(bucket=SOURCE, table="files", column="key")
    column = ("desk_production", "files", "key")
    with without_engine():
        bench.copy(FIRST)
        at = world.clock.now()
        world.scratch.columns[column] = ["bundles/a.tar", "empty"]
        assert _prove_reference(world, at, "s", "desk", reference).outcome is Outcome.PASS
        world.scratch.columns[column] = ["bundles/a.tar", "bundles/gone.tar"]
        found = _prove_reference(world, at, "s", "desk", reference)
        assert found.outcome is Outcome.FAIL and "bundles/gone.tar" in found.values["missing"]
        world.scratch.columns.clear()
        assert _prove_reference(world, at, "s", "desk", reference).outcome is Outcome.FAIL
    use_world(None)


def test_the_bundle_of_a_live_release_has_to_be_in_the_copy():
    bench = MemoryBench()
    world: Any = bench.world
    use_world(lambda: world)
    manifest = {
        "application": "desk",
        "commit": "c",
        "bundle": {"sha256": "ab", "size_bytes": 1},
        "migrations": [],
        "image": None,
        "format": 1,
    }
    from domain.release import read_manifest

    digest = read_manifest(manifest).digest
    restored = world.scratch.restored_ledger
    restored.append(Event("release.pinned", application="desk", release=digest, data={"manifest": manifest}))
    restored.append(Event("rollout.completed", application="desk", environment="production", release=digest))
    with without_engine():
        bench.copy({"bundles/desk/ab.tar": b"x"})
        (check,) = prove_references.fn("run", "backup", "scratch")
        assert check.outcome is Outcome.PASS and check.values["count"] == "1"
        bench.copy({"bundles/desk/cd.tar": b"x"})
        (check,) = prove_references.fn("run", "backup", "scratch")
        assert check.outcome is Outcome.FAIL
    use_world(None)


def test_a_name_from_the_bucket_is_never_a_path(tmp_path: Path):
    bench = MemoryBench()
    bench.copy(FIRST)
    objects = bench.world.object_copies
    (copy,) = objects.copies(SOURCE)
    objects.restore(copy, "drill-x")
    assert set(objects.read("drill-x")) == set(FIRST)
    assert all(path.parent == objects.folder / "drill-x" for path in (objects.folder / "drill-x").rglob("*"))
    objects.destroy("drill-x")


def test_nothing_to_damage_is_no_proof():
    bench = MemoryBench()
    bench.copy({})
    objects = bench.world.object_copies
    (copy,) = objects.copies(SOURCE)
    objects.restore(copy, "drill-x")
    from domain.drill_objects import ObjectDamage

    with pytest.raises(ConfigError):
        objects.damage("drill-x", ObjectDamage.MISSING)
