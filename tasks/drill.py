"""The steps of a restore drill: each looks at one thing, or does one, and says what it found as checks.

Called by `restore_drill`; their order is the flow's. What a step finds bad is a failed check and never an
error; what it could not look at is unavailable. Nothing here is stored by Prefect: a scratch server does not survive
its run, so a step that runs again has to look again.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from blocks.world import World, open_world
from domain.backup import Backup, Evidence, Target
from domain.canonical import digest_of
from domain.catalogue import say
from domain.drill import (
    Check,
    Damage,
    Drill,
    Objectives,
    Outcome,
    check_archive,
    check_choice,
    check_fingerprint,
    check_log,
    check_objects,
    check_space,
    check_target,
    choose_backups,
    failed,
    fill_steps,
    is_overdue,
    measure_rpo,
    named_target,
    passed,
    unavailable,
)
from domain.drill_records import Recorded, check_records
from domain.drill_report import deciding_checks, explain_drill, name_verdict
from domain.errors import ConfigError, InvariantError, SlipwayError, TransientError
from domain.expectations import read_suite
from domain.fingerprint import compare_fingerprints
from domain.ledger import verify_chain
from domain.ports_drill import Findings
from domain.verdict import Verdict
from tasks.approval import read_live
from tasks.data import PRODUCTION, read_data
from tasks.incident import notify, open_incident
from tasks.instances import find_manifest
from tasks.recording import Subject, effect, effect_task, reading_task, record

LIMIT_S = 6 * 3600.0
EXPECTATIONS_LIMIT_S = 900.0
TAMPER_EVERY = timedelta(days=7)
_ATTEMPTS_MAX, _PAUSE_S = 3, 5.0
_TREND = 120
_RECORDS = 10_000
LOG_BYTES_MAX = 2 << 30


@dataclass(frozen=True, slots=True)
class Looked:
    """Which backups are drilled, as ids; empty where there is no such. `since`: the first segment that they need."""

    checks: tuple[Check, ...]
    newest: str = ""
    older: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that is a server now, or not: see the checks. `damage` is what was done to it on purpose; `evidence`
    what its engine compared before it laid anything out; `lsn` how far it came, `last_commit_at` (ISO 8601) the last
    commit that it has."""

    checks: tuple[Check, ...]
    figures: dict[str, float] = field(default_factory=dict[str, float])
    is_running: bool = False
    damage: str = ""
    evidence: Evidence | None = None
    lsn: str = ""
    last_commit_at: str = ""


@reading_task
def look_at_backups(run: str, seed: str, objectives: Objectives) -> Looked:
    """Step 1: choose the backups, and compare what the store holds with what the ledger has."""
    world = open_world()
    engine, now = world.backup_engine("read"), world.clock.now()
    begun = time.monotonic()
    try:
        backups = list(engine.backups())
    except ConfigError as exc:
        return Looked((failed("choice.newest", "recovery_failed", error=str(exc)[:300]),))
    chosen = choose_backups(backups, seed=seed, now=now, window_days=objectives.window_days)
    checks = check_choice(backups, chosen, now=now, objectives=objectives, system_id=_system_id(world))
    recorded, expired = _read_records(world, engine.name), _read_expired(world)
    checks += check_records(chosen, backups, recorded, expired, now=now, objectives=objectives)
    checks[0] = _timed(checks[0], time.monotonic() - begun)
    if chosen.newest is None:
        return Looked(tuple(checks))
    older = chosen.older.id if chosen.older else ""
    return Looked(tuple(checks), chosen.newest.id, older, min(one.begin_wal for one in chosen.backups))


@reading_task
def look_at_archive(run: str, since: str, objectives: Objectives) -> tuple[tuple[Check, ...], float | None]:
    """Step 2: whether the log goes on from there without a gap; returns checks and the RPO."""
    world = open_world()
    begun, now = time.monotonic(), world.clock.now()
    state = world.backup_engine("read").wal_state(since=since)
    checks = check_archive(state, now=now, objectives=objectives)
    checks[0] = _timed(checks[0], time.monotonic() - begun)
    return tuple(checks), measure_rpo(state, now=now)


