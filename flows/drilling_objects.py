"""Restoring the copies of buckets into scratch folders, and looking at every object: a part of `restore_drill`.

The newest copy of each bucket and a random older one. What is restored is destroyed at the end, whatever happened.
"""

from collections.abc import Iterable
from functools import partial

from domain.drill import Check
from domain.drill_objects import BucketCopy, ObjectDamage
from flows.rehearsing import looked
from tasks.drill import record_tamper
from tasks.drill_objects import (
    ChosenCopies,
    destroy_objects,
    find_object_damage,
    find_stale_copy,
    list_buckets,
    look_at_copies,
    restore_objects,
)


def drill_buckets(run: str, *, seed: str) -> tuple[list[Check], list[ChosenCopies]]:
    """Drill the copies of every bucket; returns the checks, and what was chosen, for the proof by damage."""
    chosen: list[ChosenCopies] = []
    sources: list[str] = []

    def list_sources() -> Iterable[Check]:
        sources.extend(list_buckets(run))
        return ()

    def choose(source: str) -> Iterable[Check]:
        chosen.append(look_at_copies(run, source, seed))
        return chosen[-1].checks

    checks = looked("integrity.bucket", list_sources)
    for source in sources:
        known = len(chosen)
        checks += looked(f"integrity.bucket@{source}", partial(choose, source))
        for one in chosen[known:]:
            for copy, suffix in ((one.newest, ""), (one.older, "-older")):
                if copy is not None:
                    checks += _rehearse(run, copy, suffix)
    return checks, chosen


def _rehearse(run: str, copy: BucketCopy, suffix: str) -> list[Check]:
    name, label = f"drill-{run[:8]}-objects", f"{copy.source}{suffix}"
    try:
        checks = looked(f"restore.objects@{label}", lambda: restore_objects(run, copy, name, suffix))
    finally:
        destroyed = looked(f"destruction.objects@{label}", lambda: destroy_objects(run, name, label))
    return [*checks, *destroyed]


def prove_object_damage(run: str, chosen: list[ChosenCopies]) -> list[Check]:
    """Step 12 for objects: each kind of damage to a few of the first copied bucket's must be noticed."""
    looked = next((one for one in chosen if one.newest is not None), None)
    if looked is None or looked.newest is None:
        return []
    name, checks = f"drill-{run[:8]}-damaged", list[Check]()
    for kind in ObjectDamage:
        try:
            damage, by = find_object_damage(run, looked.newest, name, kind)
        finally:
            destroy_objects(run, name, looked.newest.source)
        checks.append(record_tamper(run, kind, damage or kind, by))
    stale = find_stale_copy(run, looked.newest, looked.older)
    checks.append(record_tamper(run, "object_stale", f"an older manifest for {looked.newest.key}", stale))
    return checks
