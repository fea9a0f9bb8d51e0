"""Is it protected? A judgement that says no unless everything it takes was proven.

Protected means: a whole backup that is not too old, read again and compared; page checksums, so that damage before the
backup would have shown; encrypted; the log without a gap; and a copy where another disk fails. Called by `backup` for
its report and by `backup_watch`, which tells somebody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from domain.backup import Backup, CopyPlace, KeptCopy, WalState

Weakness = Literal[
    "none", "old", "unproven", "no_page_checksums", "not_encrypted", "log_gap", "log_failing", "log_late", "same_disk"
]


@dataclass(frozen=True, slots=True)
class Objectives:
    """What is promised: the oldest that the newest backup may be, and how long a segment may wait."""

    age_s_max: float = 36 * 3600
    lag_s_max: float = 900


@dataclass(frozen=True, slots=True)
class Protection:
    """One thing that is backed up, and what it lacks to be protected."""

    name: str
    newest_at: datetime | None
    stored_bytes: int
    encryption: str
    weaknesses: tuple[Weakness, ...]

    @property
    def is_protected(self) -> bool:
        return not self.weaknesses


def judge_server(
    backups: Sequence[Backup],
    log: WalState,
    place: CopyPlace,
    *,
    copied_at: datetime | None,
    now: datetime,
    objectives: Objectives = Objectives(),
) -> Protection:
    """Judge a server's physical backups and its log.

    Args:
        copied_at: when everything was last copied to the second place; None: never.
    """
    done = [one for one in backups if one.is_done]
    newest = max(done, key=lambda one: one.begun_at, default=None)
    if newest is None:
        return Protection("PostgreSQL", None, 0, "none", ("none",))
    found: list[Weakness] = []
    if now - newest.begun_at > timedelta(seconds=objectives.age_s_max):
        found.append("old")
    if not newest.manifest_sha256:
        found.append("unproven")
    if not newest.page_checksums:
        found.append("no_page_checksums")
    if newest.encryption == "none":
        found.append("not_encrypted")
    found += _judge_log(log, objectives)
    if not place.is_apart or copied_at is None or copied_at < newest.begun_at:
        found.append("same_disk")
    stored = sum(one.stored_bytes for one in done)
    return Protection("PostgreSQL", newest.ended_at or newest.begun_at, stored, newest.encryption, tuple(found))


def judge_copy(
    name: str,
    copy: KeptCopy | None,
    place: CopyPlace,
    *,
    at: datetime | None,
    copied_at: datetime | None,
    now: datetime,
    age_s_max: float,
) -> Protection:
    """Judge a copy that `backup` made itself."""
    if copy is None or at is None:
        return Protection(name, None, 0, "none", ("none",))
    found: list[Weakness] = []
    if now - at > timedelta(seconds=age_s_max):
        found.append("old")
    if copy.encryption == "none":
        found.append("not_encrypted")
    if not place.is_apart or copied_at is None or copied_at < at:
        found.append("same_disk")
    return Protection(name, at, copy.size_bytes, copy.encryption, tuple(found))


def _judge_log(log: WalState, objectives: Objectives) -> list[Weakness]:
    found: list[Weakness] = []
    if not log.is_whole:
        found.append("log_gap")
    if log.failing:
        found.append("log_failing")
    if log.lag_s > objectives.lag_s_max:
        found.append("log_late")
    return found