@reading_task
def prove_log(run: str, seed: str) -> Check:
    """Step 2, the log's content: read all that is kept, as far as is bounded, and compare it with what was recorded."""
    begun = time.monotonic()
    evidence = open_world().backup_engine("read").verify_log(since="", seed=seed, bytes_max=LOG_BYTES_MAX)
    return _timed(check_log(evidence), time.monotonic() - begun)


@reading_task
def prove_ledger(run: str) -> Check:
    """Step 5, the ledger: what it says of backups is worth as much as its chain."""
    begun = time.monotonic()
    report = verify_chain(open_world().ledger.links())
    if report.broken_at is not None:
        return failed("integrity.ledger", "ledger_broken", reason=report.reason[:300])
    return passed("integrity.ledger", "ledger_holds", seconds=time.monotonic() - begun, count=report.entries)


@reading_task
def prove_last_result(run: str) -> Check:
    """Step 12, the last drill's result: still as it was signed, and as the ledger has it."""
    world, name = open_world(), "tamper.result"
    last = next(iter(world.ledger.entries(kinds=["drill.completed"], newest_first=True, limit=1)), None)
    if last is None or not last.event.data.get("signature"):
        return unavailable(name, "no earlier result was kept")
    try:
        kept = world.drill_results.verify(last.event.run)
    except (InvariantError, ConfigError) as exc:
        return failed(name, "tamper_result_bad", error=str(exc)[:300])
    if digest_of(dict(kept)) != last.event.data.get("digest"):
        error = f"The result of drill {last.event.run} is not the one that the ledger has. Find out who wrote it."
        return failed(name, "tamper_result_bad", error=error)
    return passed(name, "tamper_result")


@reading_task
def restore_scratch(run: str, backup: str, name: str, damage: str = "", target: Target | None = None) -> Restored:
    """Steps 3, 4, 6 and 7: lay a backup out on a scratch server, and let it recover to the place that it names.

    Args:
        target: recover to this place instead.

    Effect: a server with its files on this machine, until `destroy_scratch`. May be repeated.
    """
    world = open_world()
    known = _find(world, backup)
    space = check_space(known.size_bytes, world.scratch.free_bytes())
    if space.outcome is not Outcome.PASS:
        return Restored((space,))
    for attempt in range(1, _ATTEMPTS_MAX + 1):
        try:
            restored = _restore(world, known, name, damage, target)
        except TransientError as exc:
            if attempt == _ATTEMPTS_MAX:
                return Restored((_space_now(world, known, name, space), unavailable("restore.files", str(exc))))
            world.clock.sleep(_PAUSE_S)
            continue
        except (SlipwayError, OSError) as exc:
            return Restored((space, failed("restore.files", "restore_failed", backup=backup, error=str(exc)[:400])))
        return replace(restored, checks=(space, *restored.checks))
    raise AssertionError("unreachable")


def _space_now(world: World, backup: Backup, name: str, before: Check) -> Check:
    """A tool that did not end well may have filled the disk: then that is what is said."""
    world.scratch.destroy(name)
    now = check_space(backup.size_bytes, world.scratch.free_bytes())
    return before if now.outcome is Outcome.PASS else now


def _restore(world: World, backup: Backup, name: str, damage: str, asked: Target | None) -> Restored:
    engine, scratch = world.backup_engine("read"), world.scratch
    manifest = engine.manifest(backup.id)
    target, known = (asked, None) if asked else named_target(backup, manifest.extra if manifest else {})
    if target is None:
        return Restored((failed("target.reached", "target_none"),))
    begun = time.monotonic()
    directory = scratch.prepare(name)
    with engine.restore(backup.id, target, directory, user=scratch.user, limit_s=LIMIT_S) as recovery:
        restore_s = time.monotonic() - begun
        checks = [passed("restore.files", "restored", seconds=restore_s, backup=backup.id), scratch.check_backup(name)]
        done = scratch.damage(name, Damage(damage)) if damage else ""
        figures = {"size_bytes": float(backup.size_bytes), "restore_s": restore_s}
        proven = recovery.evidence
        try:
            recovered = scratch.start(name, recovery, limit_s=LIMIT_S)
        except (SlipwayError, OSError) as exc:
            checks.append(failed("recovery.server", "recovery_failed", error=str(exc)[:400]))
            return Restored(tuple(checks), figures, damage=done, evidence=proven)
    checks.append(passed("recovery.server", "recovered", seconds=recovered.seconds))
    expected = known.lsn if known else "" if asked else backup.target_lsn
    checks.append(check_target(target, expected, recovered.lsn))
    figures |= {"recovery_s": recovered.seconds, "rto_s": time.monotonic() - begun}
    return Restored(
        tuple(checks),
        figures,
        is_running=True,
        damage=done,
        evidence=proven,
        lsn=recovered.lsn,
        last_commit_at=recovered.last_commit_at,
    )


