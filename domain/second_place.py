"""What may go at the second place: judged there by a catalogue of its own, never by what is missing here.

A bucket that somebody emptied must not empty its copy. So the second place knows itself which backups it holds, and the
same rules choose among those; a file goes only where they let its backup, its segment or its dump go, and only once it
is gone from the bucket, too. Called by `blocks/backup_copies.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from domain.backup import Backup
from domain.backup_retention import NeededLog, Retention, choose_expired, choose_log
from domain.wal import is_segment

LEFT_OVER_AGE = timedelta(hours=24)
_LOGS = {"wals", "archive"}
_BACKUPS = {"base", "backup"}
"""The folders in which barman-cloud and pgBackRest keep the log, and backups under their ids."""


@dataclass(frozen=True, slots=True)
class PlaceChoice:
    """Which files go, by key, and which backups go with them."""

    keys: tuple[str, ...]
    backups: tuple[str, ...]


def choose_gone(
    files: Mapping[str, datetime],
    catalogue: Sequence[Backup],
    *,
    present: Collection[str],
    rules: Retention,
    now: datetime,
    proven: Collection[str] = (),
) -> PlaceChoice:
    """Choose what goes from the second place.

    Args:
        files: what lies there by its key in the bucket, and since when it lay in the bucket.
        catalogue: the backups that lie there whole, as they were when they were copied.
        present: what the bucket holds now: it stays there as well.
    """
    expired = set(choose_expired(catalogue, rules, now=now, proven=proven).expired)
    left = [one for one in catalogue if one.id not in expired]
    log = choose_log(left, window_begin=now - timedelta(days=rules.window_days))
    known = {one.id for one in catalogue} | {_manifest_of(key) for key in files}
    dumps = _old_dumps(files, rules.dumps)
    gone = [
        key
        for key, at in files.items()
        if key not in present
        and (
            key in dumps
            or _parts(key) & expired
            or _is_old_log(key, log)
            or (now - at >= LEFT_OVER_AGE and _is_left_over(key, known))
        )
    ]
    here = {part for key in files if key in present for part in _parts(key) & expired}
    return PlaceChoice(tuple(sorted(gone)), tuple(sorted(expired - here)))


def _parts(key: str) -> set[str]:
    """The words of a key, with a file's last one also without its ending."""
    path = PurePosixPath(key)
    return {*path.parts, path.name.removesuffix(".json")}


def _manifest_of(key: str) -> str:
    """The id of the backup whose manifest this is; empty for anything else."""
    path = PurePosixPath(key)
    return path.stem if path.parts[-3:-1] == ("slipway", "manifests") else ""


def _is_old_log(key: str, log: NeededLog) -> bool:
    path = PurePosixPath(key)
    name = path.name[:24]
    return bool(_LOGS & set(path.parts)) and is_segment(name) and bool(log.since) and not log.keeps(name)


def _is_left_over(key: str, known: Collection[str]) -> bool:
    """Whether it is of a backup that nobody finished: it lies under an id without manifest."""
    parts = PurePosixPath(key).parts
    for place, part in enumerate(parts[:-2]):
        if part in _BACKUPS:
            id = parts[place + 1] if part == "base" else parts[place + 2]
            return id[:8].isdigit() and id not in known
    return False


def _old_dumps(files: Mapping[str, datetime], keep: int) -> set[str]:
    by_database: dict[str, list[tuple[datetime, str]]] = {}
    for key, at in files.items():
        if key.startswith("dumps/") and key.count("/") >= 2:
            by_database.setdefault(key.split("/")[1], []).append((at, key))
    return {key for found in by_database.values() for _, key in sorted(found)[:-keep]}
