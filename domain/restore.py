"""A restore in an emergency as facts: which moment, from which backup, what is lost by it and what comes back.

One database of one application goes back, beside which the ledger and Prefect stay as they are. What is restored is
proven like a drill's (`domain/drill.py`), shown to a person, and takes the live database's name; the live one is kept.
Called by `restore` through `tasks/restore.py`; what it reads is `domain/restore_report.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from domain.backup import Backup, BackupKind, Target, at_lsn, at_point, at_time
from domain.canonical import digest_of
from domain.drill import Check, Outcome, read_check, say_seconds
from domain.errors import ConfigError, RefusedError
from domain.ledger import Entry
from domain.schema import applied_migrations, explain_unreadable
from domain.wal import read_lsn

NOUN = "restore"
KEY_LENGTH = 8
NAME_LENGTH_MAX = 63
BLOCKING_STEPS = ("space", "restore", "integrity", "recovery", "target", "fingerprint", "pages")
"""A failed check of these forbids to take over; what an application expects of its data is shown, and a person's to
judge: at an older moment its data are older, too."""

OPENING, CLOSING = "restore.begun", ("restore.completed", "restore.stopped")
AUTHORISING_KINDS = ("restore.granted",)

Act = Literal["restore", "undo", "remove"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asked for: a moment, a place in the log, a backup's own place, or as far as there is log."""

    kind: Literal["time", "lsn", "backup", "latest"]
    value: str = ""


def read_wanted(text: str, *, now: datetime) -> Wanted:
    """Read the parameter `to`.

    Raises: ConfigError for what is none, RefusedError for a moment that is still to come.
    """
    text = text.strip()
    kind, _, value = text.partition(":")
    if text == "latest":
        return Wanted("latest")
    if kind == "backup" and value.strip():
        return Wanted("backup", value.strip())
    if "/" in text:
        try:
            return Wanted("lsn", at_lsn(text).value)
        except ValueError as exc:
            raise ConfigError(f"to: {exc}") from exc
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ConfigError(
            f"to = {text[:60]!r} says no moment. Write a time with its zone (2026-01-31T12:00:00+00:00), a place in "
            "the log (16/B374D848), backup:ID (`slipway backup list`), or latest."
        ) from exc
    if moment.tzinfo is None:
        utc = moment.replace(tzinfo=UTC).isoformat()
        raise ConfigError(f"to = {text[:60]!r} names no time zone. If you mean UTC, write {utc}.")
    if moment > now:
        ahead = say_seconds((moment - now).total_seconds())
        raise RefusedError(f"to = {text[:60]!r} is {ahead} in the future; it is {_say(now)} now. Name a moment before.")
    return Wanted("time", moment.astimezone(UTC).isoformat())


@dataclass(frozen=True, slots=True)
class Reach:
    """Up to where the log is archived: the place, the moment, and the restore point there (empty: there is none)."""

    lsn: str
    at: datetime
    point: str = ""


@dataclass(frozen=True, slots=True)
class Course:
    """Where a restore goes and from which backup. `target` is None for the place that the backup itself names."""

    backup: str
    target: Target | None
    asked: str

    @property
    def words(self) -> str:
        return f"{self.target.kind} {self.target.value}" if self.target else f"backup {self.backup}"


def choose_course(wanted: Wanted, backups: Sequence[Backup], *, reach: Reach, asked: str, only: str = "") -> Course:
    """Choose the newest finished backup from before the moment; its log leads there.

    Args:
        only: begin with this backup, whatever is newer.

    Raises: RefusedError that names the nearest moment there is, ConfigError where `only` or the backup is unknown.
    """
    physical = (BackupKind.FULL, BackupKind.INCREMENTAL)
    done = sorted((one for one in backups if one.is_done and one.kind in physical), key=_ended)
    if not done:
        raise RefusedError("There is no finished backup to restore from. `slipway backup list` shows what there is.")
    if wanted.kind == "backup":
        return Course(_named(done, wanted.value).id, None, asked)
    allowed = [_named(done, only)] if only else done
    if wanted.kind == "latest":
        if not reach.point:
            raise RefusedError(
                f"The server does not bring its log into the archive now. The nearest moment is {_say(reach.at)}: "
                f"to={reach.at.astimezone(UTC).isoformat()}."
            )
        return Course(allowed[-1].id, at_point(reach.point), asked)
    return _choose_by_place(wanted, allowed, reach, asked)


