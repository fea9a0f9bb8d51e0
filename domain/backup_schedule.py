"""Which kind of backup a night takes: a full one every week, between them what changed, where the engine can.

Called by `backup` where nobody named a kind. An engine without incremental backups takes a full one each time.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.backup import Backup, BackupKind

FULL_EVERY = timedelta(days=7)
_SLACK = timedelta(hours=1)
"""A weekly full backup begins a little earlier or later than the last one did."""


def choose_kind(backups: Sequence[Backup], kinds: Sequence[BackupKind], *, engine: str, now: datetime) -> BackupKind:
    """Choose the kind of the next backup.

    Args:
        backups: what the repository holds.
        kinds: what the engine can take.
        engine: its name; another engine's backup is nobody's parent here.
    """
    full = [one for one in backups if one.is_done and one.kind is BackupKind.FULL and one.engine == engine]
    newest = max((one.begun_at for one in full), default=None)
    if BackupKind.INCREMENTAL not in kinds or newest is None or now - newest >= FULL_EVERY - _SLACK:
        return BackupKind.FULL
    return BackupKind.INCREMENTAL
