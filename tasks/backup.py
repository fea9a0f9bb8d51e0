"""Taking backups: each copy one effect, said before and after; sizes, durations and throughput in the ledger.

Called by `backup` and `backup_watch`. What an engine returns is proven by its manifest; the ledger keeps that
manifest's hash, so that a manifest which somebody exchanged shows.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from blocks.world import open_world
from domain.backup import Backup, BackupKind, BackupProgress, KeptCopy
from domain.backup_protection import Objectives, Protection, judge_copy, judge_server
from domain.backup_report import BackupReport, explain_protection, render_report
from domain.backup_retention import Choice, choose_expired, choose_log
from domain.backup_schedule import choose_kind
from domain.catalogue import say
from domain.ledger import Entry
from domain.ports_backup import BackupEngine
from domain.second_place import LEFT_OVER_AGE
from tasks.data import find_buckets
from tasks.recording import Subject, effect, effect_task, reading_task, tenacious_task

LIMIT_S = 6 * 3600.0
AUTO = "auto"
RETRY_DELAYS_S = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
"""barman-cloud gives up within a second of the store's absence and never tries again; so a backup is begun anew, for
about as long as a store takes to come back. pgBackRest tries again itself."""

_NAMED_MAX = 100
_SECOND_LOOK_S = 90.0
_COPY_AGE_S_MAX = 8 * 86_400.0
_OBJECTS_AGE_S_MAX = 36 * 3600.0


@tenacious_task(RETRY_DELAYS_S)
def take_backup(run: str, kind: str) -> dict[str, Any]:
    """Take a physical backup of PostgreSQL. Effect: objects in the repository; the same run takes it once.

    Args:
        kind: full, differential, incremental, or auto: full once a week, incremental between where the engine can.

    Raises: ConfigError where the engine or the bucket is not there, TransientError while the store is away.
    """
    world = open_world()
    engine = world.backup_engine("write")
    chosen = BackupKind(kind) if kind != AUTO else _choose_kind(engine)
    subject = Subject(run, "")
    with effect(subject, "backup", "taken", detail=kind, backup_kind=chosen.value, engine=engine.name) as outcome:
        fingerprint = partial(world.fingerprints.take, f"slipway-{run}-{kind}")
        taken = engine.backup(chosen, label=f"run {run} {kind}", limit_s=LIMIT_S, on_progress=_show, extra=fingerprint)
        earlier = [one for one in engine.backups() if one.is_done and one.kind is taken.kind and one.id != taken.id]
        outcome.update(_facts(taken, earlier[-1] if earlier else None))
    return taken.as_dict()


def _choose_kind(engine: BackupEngine) -> BackupKind:
    return choose_kind(engine.backups(), engine.kinds, engine=engine.name, now=open_world().clock.now())


@effect_task
def dump_database(run: str, database: str) -> dict[str, Any]:
    """Dump a database. Effect: one encrypted object. Raises: TransientError while server or store is away."""
    with effect(Subject(run, ""), "dump", "taken", detail=database, database=database) as outcome:
        outcome.update(open_world().backup_copies.dump(database, label=run).as_dict())
    return outcome


@effect_task
def copy_objects(run: str, bucket: str) -> dict[str, Any]:
    """Copy what is new in a bucket. Effect: objects and a manifest in the bucket of backups."""
    with effect(Subject(run, ""), "objects", "copied", detail=bucket, bucket=bucket) as outcome:
        outcome.update(open_world().backup_copies.objects(bucket).as_dict())
    return outcome


@effect_task
def copy_elsewhere(run: str) -> dict[str, Any]:
    """Copy all that is new to the second place; without one, nothing. Effect: encrypted files there."""
    copies = open_world().backup_copies
    place = copies.place()
    if not place.where:
        return {}
    subject = Subject(run, "")
    with effect(subject, "copies", "stored_elsewhere", where=place.where, is_apart=place.is_apart) as outcome:
        copied = copies.elsewhere(open_world().backup_engine("write").backups())
        outcome.update(copied.as_dict() if copied else {})
    return outcome


@effect_task
def expire_backups(run: str) -> list[str]:
    """Remove what no rule keeps, and dumps beyond the newest. Effect: objects go from sight; holds stay."""
    world = open_world()
    engine = world.backup_engine("expire")
    now, rules = world.clock.now(), world.retention
    choice = choose_kept()
    with effect(
        Subject(run, ""), "retention", "applied", rules=rules.as_text(), expired=list(choice.expired)
    ) as outcome:
        gone = engine.expire(choice.expired, dry_run=False, window_begin=_window_begin(now))
        dumps = world.backup_copies.expire(keep=rules.dumps, dry_run=False)
        outcome.update(log_since=gone.log_since, dumps=list(dumps), kept=_as_lists(choice))
    return [*choice.expired, *dumps]


@effect_task
def expire_elsewhere(run: str) -> list[str]:
    """Remove at the second place what the rules keep neither there nor here. Effect: files go; holds stay."""
    world = open_world()
    copies, now, rules, proven = world.backup_copies, world.clock.now(), world.retention, _proven()
    gone = copies.expire_elsewhere(rules, now=now, proven=proven, dry_run=True)
    if not gone:
        return []
    subject, where = Subject(run, ""), copies.place().where
    with effect(subject, "second_place", "expired", where=where, rules=rules.as_text(), files=len(gone)) as outcome:
        gone = copies.expire_elsewhere(rules, now=now, proven=proven, dry_run=False)
        outcome.update(first=list(gone[:_NAMED_MAX]), backups_left=[one.id for one in copies.kept_elsewhere()])
    return list(gone)


def choose_kept() -> Choice:
    """Which backups the rules let go now, and by which rule each other one stays."""
    world = open_world()
    backups = list(world.backup_engine("read").backups())
    return choose_expired(backups, world.retention, now=world.clock.now(), proven=_proven())


def _proven() -> set[str]:
    """The backups that a drill restored and proved."""
    found = open_world().ledger.entries(kinds=["backup.proven"], newest_first=True, limit=1000)
    return {str(entry.data.get("backup", "")) for entry in found}


def _as_lists(choice: Choice) -> dict[str, list[str]]:
    return {name: list(rules) for name, rules in choice.kept.items()}


@effect_task
def sweep_backups(run: str) -> list[str]:
    """Remove what killed backups left more than a day ago. Effect: objects go; finished backups stay."""
    engine = open_world().backup_engine("expire")
    with effect(Subject(run, ""), "leftovers", "swept") as outcome:
        outcome["backups"] = list(engine.sweep(older_than=LEFT_OVER_AGE, dry_run=False))
    return list(outcome["backups"])


@reading_task
def list_databases() -> list[str]:
    """Name the databases that are dumped."""
    return list(open_world().backup_copies.databases())


@reading_task
def read_weaknesses() -> list[str]:
    """What PostgreSQL's backups lack now; empty: nothing but, perhaps, a copy elsewhere.

    What may be over in a moment is looked at twice: after a start PostgreSQL asks the archiver again a minute later.
    """
    found = _weaknesses()
    if {"log_failing", "log_late"} & set(found):
        open_world().clock.sleep(_SECOND_LOOK_S)
        found = _weaknesses()
    return found


@reading_task
def explain_weaknesses(weaknesses: list[str]) -> str:
    """Say what is lacking in the installation's language."""
    language = open_world().language
    return ", ".join(say(f"backup.lacks_{one}", language=language) for one in weaknesses)


