"""A restore drill as facts: which backups it takes, what each step found, and what all of it proves.

A drill proves that a backup can be restored, by restoring it. Thirteen steps, in order; each check in them passes,
fails, or is unavailable. One failed check fails the drill; a needed check that was unavailable keeps it from passing:
what was not looked at is not proven. Called by `restore_drill`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from domain.backup import Backup, BackupKind, BackupState, Evidence, Target, WalState, at_lsn, at_point
from domain.canonical import digest_of, sha256_hex
from domain.fingerprint import Difference, Fingerprint, name_differences, read_fingerprint
from domain.verdict import Verdict
from domain.wal import read_lsn

STEPS = (
    "choice",
    "archive",
    "space",
    "restore",
    "integrity",
    "recovery",
    "target",
    "fingerprint",
    "pages",
    "expectations",
    "objectives",
    "tamper",
    "destruction",
)
"""In the order in which a drill takes them; every check is named `step.check`."""

OPTIONAL = frozenset(
    {
        "choice.older",
        "choice.cluster",
        "choice.ledger",
        "archive.content",
        "integrity.postgres",
        "pages.indexes",
        "expectations.suites",
        "tamper.result",
        "choice.objects",
        "expectations.references",
    }
)
"""Checks that some engines, servers or moments lack; without them a drill may still pass, and shows that they lack."""

INTERVAL_FACTOR = 1.5
SPACE_FACTOR = 1.2
CLOCK_SKEW = timedelta(minutes=5)
PAGE_HEADER_BYTES = 40
"""A place at the begin of a page of the log may be named with or without the page's header."""


