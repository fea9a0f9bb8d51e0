"""Which backups may go: by count, by window, by grandfather, father and son, and never what somebody holds.

A decision without a clock of its own: `now` is handed in. Called by `backup` before it asks an engine to expire, which
again shows what would go before it goes, and by the second place for what lies there. The rules are an operator's
setting (`SLIPWAY_BACKUP_KEEP`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.backup import Backup, BackupKind
from domain.errors import RefusedError
from domain.wal import next_segment, read_lsn, segment_at


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept; a backup goes only where no rule keeps it.

    Attributes:
        count: the newest so many full ones.
        window_days: everything that a recovery to any moment of so many past days needs.
        daily, weekly, monthly, yearly: the newest full one of each of so many past days, weeks, months, years that
            have one.
        dumps: the newest so many dumps of each database.
    """

    count: int = 2
    window_days: int = 14
    daily: int = 7
    weekly: int = 4
    monthly: int = 12
    yearly: int = 0
    dumps: int = 8

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("Retention must keep at least 1 full backup (count).")
        if self.dumps < 1:
            raise ValueError("Retention must keep at least 1 dump of each database (dumps).")

    def as_text(self) -> str:
        """The rules as `read_retention` reads them."""
        return " ".join(f"{name}={getattr(self, name)}" for name in self.__slots__)


NUMBER_MAX = 36_500


def read_retention(text: str) -> Retention:
    """Read rules such as `count=2 window_days=14 monthly=12`; what is not named stays as it is by itself.

    Raises: ValueError naming the word that is wrong and what is allowed.
    """
    found: dict[str, int] = {}
    for word in text.replace(",", " ").split():
        name, _, value = word.partition("=")
        if name not in Retention.__slots__:
            raise ValueError(f"{word!r} names no rule. Use {', '.join(Retention.__slots__)}, each as name=number.")
        if name in found:
            raise ValueError(f"{name} is named twice. Name it once.")
        if not (value.isascii() and value.isdigit() and int(value) <= NUMBER_MAX):
            raise ValueError(f"{word!r} holds no number of backups or days. Use {name}=N, N from 0 to {NUMBER_MAX}.")
        found[name] = int(value)
    return Retention(**found)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which go, oldest first, and why each other one stays: rules by backup id."""

    expired: tuple[str, ...]
    kept: Mapping[str, tuple[str, ...]]


_CALENDAR: dict[str, Callable[[datetime], object]] = {
    "daily": lambda at: at.date(),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: at.year,
}


def choose_expired(
    backups: Sequence[Backup], rules: Retention, *, now: datetime, proven: Collection[str] = ()
) -> Choice:
    """Choose what may go. Only backups that are done are looked at; what was started and left is swept, not expired.

    An incremental backup keeps its parents. The log needed by what stays is the engine's business.

    Args:
        proven: backups that a drill restored with success; the newest of them stays whatever the rules say, so that
            damage which every newer one has does not cost the last good one.
    """
    done = sorted((one for one in backups if one.is_done), key=lambda one: (one.begun_at, one.id))
    kept: dict[str, list[str]] = {}
    for one, reason in _reasons(done, rules, now=now):
        kept.setdefault(one.id, []).append(reason)
    for one in [one for one in done if one.id in proven][-1:]:
        kept.setdefault(one.id, []).append("proven")
    _keep_parents(done, kept)
    expired = tuple(one.id for one in done if one.id not in kept)
    return Choice(expired, {name: tuple(reasons) for name, reasons in kept.items()})


def left_after(known: Sequence[Backup], expired: Collection[str]) -> list[Backup]:
    """The whole backups that would be left. Raises: RefusedError where that may not be: a hold, none, an orphan."""
    if held := [one for one in known if one.id in expired and one.hold]:
        raise RefusedError(f"Backup {held[0].id} is held: {held[0].hold}. Let it go first.")
    left = [one for one in known if one.is_done and one.id not in expired]
    if expired and not left:
        raise RefusedError("Nothing whole would be left. Take a backup first, then expire.")
    if orphans := [one for one in left if one.parent in expired]:
        raise RefusedError(f"{orphans[0].id} needs one of these. Expire it as well, or keep its parent.")
    return left


@dataclass(frozen=True, slots=True)
class NeededLog:
    """Which segments backups that stay need: all from `since` on, and of older ones only what makes each whole."""

    since: str
    spans: tuple[tuple[str, str], ...] = ()

    def keeps(self, segment: str) -> bool:
        """Whether a segment is needed; by its number, whatever its timeline."""
        number = segment[8:24]
        spans = any(first[8:] <= number <= last[8:] for first, last in self.spans)
        return not self.since or number >= self.since[8:] or spans


def choose_log(backups: Sequence[Backup], *, window_begin: datetime | None) -> NeededLog:
    """Choose which segments to keep beside these backups.

    Args:
        window_begin: from this moment on a recovery to any moment is wanted, which begins at the last full backup
            before it; older backups are restored to their own target only. None: from the oldest backup on.
    """
    done = sorted((one for one in backups if one.is_done and one.begin_wal), key=lambda one: one.begun_at)
    if not done:
        return NeededLog("")
    first = done[0]
    if window_begin is not None:
        full = [one for one in done if one.kind is BackupKind.FULL]
        before = [one for one in full if one.begun_at <= window_begin]
        first = before[-1] if before else first
    spans = [(one.begin_wal, _last_needed(one)) for one in done if one.begun_at < first.begun_at]
    return NeededLog(first.begin_wal, tuple(spans))


def _last_needed(backup: Backup) -> str:
    """The segment after the one that holds the target: the record that ends recovery may lie there."""
    if not backup.target_lsn:
        return backup.end_wal
    return next_segment(segment_at(backup.timeline, read_lsn(backup.target_lsn)))


def _reasons(done: Sequence[Backup], rules: Retention, *, now: datetime) -> list[tuple[Backup, str]]:
    full = [one for one in done if one.kind is BackupKind.FULL]
    found = [(one, f"hold: {one.hold}") for one in done if one.hold]
    found += [(one, "count") for one in full[-rules.count :]]
    begin = now - timedelta(days=rules.window_days)
    if rules.window_days > 0:
        found += [(one, "window") for one in done if one.begun_at >= begin]
        # a moment at the window's beginning is reached from the last full backup before it
        found += [(one, "window") for one in full if one.begun_at < begin][-1:]
    for name, bucket_of in _CALENDAR.items():
        newest = {bucket_of(one.begun_at): one for one in full}
        wanted = getattr(rules, name)
        found += [(one, name) for one in sorted(newest.values(), key=lambda one: one.begun_at)[-wanted:] if wanted]
    return found


def _keep_parents(done: Sequence[Backup], kept: dict[str, list[str]]) -> None:
    by_id = {one.id: one for one in done}
    for name in list(kept):
        one = by_id[name]
        while one.parent and one.parent in by_id:
            one = by_id[one.parent]
            kept.setdefault(one.id, []).append(f"parent of {name}")