def _choose_by_place(wanted: Wanted, allowed: Sequence[Backup], reach: Reach, asked: str) -> Course:
    oldest = allowed[0]
    if wanted.kind == "lsn":
        target, place = at_lsn(wanted.value), read_lsn(wanted.value)
        before = [one for one in allowed if one.end_lsn and read_lsn(one.end_lsn) <= place]
        is_beyond, nearest, first = place > read_lsn(reach.lsn), reach.lsn, oldest.end_lsn
    else:
        target, moment = at_time(datetime.fromisoformat(wanted.value)), datetime.fromisoformat(wanted.value)
        before = [one for one in allowed if _ended(one) <= moment]
        is_beyond, nearest = moment > reach.at, reach.at.astimezone(UTC).isoformat()
        first = _ended(oldest).astimezone(UTC).isoformat()
    if is_beyond:
        raise RefusedError(
            f"to={asked} lies behind the end of the archived log. The nearest place is to={nearest}. See "
            "`slipway backup status` why the log does not get on."
        )
    if not before:
        raise RefusedError(
            f"to={asked} lies before the end of the oldest backup that may be used ({oldest.id}). The nearest place "
            f"is to={first}."
        )
    return Course(before[-1].id, target, asked)


def _named(done: Sequence[Backup], name: str) -> Backup:
    for one in done:
        if one.id == name:
            return one
    known = ", ".join(one.id for one in done[-5:])
    raise ConfigError(f"No finished backup {name[:60]!r}. The newest are: {known}. `slipway backup list` shows all.")


def _ended(backup: Backup) -> datetime:
    return backup.ended_at or backup.begun_at


