"""The steps of a restore in an emergency: where to, what comes of it, and each effect on the live database.

Called by `restore` and, for a run that died, by `reconcile`; their order is `flows/taking_over.py`'s. Before anybody is
asked nothing is changed but the scratch server and files of ours; each effect asks the ledger first what lets it.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from blocks.world import World, open_world
from domain.canonical import canonical_json, digest_of
from domain.catalogue import say
from domain.drill import Check, check_space, failed, passed, unavailable
from domain.errors import ConfigError, RefusedError, SlipwayError, TransientError
from domain.restore import (
    AUTHORISING_KINDS,
    CLOSING,
    NOUN,
    OPENING,
    Comparison,
    Course,
    Databases,
    OpenRestore,
    Prepared,
    Reach,
    RestoreShown,
    choose_course,
    find_restore_authority,
    judge_fitness,
    key_of,
    open_restores,
    read_prepared,
    read_wanted,
    refuse_unauthorised_restore,
)
from domain.restore_report import explain_preview, explain_restored
from domain.schema import APPLYING_KINDS
from domain.wal import SEGMENT_BYTES, read_lsn, write_lsn
from tasks.approval import read_live
from tasks.incident import open_incident
from tasks.instances import PROBE_PAUSE_S, find_manifest, read_application_file
from tasks.question import weigh_question
from tasks.recording import Subject, effect, effect_task, reading_task, record

SCRATCH = "restore-"
HEALTH_LIMIT_S = 60
FLOW = "restore"


def scratch_name(run: str) -> str:
    """The name of a restore's scratch server: drills leave it alone."""
    return f"{SCRATCH}{key_of(run)}"


# before anybody is asked ----------------------------------------------------------------------------------------------


@effect_task
def decide_course(run: str, application: str, environment: str, to: str, backup: str) -> Course:
    """Fix where to and from which backup: decided once, also for a run that starts again.

    Effect: a restore point in the log, so that all up to now is archived. Raises: RefusedError, ConfigError that name
    what is possible instead.
    """
    world = open_world()
    wanted = read_wanted(to, now=world.clock.now())
    engine = world.backup_engine("read")
    reach = _measure_reach(world, run)
    course = choose_course(wanted, list(engine.backups()), reach=reach, asked=to.strip(), only=backup.strip())
    subject = Subject(run, application, environment)
    record(subject, "restore.planned", backup=course.backup, target=course.words, asked=to)
    return course


