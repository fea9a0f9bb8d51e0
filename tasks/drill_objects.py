"""The steps of a restore drill over object storage: each looks at one thing, or does one, and says what it found.

Called by `restore_drill`, bucket by bucket. What a step finds bad is a failed check and never an error; what it could
not look at is unavailable. Every object is fetched and hashed: there is no sampling but in the proof by damage.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from blocks.world import World, open_world
from domain.application import ReferencePart
from domain.backup import Backup
from domain.drill import Check, Outcome, check_space, failed, passed, say_bytes, unavailable
from domain.drill_objects import (
    BucketCopy,
    ObjectDamage,
    RecordedCopy,
    check_copies,
    check_record,
    check_references,
    check_restored,
    choose_at,
    choose_copies,
)
from domain.errors import ConfigError, SlipwayError, TransientError
from domain.ledger import Entry
from domain.release import bundle_key, read_manifest
from domain.revision import release_of
from domain.rollout import SETTLING_KINDS, live_release
from tasks.data import PRODUCTION, find_buckets, read_data
from tasks.recording import reading_task

RELEASES = "releases"
_TAMPER_OBJECTS_MAX = 8
_RECORDS = 500


@dataclass(frozen=True, slots=True)
class ChosenCopies:
    """What was found out about a bucket's copies before anything is restored."""

    checks: tuple[Check, ...]
    newest: BucketCopy | None = None
    older: BucketCopy | None = None


@reading_task
def list_buckets(run: str) -> tuple[str, ...]:
    """Name every bucket that is backed up."""
    return find_buckets()


@reading_task
def look_at_copies(run: str, source: str, seed: str) -> ChosenCopies:
    """Steps 1, 8 and 11 for a bucket: choose its copies, compare their manifests with the ledger, look at their age."""
    world = open_world()
    recorded = _read_recorded(world, source)
    if recorded is None:
        return ChosenCopies((unavailable(f"choice.objects@{source}", "not copied yet: the next `backup` does it"),))
    try:
        newest, older = choose_copies(world.object_copies.copies(source), seed=seed)
    except TransientError as exc:
        return ChosenCopies((unavailable(f"fingerprint.objects@{source}", str(exc)),))
    except ConfigError as exc:
        return ChosenCopies((failed(f"choice.objects@{source}", "recovery_failed", error=str(exc)[:300]),))
    return ChosenCopies(
        tuple(check_copies(source, newest, older, recorded, now=world.clock.now())), newest=newest, older=older
    )


@reading_task
def restore_objects(run: str, copy: BucketCopy, name: str, suffix: str = "") -> tuple[Check, ...]:
    """Steps 3, 4 and 5 for a copy: room, every object fetched with the key that only reads, every one compared.

    Effect: a scratch folder, until `destroy_objects`. May be repeated.
    """
    objects, where = open_world().object_copies, f"@{copy.source}{suffix}"
    try:
        manifest = objects.manifest(copy)
        size = sum({one.sha256: one.size_bytes for one in manifest.values()}.values())
        space = check_space(size, objects.free_bytes())
        space = Check(f"space.objects{where}", space.outcome, space.text, space.values)
        if space.outcome is not Outcome.PASS:
            return (space,)
        begun = time.monotonic()
        fetched = objects.restore(copy, name)
        seconds = time.monotonic() - begun
        values = {"count": len(manifest), "size": say_bytes(fetched)}
        restored = passed(f"restore.objects{where}", "objects_restored", seconds=seconds, **values)
        begun = time.monotonic()
        compared = check_restored(f"integrity.bucket{where}", manifest, objects.read(name))
        seconds = time.monotonic() - begun
        return (space, restored, Check(compared.name, compared.outcome, compared.text, compared.values, seconds))
    except TransientError as exc:
        return (unavailable(f"restore.objects{where}", str(exc)),)
    except (SlipwayError, OSError) as exc:
        return (failed(f"restore.objects{where}", "restore_failed", backup=copy.key, error=str(exc)[:400]),)