@reading_task
def publish_protection(expired: int, swept: int, is_new: bool) -> list[str]:
    """Publish the page that says what is protected; returns what is not, with what it lacks."""
    world = open_world()
    engine = world.backup_engine("write")
    done = tuple(one for one in engine.backups() if one.is_done)
    protections = tuple(judge_all())
    log = engine.wal_state(since=_oldest_segment(done))
    report = BackupReport(
        protections,
        done,
        log,
        world.backup_copies.place(),
        expired,
        swept,
        is_new,
        rules=world.retention.as_text(),
        kept=choose_kept().kept,
    )
    description = say("backup.report_description", language=world.language)
    world.screen.report("backup", markdown=render_report(report, language=world.language), description=description)
    return [
        f"{one.name}: {explain_protection(one, language=world.language)}" for one in protections if not one.is_protected
    ]


def _weaknesses() -> list[str]:
    server = judge_all()[0]
    if "none" in server.weaknesses and _is_new():
        return []
    return [one for one in server.weaknesses if one != "same_disk"]


def judge_all() -> list[Protection]:
    """Judge everything that is backed up: the server first, then each copy that the ledger knows."""
    world, now = open_world(), open_world().clock.now()
    engine, place = world.backup_engine("write"), world.backup_copies.place()
    done = [one for one in engine.backups() if one.is_done]
    elsewhere = _newest("copies.stored_elsewhere")
    copied_at = elsewhere.at if elsewhere and elsewhere.data.get("is_apart") else None
    log = engine.wal_state(since=_oldest_segment(done))
    found = [judge_server(done, log, place, copied_at=copied_at, now=now)]
    for database in world.backup_copies.databases():
        entry = _newest("dump.taken", database=database)
        found.append(_judge_entry(f"dump of {database}", entry, copied_at, now, _COPY_AGE_S_MAX))
    for bucket in find_buckets():
        entry = _newest("objects.copied", bucket=bucket)
        found.append(_judge_entry(f"bucket {bucket}", entry, copied_at, now, _OBJECTS_AGE_S_MAX))
    return found


