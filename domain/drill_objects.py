"""What a restore drill finds out about object storage: which copies it takes, whether what was restored is all of it.

A bucket's copy is a manifest (each name, its size and SHA-256) and contents kept under their SHA-256. The checks carry
the names of the drill's steps, with the bucket behind an `@`: `integrity.bucket@releases`. Called by `restore_drill`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from domain.canonical import sha256_hex
from domain.drill import CLOCK_SKEW, Check, failed, passed, say_bytes, say_seconds, unavailable

AGE_S_MAX = 36 * 3600.0
"""Buckets are copied every night: what is lost at the most is a day, and half a day's delay is no failure yet."""

_SHOWN = 3


class ObjectDamage(StrEnum):
    """How the weekly proof damages its copy of objects; each must be noticed. `SWAPPED`: other bytes, the same size."""

    MISSING = "object_missing"
    FLIPPED = "object_flipped"
    SWAPPED = "object_swapped"
    TRUNCATED = "object_truncated"


@dataclass(frozen=True, slots=True)
class BucketCopy:
    """One manifest of a bucket's copies. `key` is where it lies, `sha256` is its own."""

    source: str
    key: str
    at: datetime
    sha256: str


@dataclass(frozen=True, slots=True)
class CopiedObject:
    """An object as a manifest, or a restored folder, has it."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class RecordedCopy:
    """What the ledger knows of a bucket's copies: when the last one ended, and the manifest's hash of each, newest
    first."""

    at: datetime
    hashes: tuple[str, ...] = field(default=())


def choose_copies(copies: Sequence[BucketCopy], *, seed: str) -> tuple[BucketCopy | None, BucketCopy | None]:
    """Choose the newest copy, and one at random of the older ones; the same seed chooses the same."""
    ordered = sorted(copies, key=lambda one: (one.at, one.key))
    if not ordered:
        return None, None
    older = ordered[:-1]
    return ordered[-1], older[int(sha256_hex(seed), 16) % len(older)] if older else None


def choose_at(copies: Sequence[BucketCopy], at: datetime) -> BucketCopy | None:
    """Choose the copy that holds what a server held at `at`: the first made after that, else the newest.

    A copy that was made later and changed nothing wrote no manifest of its own.
    """
    ordered = sorted(copies, key=lambda one: (one.at, one.key))
    return next((one for one in ordered if one.at >= at), ordered[-1] if ordered else None)


def check_copies(
    source: str, newest: BucketCopy | None, older: BucketCopy | None, recorded: RecordedCopy, *, now: datetime
) -> list[Check]:
    """Steps 1, 8 and 11: there is a copy, it is the one that the ledger knows, and young enough."""
    if newest is None:
        return [failed(f"choice.objects@{source}", "objects_none", bucket=source)]
    checks = [passed(f"choice.objects@{source}", "objects_newest", copy=newest.key, at=f"{newest.at:%Y-%m-%d %H:%M}Z")]
    if older is None:
        checks.append(unavailable(f"choice.older@{source}", "one copy only"))
    else:
        checks.append(passed(f"choice.older@{source}", "objects_older", at=f"{older.at:%Y-%m-%d %H:%M}Z"))
    checks.append(check_record(source, newest, recorded))
    if older is not None:
        checks.append(check_record(source, older, recorded, is_newest=False))
    return [*checks, _check_age(source, recorded, now)]


def check_record(source: str, copy: BucketCopy, recorded: RecordedCopy, *, is_newest: bool = True) -> Check:
    """Step 8: the manifest has the hash that the ledger recorded; the newest has that of the last copy, no other."""
    name = f"fingerprint.objects@{source}{'' if is_newest else '-older'}"
    known = recorded.hashes[:1] if is_newest else recorded.hashes
    if copy.sha256 not in known:
        words = "objects_stale" if is_newest and copy.sha256 in recorded.hashes else "objects_foreign"
        return failed(name, words, copy=copy.key, found=copy.sha256[:12], expected=known[0][:12] if known else "–")
    return passed(name, "objects_recorded", sha256=copy.sha256[:12])


def _check_age(source: str, recorded: RecordedCopy, now: datetime) -> Check:
    name, age_s = f"objectives.objects@{source}", (now - recorded.at).total_seconds()
    if age_s < -CLOCK_SKEW.total_seconds():
        return failed(name, "objects_future", ahead=say_seconds(-age_s))
    age, limit = say_seconds(max(age_s, 0.0)), say_seconds(AGE_S_MAX)
    if age_s > AGE_S_MAX:
        return failed(name, "objects_old", age=age, limit=limit)
    return passed(name, "objects_fresh", age=age, limit=limit)


def check_restored(
    name: str, expected: Mapping[str, CopiedObject], found: Mapping[str, CopiedObject], *, seconds: float = 0.0
) -> Check:
    """Step 5: each object of the manifest is there, none more, and each has its size and SHA-256."""
    wrong = sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
    if not wrong:
        size = say_bytes(sum(one.size_bytes for one in found.values()))
        return passed(name, "bucket_whole", seconds=seconds, count=len(found), size=size)
    words = "; ".join(_explain(key, expected.get(key), found.get(key)) for key in wrong[:_SHOWN])
    more = f"; {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return failed(name, "bucket_damaged", seconds=seconds, damage=(words + more)[:500])


def _explain(key: str, expected: CopiedObject | None, found: CopiedObject | None) -> str:
    if found is None:
        return f"{key} is missing"
    if expected is None:
        return f"{key} is not in the manifest"
    if expected.size_bytes != found.size_bytes:
        return f"{key} has {found.size_bytes} bytes, expected {expected.size_bytes}"
    return f"{key} has SHA-256 {found.sha256[:12]}, expected {expected.sha256[:12]}"


def check_references(
    bucket: str, where: str, referenced: Sequence[str], present: Mapping[str, CopiedObject], *, copy: str
) -> Check:
    """Step 10: each object that the restored database names is in the copy of the same point in time."""
    name = f"expectations.references@{where}"
    missing = sorted({key for key in referenced if key not in present})
    if missing:
        words = ", ".join(missing[:_SHOWN]) + (f", {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
        return failed(name, "references_missing", where=where, bucket=bucket, missing=words[:500], copy=copy)
    return passed(name, "references_met", where=where, bucket=bucket, count=len(set(referenced)))