@reading_task
def find_object_damage(run: str, copy: BucketCopy, name: str, kind: str) -> tuple[str, str]:
    """Damage a few restored objects on purpose; returns what was damaged, and the check that noticed, or nothing.

    Effect: a scratch folder, until `destroy_objects`.
    """
    objects = open_world().object_copies
    manifest = objects.manifest(copy)
    keys = sorted(manifest, key=lambda key: (-min(manifest[key].size_bytes, 1 << 20), key))[:_TAMPER_OBJECTS_MAX]
    try:
        objects.restore(copy, name, keys=keys)
        damage = objects.damage(name, ObjectDamage(kind))
    except (SlipwayError, OSError):
        return "", ""
    check = check_restored(f"integrity.bucket@{copy.source}", {key: manifest[key] for key in keys}, objects.read(name))
    return damage, check.name if check.outcome is Outcome.FAIL else ""


@reading_task
def find_stale_copy(run: str, newest: BucketCopy, older: BucketCopy | None) -> str:
    """Put an older manifest, or a forged one, into the newest one's place; returns the check that noticed."""
    recorded = _read_recorded(open_world(), newest.source) or RecordedCopy(open_world().clock.now())
    stale = older if older and older.sha256 != newest.sha256 else None
    forged = BucketCopy(newest.source, newest.key, newest.at, stale.sha256 if stale else "0" * 64)
    check = check_record(newest.source, forged, recorded)
    return check.name if check.outcome is Outcome.FAIL else ""


@reading_task
def prove_references(run: str, backup: str, name: str) -> tuple[Check, ...]:
    """Step 10: the objects that a restored server's databases name are in the copies of the same point in time.

    The ledger names the bundles of the releases that are live; applications name columns in `[data]`.
    """
    world = open_world()
    at = next((_end_of(one) for one in world.backup_engine("read").backups() if one.id == backup), world.clock.now())
    checks = [_judge(world, at, "ledger", RELEASES, lambda: _live_bundles(world, name))]
    for application in world.applications.list():
        try:
            data = read_data(application.name)
        except SlipwayError as exc:
            checks.append(unavailable(f"expectations.references@{application.name}", str(exc)))
            continue
        for one in data.references if data else ():
            checks.append(_prove_reference(world, at, name, application.name, one))
    return tuple(checks)


def _prove_reference(world: World, at: datetime, name: str, application: str, one: ReferencePart) -> Check:
    database = f"{application}_{PRODUCTION}"
    return _judge(
        world,
        at,
        f"{application}.{one.table}.{one.column}",
        one.bucket,
        lambda: world.scratch.texts(name, database, one.table, one.column),
    )


def _judge(world: World, at: datetime, where: str, bucket: str, referenced: Callable[[], Sequence[str]]) -> Check:
    check = f"expectations.references@{where}"
    try:
        copy = choose_at(world.object_copies.copies(bucket), at)
        if copy is None:
            return unavailable(check, f"bucket {bucket} was not copied yet")
        present = world.object_copies.manifest(copy)
        return check_references(bucket, where, referenced(), present, copy=copy.key)
    except TransientError as exc:
        return unavailable(check, str(exc))
    except SlipwayError as exc:
        return failed(check, "recovery_failed", error=str(exc)[:300])


def _end_of(backup: Backup) -> datetime:
    return backup.ended_at or backup.begun_at


def _live_bundles(world: World, name: str) -> list[str]:
    ledger = world.scratch.ledger(name)
    by_place: dict[tuple[str, str], list[Entry]] = {}
    for entry in ledger.entries(kinds=SETTLING_KINDS):
        by_place.setdefault((entry.event.application, entry.event.environment), []).append(entry)
    live = {release_of(live_release(entries)) for entries in by_place.values()}
    pinned = [read_manifest(one.data["manifest"]) for one in ledger.entries(kinds=["release.pinned"])]
    return [bundle_key(one.application, one.bundle.sha256) for one in pinned if one.digest in live]


@reading_task
def destroy_objects(run: str, name: str, where: str) -> Check:
    """Step 13: remove the scratch folder. Effect: may be repeated, and is: a folder of the same name is made anew for
    each damage, so that no earlier end may be taken for this one's."""
    check = f"destruction.objects@{where}"
    try:
        open_world().object_copies.destroy(name)
    except (SlipwayError, OSError) as exc:
        return failed(check, "destruction_failed", error=str(exc)[:300])
    return passed(check, "objects_gone")


def _read_recorded(world: World, source: str) -> RecordedCopy | None:
    entries = world.ledger.entries(kinds=["objects.copied"], newest_first=True, limit=_RECORDS)
    own = [one for one in entries if one.data.get("bucket") == source]
    return RecordedCopy(own[0].at, tuple(str(one.data["sha256"]) for one in own)) if own else None
