"""Recovering everything on an empty folder: which backup, up to which point, and what of all that came back.

Called by `slipway recover` and by the monthly drill of it. A point is always named: the end of the log is taken for the
begin of its newest segment, which recovery must reach, so that a lost segment is never taken for the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.backup import Backup, BackupKind, Target, WalState, at_lsn, at_time
from domain.drill import named_target
from domain.errors import ConfigError
from domain.wal import SEGMENT_BYTES, read_lsn, write_lsn

POINTS = ("latest", "backup")


@dataclass(frozen=True, slots=True)
class Point:
    """Where a recovery goes: a backup, a named target, and in words what that is."""

    backup: Backup
    target: Target
    said: str


def read_point(text: str) -> datetime | str:
    """Read `--to`: `latest`, `backup`, or a time with its zone. Raises: ConfigError for anything else."""
    if text in POINTS:
        return text
    try:
        found = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ConfigError(
            f"--to {text!r} is no time. Use latest, backup, or a time such as 2026-01-31T12:00+00:00."
        ) from exc
    if found.tzinfo is None:
        raise ConfigError(f"--to {text!r} names no time zone. Write it as {text}+00:00 for UTC.")
    return found


def refuse_other_installation(backups: Sequence[Backup], system_id: str) -> None:
    """Raises: ConfigError where the backups are of another cluster than the kit."""
    strange = sorted({one.system_id for one in backups if one.system_id and one.system_id != system_id})
    own = any(one.system_id == system_id for one in backups)
    if strange and not own and system_id:
        raise ConfigError(
            f"The backups there are of cluster {strange[0]}, the kit is of cluster {system_id}: it is the kit of "
            "another installation. Use the kit and the bucket of the same one."
        )


def choose_point(
    backups: Sequence[Backup], wal: WalState, to: datetime | str, extra: Mapping[str, Mapping[str, Any]]
) -> Point:
    """Choose the backup and the target.

    Args:
        wal: the archive from the newest backup on, as far as it is whole.
        extra: what was kept with each backup, by id; its fingerprint names a restore point.

    Raises: ConfigError where there is no backup that leads there.
    """
    done = sorted(
        (one for one in backups if one.is_done and one.kind in (BackupKind.FULL, BackupKind.INCREMENTAL)),
        key=lambda one: (one.begun_at, one.id),
    )
    if not done:
        raise ConfigError(
            "There is no finished backup of PostgreSQL there. Name the bucket or the folder that has one."
        )
    if isinstance(to, datetime):
        before = [one for one in done if (one.ended_at or one.begun_at) <= to]
        if not before:
            raise ConfigError(
                f"No backup ended before {to.isoformat()}; the oldest ended {_end(done[0])}. Name a later time."
            )
        return Point(before[-1], at_time(to), f"{to.isoformat()}, from backup {before[-1].id}")
    newest = done[-1]
    own, _ = named_target(newest, extra.get(newest.id, {}))
    if own is None:
        raise ConfigError(f"Backup {newest.id} names no point to recover to. Name a time with --to.")
    if to == "latest" and not wal.gaps and wal.newest:
        begin = _begin_of(wal.newest)
        if not newest.target_lsn or begin > read_lsn(newest.target_lsn):
            said = f"the newest segment of the log, {wal.newest}, from backup {newest.id}"
            return Point(newest, at_lsn(write_lsn(begin)), said)
    return Point(newest, own, f"{own.value}, the point of backup {newest.id}")


def _begin_of(segment: str) -> int:
    return (int(segment[8:16], 16) << 32) + int(segment[16:24], 16) * SEGMENT_BYTES


def _end(backup: Backup) -> str:
    return (backup.ended_at or backup.begun_at).isoformat(timespec="seconds")