def _say(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class Database:
    """A database as the server has it. `identity` stays with it when it gets another name."""

    name: str
    identity: str
    size_bytes: int
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def restored_by(self) -> str:
        """The key of the restore that made it; empty where none did."""
        return str(self.facts.get("restored", ""))


@dataclass(frozen=True, slots=True)
class Databases:
    """What there is of one application's database: itself, loaded beside it, kept from before; by key."""

    live: Database | None = None
    beside: Mapping[str, Database] = field(default_factory=dict[str, Database])
    kept: Mapping[str, Database] = field(default_factory=dict[str, Database])

    def is_live(self, key: str) -> bool:
        """Whether what is live was put there by the restore of this key."""
        return self.live is not None and self.live.facts.get("live_since", "") == key

    @property
    def identity(self) -> str:
        """Of the live one; empty where there is none."""
        return self.live.identity if self.live else ""


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What a restore has left: its key, and where a database is beside a live one. Without a place: files."""

    key: str
    application: str = ""
    environment: str = ""


def database_name(application: str, environment: str) -> str:
    """The name of an application's database; neither part holds an underscore."""
    return f"{application}_{environment}"


def beside_name(application: str, environment: str, key: str) -> str:
    """The name of what is loaded beside. Raises: ConfigError where it is too long for PostgreSQL."""
    return _suffixed(application, environment, "restored", key)


def kept_name(application: str, environment: str, key: str) -> str:
    """The name of what was live before a restore. Raises: ConfigError where it is too long."""
    return _suffixed(application, environment, "before", key)


def _suffixed(application: str, environment: str, suffix: str, key: str) -> str:
    name = f"{database_name(application, environment)}_{suffix}_{key}"
    if len(name) > NAME_LENGTH_MAX:
        raise ConfigError(
            f"{name} is too long for PostgreSQL ({NAME_LENGTH_MAX}). Give the application a shorter name."
        )
    return name


@dataclass(frozen=True, slots=True)
class TableChange:
    """One table as it is now, and as it was at the target. None: there is no such table, or it can't be read.

    Attributes:
        lost: rows that are there now and not then; `back`: the other way round; `changed`: in both, otherwise. None
            where nobody looked row by row: no primary key, or too many rows.
        newest_now, newest_then: the newest time in columns that are filled by themselves when a row is written.
    """

    name: str
    rows_now: int | None
    rows_then: int | None
    is_same: bool = False
    lost: int | None = None
    back: int | None = None
    changed: int | None = None
    newest_now: str = ""
    newest_then: str = ""
    has_other_columns: bool = False
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A database now and at the target. `problem` says why now could not be looked at; empty where it could."""

    tables: tuple[TableChange, ...] = ()
    size_now: int = 0
    size_then: int = 0
    problem: str = ""

    @property
    def lost(self) -> int:
        """How many rows are lost, as far as is known; changed ones lose what they are now."""
        return sum((one.lost or 0) + (one.changed or 0) for one in self.tables)

    @property
    def back(self) -> int:
        return sum((one.back or 0) + (one.changed or 0) for one in self.tables)

    @property
    def is_counted(self) -> bool:
        """Whether every table that differs was looked at row by row."""
        return not self.problem and all(one.is_same or one.lost is not None for one in self.tables)

    def as_dict(self) -> dict[str, Any]:
        tables = [one.as_dict() for one in self.tables]
        return {"tables": tables, "size_now": self.size_now, "size_then": self.size_then, "problem": self.problem}


def read_comparison(value: Mapping[str, Any]) -> Comparison:
    """Rebuild a comparison from what `as_dict` wrote."""
    tables = tuple(TableChange(**one) for one in value["tables"])
    return Comparison(tables, int(value["size_now"]), int(value["size_then"]), str(value["problem"]))


def compare_tables(
    name: str,
    now: tuple[int, str, str] | None,
    then: tuple[int, str, str] | None,
    *,
    rows: tuple[Mapping[int, int], Mapping[int, int]] | None = None,
    has_other_columns: bool = False,
    problem: str = "",
) -> TableChange:
    """Compare one table: (rows, sum of their hashes, newest time) now and then, and where known each row's hash by
    its key's."""
    is_same = now is not None and then is not None and now[:2] == then[:2]
    lost = back = changed = None
    if is_same:
        lost = back = changed = 0
    elif rows is not None:
        here, there = rows
        lost, back = len(here.keys() - there.keys()), len(there.keys() - here.keys())
        changed = sum(1 for key in here.keys() & there.keys() if here[key] != there[key])
    elif not problem and (now is None or then is None):
        lost, back, changed = (now[0] if now else 0), (then[0] if then else 0), 0
    return TableChange(
        name,
        now[0] if now else None,
        then[0] if then else None,
        is_same,
        lost,
        back,
        changed,
        now[2] if now else "",
        then[2] if then else "",
        has_other_columns,
        problem,
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was restored and proven, before anybody is asked.

    Attributes:
        moment: of the last commit that it holds (ISO 8601); empty where nobody knows.
        digest: of its content.
        figures: seconds and bytes, by name.
    """

    course: Course
    checks: tuple[Check, ...]
    digest: str = ""
    reached: str = ""
    moment: str = ""
    rows: int = 0
    comparison: Comparison = Comparison()
    findings: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def blocking(self) -> tuple[Check, ...]:
        """What forbids to take it over."""
        return tuple(one for one in self.checks if one.outcome is Outcome.FAIL and one.step in BLOCKING_STEPS)

    @property
    def is_usable(self) -> bool:
        return bool(self.digest) and not self.blocking

    def as_dict(self) -> dict[str, Any]:
        target = self.course.target
        return {
            "course": [self.course.backup, [target.kind, target.value] if target else None, self.course.asked],
            "checks": [one.as_dict() for one in self.checks],
            "digest": self.digest,
            "reached": self.reached,
            "moment": self.moment,
            "rows": self.rows,
            "comparison": self.comparison.as_dict(),
            "findings": list(self.findings),
            "figures": dict(self.figures),
        }


def read_prepared(value: Mapping[str, Any]) -> Prepared:
    """Rebuild what `as_dict` wrote."""
    backup, target, asked = value["course"]
    return Prepared(
        Course(backup, Target(*target) if target else None, asked),
        tuple(read_check(one) for one in value["checks"]),
        value["digest"],
        value["reached"],
        value["moment"],
        int(value["rows"]),
        read_comparison(value["comparison"]),
        tuple(value["findings"]),
        dict(value["figures"]),
    )


@dataclass(frozen=True, slots=True)
class RestoreShown:
    """Everything that an approver is shown.

    Attributes:
        act: what is asked for; `kept` is the key of what comes back or goes, where it is not `restore`.
        live: the release that runs on the database; `identity` that of the live database, empty where there is none.
        migrations: those of the live release that the restored database lacks; they are applied to it again.
        unfit: why the live release can't run on it; empty where it can.
        log_bytes: how much the whole server has written since.
    """

    act: Act
    application: str
    environment: str
    prepared: Prepared
    live: str
    identity: str
    reason: str
    requester: str = ""
    kept: str = ""
    migrations: tuple[str, ...] = ()
    unfit: str = ""
    log_bytes: int = 0

    @property
    def hash(self) -> str:
        """What an approval is bound to: what comes and what goes. Not how many rows are lost: people go on writing
        while somebody reads, and the form says so."""
        return digest_of(
            {
                "act": self.act,
                "place": [self.application, self.environment],
                "course": self.prepared.as_dict()["course"],
                "checks": [[one.name, one.outcome.value] for one in self.prepared.checks],
                "digest": self.prepared.digest,
                "live": [self.live, self.identity],
                "kept": self.kept,
                "migrations": list(self.migrations),
                "unfit": self.unfit,
                "reason": self.reason,
                "requester": self.requester,
            }
        )


def judge_fitness(
    own: Sequence[str], entries: Sequence[Entry], *, moment: datetime | None
) -> tuple[tuple[str, ...], str]:
    """Say whether a release can run on a database as it was at a moment.

    Args:
        own: the release's migrations, in order.
        entries: those of `APPLYING_KINDS` of the place, oldest first.
        moment: None where nobody knows it; then nothing is said.

    Returns: the migrations that it lacks, and why the release can't run on what it has; empty where it can.
    """
    if moment is None:
        return (), ""
    then = applied_migrations([entry for entry in entries if entry.at <= moment])
    return tuple(name for name in own if name not in then), explain_unreadable(own, then)


def find_restore_authority(entries: Sequence[Entry], *, run: str, digest: str) -> str:
    """Say what lets a run exchange a database for this content; an empty text where nothing does.

    Args:
        entries: those of `AUTHORISING_KINDS` of the application and environment.
    """
    for entry in entries:
        if entry.kind == "restore.granted" and entry.event.run == run and entry.data.get("digest") == digest:
            return f"approved by {entry.event.actor} (entry {entry.seq})"
    return ""


def refuse_unauthorised_restore(authority: str, *, run: str, application: str, environment: str) -> None:
    """Raises: RefusedError where nothing in the ledger lets the run do this."""
    if not authority:
        raise RefusedError(
            f"Nothing in the ledger lets run {run} exchange the database of {application} in {environment}. Nothing "
            "was changed. Approve it at the gate of the flow `restore`."
        )


@dataclass(frozen=True, slots=True)
class OpenRestore:
    """A restore that began to change something and has no end yet."""

    run: str
    application: str
    environment: str
    act: str
    kept: str = ""


def open_restores(entries: Sequence[Entry]) -> list[OpenRestore]:
    """Find the restores without an end; `entries` are those of `OPENING` and `CLOSING`, oldest first."""
    pending: dict[str, OpenRestore] = {}
    for entry in entries:
        event = entry.event
        if entry.kind == OPENING:
            told = str(entry.data.get("act", "restore")), str(entry.data.get("kept", ""))
            pending[event.run] = OpenRestore(event.run, event.application, event.environment, *told)
        else:
            pending.pop(event.run, None)
    return list(pending.values())


def key_of(run: str) -> str:
    """The key of a run's restore, as it stands in databases' names."""
    return run.replace("-", "")[:KEY_LENGTH]