class Outcome(StrEnum):
    """What a check found. Unavailable is no kind of passed: nobody looked."""

    PASS = "pass"
    FAIL = "fail"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a drill.

    Attributes:
        name: `step.check`.
        text: the key of the sentence about it, `drill.<text>`; `values` go into it.
    """

    name: str
    outcome: Outcome
    text: str
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = 0.0

    @property
    def step(self) -> str:
        return self.name.partition(".")[0]

    @property
    def is_needed(self) -> bool:
        return self.base_name not in OPTIONAL

    @property
    def base_name(self) -> str:
        """The name without the backup that it is about: `restore.files@older` is `restore.files`."""
        return self.name.partition("@")[0]

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "text": self.text,
            "values": dict(self.values),
            "seconds": round(self.seconds, 3),
        }


def read_check(value: Mapping[str, Any]) -> Check:
    """Rebuild a check from what `as_dict` wrote."""
    values = {str(name): str(said) for name, said in value["values"].items()}
    return Check(value["name"], Outcome(value["outcome"]), value["text"], values, float(value["seconds"]))


def passed(name: str, text: str, *, seconds: float = 0.0, **values: object) -> Check:
    return Check(name, Outcome.PASS, text, {key: str(value) for key, value in values.items()}, seconds)


def failed(name: str, text: str, *, seconds: float = 0.0, **values: object) -> Check:
    return Check(name, Outcome.FAIL, text, {key: str(value) for key, value in values.items()}, seconds)


def unavailable(name: str, reason: str, *, seconds: float = 0.0) -> Check:
    return Check(name, Outcome.UNAVAILABLE, "unavailable", {"reason": reason[:300]}, seconds)


@dataclass(frozen=True, slots=True)
class Objectives:
    """What is promised: back within `rto_s`, at most `rpo_s` lost, a backup every `interval_s`.

    A backup that was started so long ago (`unfinished_s`) and is not done was killed.
    """

    rto_s: int = 3600
    rpo_s: int = 900
    interval_s: int = 86_400
    unfinished_s: int = 3600
    window_days: int = 14


@dataclass(frozen=True, slots=True)
class Chosen:
    """The backups of a drill, as far as there are such."""

    newest: Backup | None
    older: Backup | None = None

    @property
    def backups(self) -> tuple[Backup, ...]:
        return tuple(one for one in (self.newest, self.older) if one is not None)


def choose_backups(backups: Sequence[Backup], *, seed: str, now: datetime, window_days: int) -> Chosen:
    """Choose the newest backup that is done, and one at random of the older ones inside the window.

    The same seed chooses the same. Dumps and copies of objects are proven otherwise.
    """
    done = sorted((one for one in backups if one.is_done and _is_physical(one)), key=lambda one: (one.begun_at, one.id))
    if not done:
        return Chosen(None)
    begin = now - timedelta(days=window_days)
    older = [one for one in done[:-1] if one.begun_at >= begin]
    return Chosen(done[-1], _pick(older, seed) if older else None)


def _pick(backups: Sequence[Backup], seed: str) -> Backup:
    return backups[int(sha256_hex(seed), 16) % len(backups)]


def check_choice(
    backups: Sequence[Backup], chosen: Chosen, *, now: datetime, objectives: Objectives, system_id: str = ""
) -> list[Check]:
    """Step 1. `system_id` is that of the server which is backed up; empty where it does not answer."""
    if chosen.newest is None:
        return [failed("choice.newest", "choice_none")]
    newest = chosen.newest
    age_s = (now - (newest.ended_at or newest.begun_at)).total_seconds()
    limit_s = INTERVAL_FACTOR * objectives.interval_s
    checks = [_check_unfinished(backups, newest, now=now, limit_s=objectives.unfinished_s)]
    if age_s < -CLOCK_SKEW.total_seconds():
        checks.append(failed("choice.age", "choice_future", backup=newest.id, ahead=say_seconds(-age_s)))
    elif age_s > limit_s:
        checks.append(
            failed("choice.age", "choice_stale", backup=newest.id, age=say_seconds(age_s), limit=say_seconds(limit_s))
        )
    else:
        checks.append(passed("choice.age", "choice_fresh", backup=newest.id, age=say_seconds(max(age_s, 0))))
    checks += _check_cluster(chosen, system_id)
    if chosen.older is None:
        checks.append(unavailable("choice.older", "one backup only"))
    else:
        checks.append(passed("choice.older", "choice_older", backup=chosen.older.id))
    return checks


def _check_unfinished(backups: Sequence[Backup], newest: Backup, *, now: datetime, limit_s: int) -> Check:
    unfinished = [one for one in backups if _is_physical(one) and not one.is_done and one.begun_at > newest.begun_at]
    if not unfinished:
        return passed("choice.newest", "choice_newest", backup=newest.id)
    last = max(unfinished, key=lambda one: one.begun_at)
    if last.state is BackupState.STARTED and (now - last.begun_at).total_seconds() < limit_s:
        return unavailable("choice.newest", f"backup {last.id} is under way, or was killed: run the drill again")
    return failed("choice.newest", "choice_unfinished", backup=last.id, since=f"{last.begun_at:%Y-%m-%d %H:%M}Z")


def _check_cluster(chosen: Chosen, system_id: str) -> list[Check]:
    strange = [one for one in chosen.backups if system_id and one.system_id and one.system_id != system_id]
    if strange:
        values: dict[str, Any] = {"backup": strange[0].id, "found": strange[0].system_id, "expected": system_id}
        return [failed("choice.cluster", "choice_cluster", **values)]
    if not system_id or not all(one.system_id for one in chosen.backups):
        return [unavailable("choice.cluster", "the server that is backed up does not answer")]
    return [passed("choice.cluster", "choice_same_cluster", expected=system_id)]


def _is_physical(backup: Backup) -> bool:
    return backup.kind in (BackupKind.FULL, BackupKind.DIFFERENTIAL, BackupKind.INCREMENTAL)


def check_archive(state: WalState, *, now: datetime, objectives: Objectives) -> list[Check]:
    """Step 2: no gap in the log since the oldest backup of the drill, its age, and the histories of its timelines."""
    checks: list[Check] = []
    if not state.segments:
        checks.append(failed("archive.gaps", "archive_empty"))
    elif state.gaps:
        first = state.gaps[0]
        checks.append(failed("archive.gaps", "archive_gap", first=first.first, last=first.last, count=len(state.gaps)))
    else:
        checks.append(passed("archive.gaps", "archive_whole", segments=state.segments, newest=state.newest))
    if state.missing_histories:
        checks.append(failed("archive.histories", "archive_history", names=", ".join(state.missing_histories[:5])))
    else:
        checks.append(passed("archive.histories", "archive_histories"))
    rpo_s = measure_rpo(state, now=now)
    if rpo_s is None:
        checks.append(unavailable("archive.age", "the server says nothing of its archiving"))
    elif rpo_s < -CLOCK_SKEW.total_seconds():
        checks.append(failed("archive.age", "archive_future", ahead=say_seconds(-rpo_s)))
    elif rpo_s > objectives.rpo_s:
        cause = state.failing or "–"
        limit = say_seconds(objectives.rpo_s)
        checks.append(failed("archive.age", "archive_old", age=say_seconds(rpo_s), limit=limit, cause=cause[:200]))
    else:
        checks.append(passed("archive.age", "archive_fresh", age=say_seconds(max(rpo_s, 0))))
    return checks


def measure_rpo(state: WalState, *, now: datetime) -> float | None:
    """How much, in seconds, would be lost at the most if the server were gone now; None where nobody knows."""
    if state.archived_at is None:
        return state.lag_s if state.waiting else None
    return max((now - state.archived_at).total_seconds(), state.lag_s)


def check_space(size_bytes: int, free_bytes: int) -> Check:
    """Step 3: room for the backup and a fifth more."""
    needed = int(SPACE_FACTOR * size_bytes)
    values: dict[str, Any] = {"needed": say_bytes(needed), "free": say_bytes(free_bytes)}
    return (passed if free_bytes >= needed else failed)(
        "space.free", "space_enough" if free_bytes >= needed else "space_short", **values
    )


def check_objects(evidence: Evidence) -> Check:
    """Step 5: every object against the SHA-256 that was recorded when the backup was made."""
    if evidence.damage:
        more = len(evidence.damage) - 3
        words = "; ".join(evidence.damage[:3]) + (f"; {more} more" if more > 0 else "")
        return failed("integrity.objects", "objects_damaged", damage=words[:500], backup=evidence.backup)
    if evidence.unavailable or not evidence.checked:
        return unavailable("integrity.objects", evidence.unavailable or "nothing was compared")
    return passed("integrity.objects", "objects_whole", count=evidence.checked, size=say_bytes(evidence.checked_bytes))


def check_log(evidence: Evidence) -> Check:
    """Step 2, the log's content: what recovery to any moment needs, and not only what this drill replays."""
    if evidence.damage:
        words = "; ".join(evidence.damage[:3])
        return failed("archive.content", "archive_damaged", count=len(evidence.damage), damage=words[:500])
    if evidence.unavailable or not evidence.checked:
        return unavailable("archive.content", evidence.unavailable or "nothing was compared")
    return passed("archive.content", "archive_read", count=evidence.checked, size=say_bytes(evidence.checked_bytes))