@reading_task
def prove_objects(run: str, backup: str, expected_sha256: str = "", known: Evidence | None = None) -> Check:
    """Step 5: compare every object of a backup with what was recorded; the ledger has the record's own hash.

    `known` is what the engine compared before it restored: with the right record nothing has to be read again.
    """
    world = open_world()
    begun = time.monotonic()
    expected_sha256 = expected_sha256 or _expected(world, backup)
    if known and known.is_intact and known.manifest_sha256 and expected_sha256 in ("", known.manifest_sha256):
        return check_objects(known)
    try:
        evidence = world.backup_engine("read").verify(backup, expected_sha256=expected_sha256)
    except TransientError as exc:
        return unavailable("integrity.objects", str(exc))
    except (SlipwayError, OSError) as exc:
        return failed("integrity.objects", "objects_damaged", backup=backup, damage=str(exc)[:400])
    return _timed(check_objects(evidence), time.monotonic() - begun)


@reading_task
def prove_content(run: str, backup: str, name: str) -> Check:
    """Step 8: hash what was restored, and compare it with what was hashed at the same place of the log."""
    world = open_world()
    begun = time.monotonic()
    manifest = world.backup_engine("read").manifest(backup)
    extra = manifest.extra if manifest else {}
    _, known = named_target(_find(world, backup), extra)
    try:
        found = world.scratch.fingerprint(name)
    except SlipwayError as exc:
        return failed("fingerprint.content", "fingerprint_unreadable", error=str(exc)[:400])
    differences = compare_fingerprints(known, found) if known else []
    reason = str(extra.get("fingerprint_unavailable", ""))
    return _timed(check_fingerprint(known, differences, reason=reason), time.monotonic() - begun)


@reading_task
def prove_indexes(run: str, name: str) -> Check:
    """Step 9, first half: every index against its table, where amcheck exists."""
    return open_world().scratch.check_indexes(name)


@reading_task
def prove_rules(run: str, name: str) -> tuple[Check, ...]:
    """Step 10, what the database itself promises of its data: foreign keys, constraints, sequences."""
    return tuple(open_world().scratch.check_rules(name))


@reading_task
def prove_pages(run: str, name: str) -> Check:
    """Step 9, second half: stop the server in good order, and read every page of it. Effect: it is stopped."""
    return open_world().scratch.check_pages(name)


@reading_task
def await_data(run: str, name: str) -> tuple[Check, ...]:
    """Start what step 10 needs while the backup is still being restored, where an application names suites.

    Effect: a process, until `destroy_scratch`. What can't be read now says so in step 10.
    """
    world, count = open_world(), 0
    for application in world.applications.list():
        with suppress(SlipwayError):
            count += bool(_read_suites(world, application.name, PRODUCTION))
    if count:
        world.scratch.await_expectations(name)
    return ()


@reading_task
def prove_data(run: str, name: str) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Step 10: the suites that the applications in production keep, on their restored databases; returns checks and
    findings."""
    world = open_world()
    checks: list[Check] = []
    lines: list[str] = []
    for application in world.applications.list():
        found = _expect(world, name, application.name, PRODUCTION)
        checks += found.checks
        lines += found.lines
    if not checks:
        checks.append(
            unavailable("expectations.suites", "no application in production names any ([data] in slipway.toml)")
        )
    return tuple(checks), tuple(lines)


@reading_task
def prove_data_of(run: str, name: str, application: str, environment: str) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """The suites of one application's live release, on its restored database; returns checks and findings."""
    found = _expect(open_world(), name, application, environment)
    if found.checks:
        return tuple(found.checks), tuple(found.lines)
    return (unavailable("expectations.suites", "the live release names none ([data] in slipway.toml)"),), ()


def _expect(world: World, name: str, application: str, environment: str) -> Findings:
    try:
        suites = _read_suites(world, application, environment)
    except SlipwayError as exc:
        return Findings((unavailable(f"expectations.{application}", str(exc)),))
    if not suites:
        return Findings(())
    return world.scratch.expect(name, f"{application}_{environment}", suites, limit_s=EXPECTATIONS_LIMIT_S)