def _judge_entry(
    name: str, entry: Entry | None, copied_at: datetime | None, now: datetime, age_s_max: float
) -> Protection:
    place = open_world().backup_copies.place()
    copy = KeptCopy(**{key: entry.data[key] for key in KeptCopy.__slots__}) if entry else None
    at = entry.at if entry else None
    return judge_copy(name, copy, place, at=at, copied_at=copied_at, now=now, age_s_max=age_s_max)


def _is_new() -> bool:
    """Whether the installation is so young that its first backup is still to come."""
    first = open_world().ledger.entries(limit=1)
    age_s = (open_world().clock.now() - first[0].at).total_seconds() if first else 0.0
    return age_s < Objectives().age_s_max


def _newest(kind: str, **wanted: str) -> Entry | None:
    for entry in open_world().ledger.entries(kinds=[kind], newest_first=True, limit=500):
        if all(entry.data.get(key) == value for key, value in wanted.items()):
            return entry
    return None


def _oldest_segment(done: list[Backup] | tuple[Backup, ...]) -> str:
    """The segment from which on the log must have no gap."""
    return choose_log(done, window_begin=_window_begin(open_world().clock.now())).since


def _window_begin(now: datetime) -> datetime:
    return now - timedelta(days=open_world().retention.window_days)


def _facts(taken: Backup, before: Backup | None) -> dict[str, Any]:
    """What the ledger keeps of a backup: its facts, how fast it was, and by how much it outgrew the one before."""
    rate = int(taken.size_bytes / taken.seconds) if taken.seconds else 0
    facts = {name: value for name, value in taken.as_dict().items() if name not in ("kind", "engine", "hold")}
    grown = {"stored_grown_bytes": taken.stored_bytes - before.stored_bytes} if before else {}
    return {**facts, "seconds": round(taken.seconds, 3), "bytes_per_s": rate, **grown}


def _show(progress: BackupProgress) -> None:
    world = open_world()
    told = say("backup.progress", language=world.language)
    world.screen.progress("backup-progress", percent=progress.percent, description=told)