def named_target(backup: Backup, extra: Mapping[str, Any]) -> tuple[Target | None, Fingerprint | None]:
    """Where a backup is to be recovered to, and what has to be there then.

    The place at which the fingerprint was taken, by its restore point; else the place that was noted when the backup
    was made; None where there is neither: "as far as it goes" proves nothing.
    """
    try:
        known = read_fingerprint(extra["fingerprint"])
        return at_point(known.point), known
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    try:
        return (at_lsn(backup.target_lsn) if backup.target_lsn else None), None
    except ValueError:
        return None, None


def check_target(target: Target, expected_lsn: str, reached_lsn: str) -> Check:
    """Step 7: recovery came as far as it should, and not less. PostgreSQL would also start with less."""
    values: dict[str, Any] = {"target": f"{target.kind} {target.value}", "reached": reached_lsn or "–"}
    if not reached_lsn:
        return unavailable("target.reached", "the server does not say how far it has come")
    if expected_lsn and read_lsn(reached_lsn) < read_lsn(expected_lsn) - PAGE_HEADER_BYTES:
        return failed("target.reached", "target_missed", **values, expected=expected_lsn)
    return passed("target.reached", "target_reached", **values)


def check_fingerprint(known: Fingerprint | None, differences: Sequence[Difference], *, reason: str = "") -> Check:
    """Step 8: the content is the one that was backed up."""
    if known is None:
        return unavailable("fingerprint.content", reason or "none was taken with the backup")
    if differences:
        return failed("fingerprint.content", "fingerprint_differs", differences=name_differences(differences)[:600])
    return passed("fingerprint.content", "fingerprint_same", tables=len(known.tables), rows=known.rows)


def check_objectives(rto_s: float | None, rpo_s: float | None, objectives: Objectives) -> list[Check]:
    """Step 11. RTO is from the begin of the restore to the first good answer."""
    checks: list[Check] = []
    for noun, found, limit in (("rto", rto_s, objectives.rto_s), ("rpo", rpo_s, objectives.rpo_s)):
        name = f"objectives.{noun}"
        if found is None:
            checks.append(unavailable(name, "not measured: an earlier step did not pass"))
        else:
            is_kept = found <= limit
            values: dict[str, Any] = {"found": say_seconds(max(found, 0)), "limit": say_seconds(limit)}
            checks.append((passed if is_kept else failed)(name, f"{noun}_{'kept' if is_kept else 'missed'}", **values))
    return checks