def _read_suites(world: World, application: str, environment: str) -> Mapping[str, Any]:
    """The suites of the release that is live, by application and file."""
    data, live = read_data(application, environment), read_live.fn(application, environment)
    if data is None:
        return {}
    site = world.environment(environment).primary.name
    manifest = find_manifest(application, live)
    target = world.target(environment, site)
    return {
        f"{application}.{path.rpartition('/')[2].removesuffix('.json')}": read_suite(
            target.read_file(manifest, path), file=path
        )
        for path in data.expectations
    }


@reading_task
def destroy_scratch(run: str, name: str) -> Check:
    """Step 13: end the server and remove its files. Effect: may be repeated."""
    begun = time.monotonic()
    try:
        open_world().scratch.destroy(name)
    except (SlipwayError, OSError) as exc:
        return failed("destruction.server", "destruction_failed", error=str(exc)[:300])
    return passed("destruction.server", "destroyed", seconds=time.monotonic() - begun)


@reading_task
def destroy_leftovers(run: str) -> tuple[Check, ...]:
    """Destroy what drills that were killed left: only one drill runs at a time. Effect: servers and files go."""
    scratch = open_world().scratch
    names = [name for name in scratch.leftovers() if name.startswith("drill-")]
    for name in names:
        scratch.destroy(name)
    return ()


@reading_task
def read_tamper(run: str) -> str:
    """When damage was last noticed on purpose; empty where that is more than a week ago."""
    world = open_world()
    for entry in world.ledger.entries(kinds=["drill.tampered"], newest_first=True, limit=1):
        if world.clock.now() - entry.at < TAMPER_EVERY and entry.event.data.get("noticed") == "yes":
            return f"{entry.at:%Y-%m-%d}"
    return ""


@effect_task
def record_tamper(run: str, kind: str, damage: str, found_by: str) -> Check:
    """Write down whether a drill noticed what was damaged on purpose. Effect: one entry."""
    noticed = "yes" if found_by else "no"
    record(Subject(run, ""), "drill.tampered", detail=kind, damage=damage, noticed=noticed, found_by=found_by)
    if found_by:
        return passed(f"tamper.{kind}", "tamper_found", damage=damage, check=found_by)
    return failed(f"tamper.{kind}", "tamper_missed", damage=damage)


@reading_task
def measure_time(run: str) -> datetime:
    """The time, as this installation's clock has it."""
    return open_world().clock.now()


@effect_task
def conclude_drill(
    run: str,
    begun_at: datetime,
    backups: tuple[str, ...],
    checks: tuple[Check, ...],
    figures: dict[str, float],
    findings: tuple[str, ...],
    objectives: Objectives,
) -> dict[str, Any]:
    """Sign the result, keep it beside the backups and in the ledger, and publish the report.

    Effect: an object, an entry, an artifact; where it failed an incident, where it proved nothing a message.
    """
    world = open_world()
    seconds = (world.clock.now() - begun_at).total_seconds()
    engine = world.backup_engine("read").name
    drill = Drill(run, begun_at, seconds, engine, backups, fill_steps(checks), objectives, figures, findings)
    signed = _keep(world, drill)
    deciding = deciding_checks(drill)
    with effect(Subject(run, ""), "drill", "completed", verdict=drill.verdict.value, backups=list(backups)) as outcome:
        outcome.update(seconds=round(seconds, 3), figures={k: round(v, 3) for k, v in figures.items()})
        outcome.update(checks=deciding[:40], **signed)
    if drill.verdict is Verdict.PASS:
        for backup in backups:
            record(Subject(run, ""), "backup.proven", detail=backup, backup=backup, drill=run)
    trend, lost = read_trend.fn(run), read_trend.fn(run, "rpo_s")
    digest = signed.get("digest", "")
    words = explain_drill(drill, trend=trend, lost=lost, digest=digest, language=world.language)
    _publish(world, drill, words)
    _tell(world, drill, ", ".join(deciding[:8]), words)
    return {"verdict": drill.verdict.value, "checks": deciding, **signed}