def _measure_reach(world: World, run: str) -> Reach:
    """Up to where the log is archived: up to now, where the server answers; else as far as it came."""
    with suppress(TransientError):
        return world.restorations.mark(f"slipway-restore-{key_of(run)}")
    state = world.backup_engine("read").wal_state()
    if not state.newest or state.archived_at is None:
        raise RefusedError("The archive holds no segment of the log. `slipway backup status` says why.")
    number = int(state.newest[8:16], 16) * (0x1_0000_0000 // SEGMENT_BYTES) + int(state.newest[16:], 16)
    return Reach(write_lsn(number * SEGMENT_BYTES), state.archived_at)


@reading_task
def read_prepared_restore(run: str) -> Prepared | None:
    """What was restored and proven before this process began; None where nothing whole is there."""
    facts = open_world().restorations.recall(key_of(run))
    return read_prepared(facts) if facts else None


@reading_task
def extract_database(run: str, application: str, environment: str) -> tuple[str, int, Comparison, tuple[Check, ...]]:
    """Take the database out of the scratch server, and compare it with the live one.

    Effect: files of ours. Returns: the content's digest and rows, the comparison, and the checks about it.
    """
    world, begun = open_world(), time.monotonic()
    source = world.scratch.address(scratch_name(run))
    try:
        content = world.restorations.extract(application, environment, source=source, key=key_of(run))
        comparison = world.restorations.compare(application, environment, source=source)
    except SlipwayError as exc:
        return "", 0, Comparison(), (failed("restore.database", "database_not_taken", error=str(exc)[:400]),)
    seconds = time.monotonic() - begun
    check = passed("restore.database", "database_taken", seconds=seconds, rows=content.rows, tables=len(content.tables))
    space = replace(check_space(comparison.size_then, world.scratch.free_bytes()), name="space.takeover")
    return digest_of(content.as_dict()), content.rows, comparison, (check, space)


@reading_task
def remember_prepared(run: str, prepared: Prepared) -> None:
    """Keep what was found beside what was extracted: both are whole then. Effect: a file."""
    open_world().restorations.remember(key_of(run), prepared.as_dict())


@effect_task
def settle_prepared(run: str) -> str:
    """Fix what this run asks about, as JSON. Effect: none; kept: where it has to be restored aside once more, nothing
    else is asked about, and what is loaded is compared with this."""
    facts = open_world().restorations.recall(key_of(run))
    if facts is None:
        raise ConfigError("What was restored aside is not there any more. Start `restore` again.")
    return write_prepared(read_prepared(facts))


@effect_task
def compare_kept(run: str, application: str, environment: str, kept: str) -> Prepared:
    """What comes back with a database that was kept, and what is lost; looked at once. Raises: ConfigError."""
    world = open_world()
    found = world.restorations.find(application, environment)
    one = found.kept.get(kept)
    if one is None:
        known = ", ".join(sorted(found.kept)) or "none"
        raise ConfigError(f"Nothing is kept as {kept[:40]!r} of {application} in {environment}. There are: {known}.")
    comparison = world.restorations.compare(application, environment, kept=kept)
    rows = sum(table.rows_then or 0 for table in comparison.tables)
    since = str(one.facts.get("kept_at", ""))
    return Prepared(Course(kept, None, kept), (), one.identity, moment=since, rows=rows, comparison=comparison)


def check_course_content(run: str, course: Course) -> Check:
    """Where nothing was hashed at the very moment, say so: recovery to a named place is the proof then."""
    return unavailable(
        "fingerprint.content", f"none was taken at {course.words}: the content is proven by the log that led there"
    )


@effect_task
def show_restore(
    run: str,
    act: str,
    application: str,
    environment: str,
    prepared: str,
    kept: str,
    why: tuple[str, str],
    turn: str,
) -> RestoreShown:
    """Collect what an approver is to be shown, as it is now. Effect: none; kept, since the answer is bound to it.

    Args:
        prepared: as JSON: Prefect knows a task by its arguments, and equal objects can look different to it.
    """
    return look_at_restore(act, application, environment, read_prepared(json.loads(prepared)), kept, why)


def write_prepared(prepared: Prepared) -> str:
    """Write what was prepared as one text, the same each time."""
    return canonical_json(prepared.as_dict())


def look_at_restore(
    act: str, application: str, environment: str, prepared: Prepared, kept: str, why: tuple[str, str]
) -> RestoreShown:
    """Read everything that an approval of a restore binds. `why`: the reason, and who asks."""
    world = open_world()
    live = read_live.fn(application, environment)
    migrations, unfit = _judge_live(application, environment, live, prepared) if act == "restore" else ((), "")
    return RestoreShown(
        act=act,  # pyright: ignore[reportArgumentType] - Prefect has checked it
        application=application,
        environment=environment,
        prepared=prepared,
        live=live,
        identity=world.restorations.find(application, environment).identity,
        reason=why[0][:500],
        requester=why[1],
        kept=kept,
        migrations=migrations,
        unfit=unfit,
        log_bytes=_measure_log(world, prepared.reached),
    )


def _measure_log(world: World, since: str) -> int:
    """How much the server has written since a place; 0 where nobody knows."""
    with suppress(TransientError, ValueError):
        return max(0, read_lsn(world.restorations.position()) - read_lsn(since))
    return 0


def _judge_live(application: str, environment: str, live: str, prepared: Prepared) -> tuple[tuple[str, ...], str]:
    if not live:
        return (), ""
    entries = open_world().ledger.entries(
        kinds=APPLYING_KINDS, application=application, environment=environment, limit=100_000
    )
    moment = datetime.fromisoformat(prepared.moment) if prepared.moment else None
    return judge_fitness(find_manifest(application, live).migrations, entries, moment=moment)


@effect_task
def weigh_restore(
    run: str,
    act: str,
    application: str,
    environment: str,
    prepared: str,
    kept: str,
    why: tuple[str, str],
    shown_hash: str,
    gate: str,
    attempt: int,
    answer: dict[str, str],
) -> dict[str, str]:
    """Decide whether an answer about a restore counts; see `weigh_question`. `prepared` as for `show_restore`."""
    facts = json.loads(prepared)
    now = look_at_restore(act, application, environment, read_prepared(facts), kept, why)
    return weigh_question(
        Subject(run, application, environment, actor=answer.get("approver", "") or "unknown"),
        noun=NOUN,
        gate=gate,
        attempt=attempt,
        hashes=(shown_hash, now.hash),
        answer=answer,
        requester=why[1],
        data={"act": act, "digest": facts["digest"], "kept": kept, "reason": why[0][:500]},
    )


# effects on the live database -----------------------------------------------------------------------------------------


def require_restore_authority(run: str, application: str, environment: str, digest: str) -> None:
    """Refuse what no entry of the ledger allows; free where the environment asks for no approval.

    Raises: RefusedError; the attempt is in the ledger then, as `effect.refused`.
    """
    world = open_world()
    if not world.environment(environment).approval:
        return
    entries = world.ledger.entries(
        kinds=AUTHORISING_KINDS, application=application, environment=environment, limit=100_000
    )
    try:
        authority = find_restore_authority(entries, run=run, digest=digest)
        refuse_unauthorised_restore(authority, run=run, application=application, environment=environment)
    except RefusedError as exc:
        record(Subject(run, application, environment), "effect.refused", detail="restore", reason=str(exc)[:500])
        raise


@effect_task
def record_restore(
    run: str, application: str, environment: str, kind: str, data: dict[str, Any], detail: str = ""
) -> None:
    """Write one entry about a restore as a whole. Effect: one entry."""
    record(Subject(run, application, environment), kind, detail=detail, **data)


@effect_task
def open_restore_incident(run: str, application: str, environment: str, title: str, cause: str) -> int:
    """Open the incident that a restore is about, in the name of its run: one, however often it is started again."""
    return open_incident.fn(run, application, environment, "", "P1", title, cause)


@effect_task
def tell_bad_backup(run: str, application: str, environment: str, checks: tuple[str, ...]) -> int:
    """Open an incident: what should have saved the day does not. Effect: one entry."""
    title = say(
        "restore.incident_bad", language=open_world().language, environment=environment, checks=", ".join(checks)
    )
    return open_incident.fn(run, application, environment, "", "P1", title, title)


@effect_task
def load_database(run: str, application: str, environment: str, digest: str) -> dict[str, Any]:
    """Load what was restored beside the live database, and prove it there. Effect: a database; may be repeated."""
    world = open_world()
    require_restore_authority(run, application, environment, digest)
    language = world.language

    def show(percent: float) -> None:
        world.screen.progress("restore", percent=percent, description=say("restore.loading", language=language))

    with effect(Subject(run, application, environment), "database", "loaded", digest=digest) as outcome:
        begun = time.monotonic()
        content = world.restorations.load(application, environment, key=key_of(run), on_progress=show)
        found = digest_of(content.as_dict())
        if found != digest:
            raise RefusedError("What would be loaded is not what was approved. Start `restore` again.")
        outcome.update(rows=content.rows, tables=len(content.tables), seconds=round(time.monotonic() - begun, 3))
    return dict(outcome)


@effect_task
def exchange_databases(run: str, application: str, environment: str, digest: str, kept: str) -> float:
    """Give the live database's name to the other one. Effect: names; the live one is kept. Returns the seconds."""
    world = open_world()
    require_restore_authority(run, application, environment, digest)
    with effect(Subject(run, application, environment), "exchange", "completed", digest=digest, kept=kept) as outcome:
        begun = time.monotonic()
        world.restorations.exchange(application, environment, key=key_of(run), kept=kept)
        outcome["seconds"] = round(time.monotonic() - begun, 3)
    return float(outcome["seconds"])


@effect_task
def remove_kept(run: str, application: str, environment: str, digest: str, kept: str) -> None:
    """Remove a database that was kept. Effect: it is gone for good."""
    require_restore_authority(run, application, environment, digest)
    with effect(Subject(run, application, environment), "former", "removed", detail=kept, kept=kept):
        open_world().restorations.drop(application, environment, key=kept, kept=True)


@reading_task
def read_databases(application: str, environment: str) -> Databases:
    """What there is of an application's database now."""
    return open_world().restorations.find(application, environment)


@reading_task
def is_exchanged(run: str, application: str, environment: str) -> bool:
    """Whether the live database is the one that this run put there."""
    return open_world().restorations.find(application, environment).is_live(key_of(run))


@reading_task
def await_health(application: str, environment: str) -> str:
    """Wait until the application works on its database again; returns what is wrong, empty where all is well.

    It enters the database as the application does, then asks every instance of the live release on every site.
    """
    world = open_world()
    if problem := world.restorations.verify(application, environment):
        return f"the database can't be entered as the application does: {problem}"
    live = read_live.fn(application, environment)
    if not live:
        return ""
    return _await_sites(world, application, environment, live)


def _await_sites(world: World, application: str, environment: str, live: str) -> str:
    deadline = world.clock.now() + timedelta(seconds=HEALTH_LIMIT_S)
    while True:
        problem = ""
        for site in world.environment(environment).sites:
            health = read_application_file(application, environment, site.name, live).health
            found = [one for one in world.target(environment, site.name).instances(application) if one.release == live]
            for one in found:
                answer = world.prober.probe(one.url + health.ready, timeout_s=2)
                if not answer.is_ok:
                    problem = f"{site.name}: {answer.url} answered {answer.status or answer.error} instead of 200"
        if not problem or world.clock.now() >= deadline:
            return problem
        world.clock.sleep(PROBE_PAUSE_S)


# ends -----------------------------------------------------------------------------------------------------------------


@reading_task
def drop_beside(run: str, application: str, environment: str) -> None:
    """Remove what was loaded beside and not exchanged. Effect: may be repeated."""
    open_world().restorations.drop(application, environment, key=key_of(run), kept=False)


@reading_task
def forget_restore(run: str) -> None:
    """Remove what was extracted. Effect: files; may be repeated."""
    open_world().restorations.forget(key_of(run))


@reading_task
def measure_now() -> datetime:
    """The time, as this installation's clock has it."""
    return open_world().clock.now()


@effect_task
def note_begin(run: str) -> datetime:
    """When the run began, however often it is started again. Effect: none; kept."""
    return open_world().clock.now()


@effect_task
def publish_preview(run: str, shown: RestoreShown, dry_run: bool) -> None:
    """Show what would be lost and what comes back. Effect: an artifact."""
    world = open_world()
    words = explain_preview(shown, dry_run=dry_run, language=world.language)
    _publish(world, words, say("restore.preview_description", language=world.language, application=shown.application))


@effect_task
def publish_restored(run: str, shown: RestoreShown, ended: dict[str, Any]) -> None:
    """Show what was restored, what is lost, and the way back. Effect: an artifact."""
    world = open_world()
    kept = world.restorations.find(shown.application, shown.environment).kept
    words = explain_restored(shown, ended, kept=kept, key=key_of(run), now=world.clock.now(), language=world.language)
    _publish(world, words, say("restore.report_description", language=world.language, application=shown.application))


def _publish(world: World, words: str, description: str) -> None:
    with suppress(TransientError):  # the ledger has it all
        world.screen.report("restore", markdown=words, description=description)


@reading_task
def read_closed_restore(run: str, application: str, environment: str) -> tuple[str, str]:
    """Read how a run's restore ended, and why; two empty texts while it has not."""
    entries = open_world().ledger.entries(kinds=CLOSING, application=application, environment=environment, run=run)
    if not entries:
        return "", ""
    return entries[-1].kind.partition(".")[2], str(entries[-1].data.get("cause", ""))


@reading_task
def list_open_restores() -> list[OpenRestore]:
    """List the restores that began to change something and have no end."""
    return open_restores(open_world().ledger.entries(kinds=(OPENING, *CLOSING), limit=100_000))


@reading_task
def sweep_restores() -> int:
    """Remove what restores have left whose run is over: servers, files, and databases beside live ones.

    Effect: may be repeated. What was live and is kept stays. Returns how much went.
    """
    world, swept = open_world(), 0
    # what is there is read before who is at work: a restore that begins in between is not in it
    servers, left = [*world.scratch.leftovers()], [*world.restorations.left_over()]
    alive = {key_of(one.id) for one in world.run_records.unfinished(flow=FLOW)}

    def remove(key: str, act: Callable[[], None]) -> int:
        if key in alive:
            return 0
        act()
        return 1

    for name in servers:
        if name.startswith(SCRATCH):
            swept += remove(name.removeprefix(SCRATCH), lambda name=name: world.scratch.destroy(name))
    for one in left:
        swept += remove(one.key, lambda one=one: _remove(world, one.key, one.application, one.environment))
    return swept


def _remove(world: World, key: str, application: str, environment: str) -> None:
    if application:
        world.restorations.drop(application, environment, key=key, kept=False)
    else:
        world.restorations.forget(key)
