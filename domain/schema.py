"""Which releases can run on which schema: what releases declare of their migrations, and what the ledger remembers.

A migration is never taken back. So before one is applied beside a live release, somebody must have said that the live
release can run on the result; and before an older release is brought back, that it can run on what was applied since.
Used by `cd` (before anything starts, and before a canary) and by `rollback`; `tasks/schema.py` reads and records.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.ledger import Entry
from domain.release import short

APPLYING_KINDS = ("migration.ended",)
LISTED_MAX = 5


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a release says of its migrations.

    Attributes:
        compatible_with_live: the release that is live when they are applied can run on the result.
        readable_from: a migration's name: every release that has it can run on this release's schema. Says more than
            `compatible_with_live`, and counts before it.
    """

    compatible_with_live: bool = False
    readable_from: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that a database has, or may have where it failed midway.

    `needs` are the migrations that a release without this one must have to run on it; None where no such release can.
    """

    name: str
    release: str
    needs: frozenset[str] | None


def new_migrations(own: Sequence[str], live: Sequence[str]) -> tuple[str, ...]:
    """List what a release brings that the live one does not have, in order."""
    return tuple(name for name in own if name not in set(live))


def needed_to_read(declaration: Declaration, *, own: Sequence[str], live: Sequence[str]) -> tuple[str, ...] | None:
    """Say which migrations another release must have to run on this release's schema; None where none is declared."""
    if declaration.readable_from in own:
        return tuple(own[: own.index(declaration.readable_from) + 1])
    if declaration.compatible_with_live and not declaration.readable_from:
        return tuple(live)
    return None


def explain_incompatible(declaration: Declaration, *, own: Sequence[str], live: Sequence[str]) -> str:
    """Say why a release can't run beside the live one; empty where it can.

    Args:
        own, live: the migrations of both, in order; a release that brings none is never in the way.
    """
    new = new_migrations(own, live)
    if not new:
        return ""
    if declaration.readable_from and declaration.readable_from not in own:
        return (
            f"It declares readable_from = '{declaration.readable_from}', which is none of its migrations. Correct "
            "[database] readable_from in slipway.toml."
        )
    needed = needed_to_read(declaration, own=own, live=live)
    if needed is None:
        return (
            f"It has new migrations ({_list(new)}) and does not declare that the live release can run on them. If it "
            "can, set compatible_with_live = true under [database] in slipway.toml; if not, deliver it in two "
            "releases: one that expands the schema, then one that contracts it."
        )
    missing = [name for name in needed if name not in set(live)]
    if missing:
        return (
            f"It declares its schema readable from {declaration.readable_from} on, and the live release has no "
            f"{missing[0]}. Deliver a release with that migration first."
        )
    return ""


def applied_migrations(entries: Sequence[Entry]) -> dict[str, Applied]:
    """Collect what was applied to one database, by name; the newest declaration about a migration counts.

    What failed may have been applied in part, and counts as well. Entries from before declarations were written down
    were applied under the promise that the release before can run on them: they need nothing.

    Args:
        entries: those of `APPLYING_KINDS` for one application and environment, oldest first.
    """
    applied: dict[str, Applied] = {}
    for entry in entries:
        if entry.data.get("result") not in ("applied", "failed"):
            continue
        for name in _names(entry.data.get("migrations")):
            if name not in applied or name in _declared(entry.data):
                applied[name] = Applied(name, entry.event.release, _needs(entry.data))
    return applied


def explain_unreadable(own: Sequence[str], applied: Mapping[str, Applied]) -> str:
    """Say why a release can't run on a database; empty where it can.

    Args:
        own: the migrations that the release knows.
        applied: what the database has, as `applied_migrations` collected it.
    """
    known = set(own)
    for name in sorted(applied):
        migration = applied[name]
        if name in known or (migration.needs is not None and migration.needs <= known):
            continue
        if migration.needs is None:
            return (
                f"The database has the migration {name} of release {short(migration.release)}, which did not declare "
                "that releases without it can run on it."
            )
        missing = sorted(migration.needs - known)
        return (
            f"The database has the migration {name} of release {short(migration.release)}, which only releases with "
            f"{_list(missing)} can run on."
        )
    return ""


def describe_migration(declaration: Declaration, *, own: Sequence[str], live: Sequence[str]) -> dict[str, Any]:
    """Say for the ledger what a release's migrations mean to other releases; read back by `applied_migrations`."""
    needs = needed_to_read(declaration, own=own, live=live)
    about = own[len(needs) :] if declaration.readable_from and needs is not None else new_migrations(own, live)
    return {
        "new": list(new_migrations(own, live)),
        "about": list(about),
        "needs": None if needs is None else list(needs),
    }


def _declared(data: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(_names(data.get("about")))


def _needs(data: Mapping[str, Any]) -> frozenset[str] | None:
    if "needs" not in data:
        return frozenset()
    return None if data["needs"] is None else frozenset(_names(data["needs"]))


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _list(names: Sequence[str]) -> str:
    more = [f"and {len(names) - LISTED_MAX} more"] if len(names) > LISTED_MAX else []
    return ", ".join([*names[:LISTED_MAX], *more])


@dataclass(frozen=True, slots=True)
class LockWait:
    """A migration that waited for a lock: what it waited for, for how long, and who held it, as far as it was seen."""

    wanted: str
    seconds: float
    blockers: tuple[str, ...] = ()


def explain_lock_wait(waits: Sequence[LockWait], *, lock_timeout_s: float) -> str:
    """Say what stood in a migration's way; empty where nothing did for half of its lock time-out."""
    long = [wait for wait in waits if wait.seconds >= lock_timeout_s / 2]
    if not long:
        return ""
    worst = max(long, key=lambda wait: wait.seconds)
    holders = "; ".join(worst.blockers) or "nobody who could still be seen"
    return f"It waited {worst.seconds:.1f} s for {worst.wanted}, held by {holders}. The limit is {lock_timeout_s:g} s."