def _keep(world: World, drill: Drill) -> dict[str, str]:
    """Sign and keep; a store that is away takes nothing from what was found, and the ledger has the digest then."""
    try:
        return dict(world.drill_results.keep(drill.run, drill.as_dict()))
    except SlipwayError as exc:
        return {"digest": drill.digest, "not_kept": str(exc)[:300]}


def _publish(world: World, drill: Drill, words: str) -> None:
    verdict = name_verdict(drill.verdict, language=world.language)
    description = say("drill.description", language=world.language, verdict=verdict, seconds=f"{drill.seconds:.0f} s")
    with suppress(TransientError):  # the ledger has it all
        world.screen.report("restore-drill", markdown=words, description=description)


def _tell(world: World, drill: Drill, deciding: str, words: str) -> None:
    if drill.verdict is Verdict.FAIL:
        title = say("drill.incident_failed", language=world.language, checks=deciding)
        open_incident.fn(drill.run, "", "", "", "P1", title, words.partition("\n## ")[0])
    elif drill.verdict is Verdict.UNCLEAR:
        notify.fn(drill.run, "", "", "", "drill.unclear", {"checks": deciding, "run": drill.run})


@reading_task
def open_overdue_drill() -> int:
    """Open an incident where no drill has ended for longer than it should: one a day. Effect: at most one entry.

    Returns: the incident's number; 0 where all is well, or there is nothing to drill yet.
    """
    world = open_world()
    now = world.clock.now()
    first = next(iter(world.ledger.entries(kinds=["backup.taken"], limit=1)), None)
    if first is None:
        return 0
    last = next(iter(world.ledger.entries(kinds=["drill.completed"], newest_first=True, limit=1)), None)
    if not is_overdue(last.at if last else None, since=first.at, now=now, interval_s=Objectives().interval_s):
        return 0
    since = f"{(last or first).at:%Y-%m-%d %H:%M} UTC"
    title = say("drill.incident_missed", language=world.language, since=since)
    # in the name of the day: reconcile looks every five minutes
    return open_incident.fn(f"drill-overdue-{now:%Y-%m-%d}", "", "", "", "P2", title, title)


@reading_task
def read_trend(run: str, figure: str = "rto_s") -> list[tuple[datetime, float]]:
    """When drills ended, and one of their figures (by itself after how many seconds their server was back), oldest
    first."""
    entries = open_world().ledger.entries(kinds=["drill.completed"], newest_first=True, limit=_TREND)
    found = [(entry.at, entry.event.data.get("figures", {}).get(figure)) for entry in reversed(entries)]
    return [(at, float(seconds)) for at, seconds in found if seconds is not None]


def _expected(world: World, backup: str) -> str:
    """The hash of a backup's manifest as the ledger has it; empty where it never heard of it."""
    for entry in world.ledger.entries(kinds=["backup.taken"], newest_first=True, limit=10_000):
        if backup in (entry.event.data.get("id"), entry.event.data.get("backup")):
            return str(entry.event.data.get("manifest_sha256", ""))
    return ""


def _read_records(world: World, engine: str) -> dict[str, Recorded]:
    """Every backup of an engine that the ledger knows, by id."""
    found: dict[str, Recorded] = {}
    for entry in world.ledger.entries(kinds=["backup.taken"], newest_first=True, limit=_RECORDS):
        data = entry.event.data
        if data.get("id") and data.get("engine", engine) == engine:
            found[str(data["id"])] = Recorded(entry.at, str(data.get("manifest_sha256", "")))
    return found


def _read_expired(world: World) -> set[str]:
    """What was removed on purpose, or was to be: a flow that was killed there said so before."""
    kinds = ["retention.begun", "retention.applied", "leftovers.begun", "leftovers.swept"]
    entries = world.ledger.entries(kinds=kinds, newest_first=True, limit=_RECORDS)
    return {str(id) for one in entries for part in ("expired", "backups") for id in one.event.data.get(part) or ()}


def _system_id(world: World) -> str:
    try:
        return world.fingerprints.system_id()
    except (TransientError, ConfigError):
        return ""


def _find(world: World, backup: str) -> Backup:
    for one in world.backup_engine("read").backups():
        if one.id == backup:
            return one
    raise InvariantError(f"Backup {backup} is not there any more. Look who removed it, and run the drill again.")


def _timed(check: Check, seconds: float) -> Check:
    return Check(check.name, check.outcome, check.text, check.values, seconds)