class Damage(StrEnum):
    """How the weekly proof damages its copy of a backup; each must turn the drill red."""

    PAGE = "page"
    TRUNCATED = "truncated"
    MANIFEST = "manifest"


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill that has ended.

    Attributes:
        backups: what was restored, newest first, as ids.
        figures: `restore_s`, `recovery_s`, `checks_s`, `rto_s`, `rpo_s`, `size_bytes`, as far as measured.
        findings: what Great Expectations found, one a line.
    """

    run: str
    begun_at: datetime
    seconds: float
    engine: str
    backups: tuple[str, ...]
    checks: tuple[Check, ...]
    objectives: Objectives
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    findings: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return judge_drill(self.checks)

    def as_dict(self) -> dict[str, Any]:
        """The drill as JSON values: what is signed, kept beside the backup, and hashed into the ledger."""
        return {
            "format": 1,
            "run": self.run,
            "begun_at": self.begun_at.isoformat(),
            "seconds": round(self.seconds, 3),
            "engine": self.engine,
            "backups": list(self.backups),
            "verdict": self.verdict.value,
            "checks": [check.as_dict() for check in self.checks],
            "figures": {name: round(value, 3) for name, value in self.figures.items()},
            "objectives": {name: getattr(self.objectives, name) for name in Objectives.__slots__},
            "findings": list(self.findings),
        }

    @property
    def digest(self) -> str:
        return digest_of(self.as_dict())


def read_drill(value: Mapping[str, Any]) -> Drill:
    """Rebuild a drill from what `as_dict` wrote."""
    return Drill(
        run=value["run"],
        begun_at=datetime.fromisoformat(value["begun_at"]),
        seconds=float(value["seconds"]),
        engine=value["engine"],
        backups=tuple(value["backups"]),
        checks=tuple(read_check(check) for check in value["checks"]),
        objectives=Objectives(**value["objectives"]),
        figures=dict(value["figures"]),
        findings=tuple(value["findings"]),
    )


def judge_drill(checks: Sequence[Check]) -> Verdict:
    """One failed check is FAIL; a needed one that was unavailable, or a step without any, is UNCLEAR."""
    if any(check.outcome is Outcome.FAIL for check in checks):
        return Verdict.FAIL
    if any(check.outcome is Outcome.UNAVAILABLE and check.is_needed for check in checks):
        return Verdict.UNCLEAR
    return Verdict.PASS if {check.step for check in checks} == set(STEPS) else Verdict.UNCLEAR


def fill_steps(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Put the checks into the order of the steps; a step without one says that it was not reached."""
    there = {check.step for check in checks}
    missing = [
        unavailable(f"{step}.reached", "not reached: an earlier step did not pass")
        for step in STEPS
        if step not in there
    ]
    return tuple(sorted([*checks, *missing], key=lambda check: STEPS.index(check.step)))


def step_outcome(checks: Sequence[Check], step: str, *, optional: Collection[str] = OPTIONAL) -> Outcome:
    """The worst of a step's checks; passed only where one passed and none is missing but `optional` ones."""
    own = [check for check in checks if check.step == step]
    if any(check.outcome is Outcome.FAIL for check in own):
        return Outcome.FAIL
    lacking = [check for check in own if check.outcome is Outcome.UNAVAILABLE]
    if any(check.base_name not in optional for check in lacking) or len(lacking) == len(own):
        return Outcome.UNAVAILABLE
    return Outcome.PASS


def is_overdue(last: datetime | None, *, since: datetime, now: datetime, interval_s: int) -> bool:
    """Whether a drill should have ended by now and did not. `since`: when there was first something to drill."""
    reference = last or since
    return (now - reference).total_seconds() > INTERVAL_FACTOR * interval_s


def say_seconds(seconds: float) -> str:
    """Write a span for people: `4.2 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if abs(seconds) < limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{seconds / 86_400:.3g} d"


def say_bytes(size: int) -> str:
    """Write a size for people: `1.5 GB`."""
    for divisor, unit in ((1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")):
        if abs(size) >= divisor:
            return f"{size / divisor:.3g} {unit}"
    return f"{size} B"
