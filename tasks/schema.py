"""The schema of an environment: migrated with a release's own command, tried out before, and remembered for rollbacks.

What it means is `domain/schema.py`'s; who holds a lock, the database's adapter sees (`Databases.migrating`).
"""

import shutil
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from blocks.bundle import SOURCE, unpack_bundle
from blocks.world import open_world
from domain.application import ApplicationFile, CheckPart, DatabasePart
from domain.lock import Lock
from domain.release import Manifest, bundle_key, short
from domain.revision import release_of
from domain.schema import (
    APPLYING_KINDS,
    applied_migrations,
    describe_migration,
    explain_incompatible,
    explain_lock_wait,
    explain_unreadable,
)
from domain.service import Outcome
from tasks.authority import require_authority
from tasks.checks import lock_of
from tasks.instances import find_manifest, read_application_file, service_environment
from tasks.recording import Subject, effect, effect_task, reading_task
from tasks.settings import clean_text
from tasks.source import command_environment, read_lock
from tasks.source import read_application_file as read_source_file

LOCK_PAUSE_S = 2
EVERY_DATABASE = "template1"
"""The database that PostgreSQL copies for each new one: what is migrated there, is in all that a check makes."""


@effect_task
def apply_migrations(
    run: str, application: str, environment: str, site: str, release: str, live: str = ""
) -> dict[str, str]:
    """Migrate an environment's database with the release's own command, before its first instance.

    A command that met a lock is run again, a few times: it must skip what was applied.

    Args:
        live: the revision that the environment is on meanwhile; what the migrations mean to it goes into the record.

    Effect: the database. Returns `result` (`none`, `applied`, `failed`), `seconds`, and `tail`: what stood in its way,
    and the end of its output.
    """
    world = open_world()
    require_authority(run, application, environment, release)
    manifest = find_manifest(application, release)
    file = read_application_file(application, environment, site, release)
    world.databases.ensure(application, environment)
    if file.database is None:
        return {"result": "none", "seconds": "0", "tail": ""}
    of_live = find_manifest(application, live).migrations if live else ()
    meaning = describe_migration(file.database.declaration, own=manifest.migrations, live=of_live)
    with effect(Subject(run, application, environment, "", release), "migration", "ended") as outcome:
        ended, obstacle, attempts = _migrate(application, environment, site, release, file.database)
        result = "applied" if ended.is_ok else "failed"
        tail = clean_text(ended.tail, application, environment, release)
        told = "" if ended.is_ok else f"{obstacle}\n{tail}".strip()
        outcome.update(result=result, migrations=list(manifest.migrations), attempts=attempts, tail=told, **meaning)
    return {"result": result, "seconds": f"{ended.seconds:.1f}", "tail": told or tail}


def _migrate(
    application: str, environment: str, site: str, release: str, part: DatabasePart
) -> tuple[Outcome, str, int]:
    """Run the command until it ends well, fails for another reason than a lock, or had all of its attempts."""
    world, attempt = open_world(), 0
    file = read_application_file(application, environment, site, release)
    while True:
        attempt += 1
        with world.databases.migrating(
            application, environment, lock_timeout_s=part.lock_timeout_s, statement_timeout_s=part.limit_s
        ) as migrating:
            variables = {**service_environment(file, application, environment, release), **migrating.variables}
            ended = world.target(environment, site).run(
                find_manifest(application, release), part.migrate, environment=variables, limit_s=part.limit_s
            )
        obstacle = "" if ended.is_ok else explain_lock_wait(migrating.waits, lock_timeout_s=part.lock_timeout_s)
        if not obstacle or attempt == part.lock_attempts:
            return ended, obstacle, attempt
        world.clock.sleep(LOCK_PAUSE_S * attempt)


@reading_task
def read_incompatibility(application: str, environment: str, site: str, release: str, live: str) -> str:
    """Say why a release, prepared on a site, can't take users beside the live one; empty where it can."""
    if not live:
        return ""
    database = read_application_file(application, environment, site, release).database
    own, of_live = find_manifest(application, release).migrations, find_manifest(application, live).migrations
    return explain_incompatible(database.declaration, own=own, live=of_live) if database else ""


@reading_task
def read_unreadable(application: str, environment: str, release: str) -> str:
    """Say why a release can't run on what was applied to an environment's database; empty where it can."""
    entries = open_world().ledger.entries(kinds=APPLYING_KINDS, application=application, environment=environment)
    return explain_unreadable(find_manifest(application, release).migrations, applied_migrations(entries))


@effect_task
def try_live_on_schema(run: str, application: str, environment: str, release: str, live: str) -> dict[str, str]:
    """Run the live release's own checks on the schema that a release's migrations make, on throw-away servers.

    Those with `database = true`, and without `on_new_schema = false`. They run as in `ci`: as the build user, with the
    packages of the live release. The database that they find, and every one that they make, is migrated already.

    Returns: `result` (`none`: it has no such check, `passed`, `failed`), `seconds`, and the `tail` of what failed.
    """
    runner, name = open_world().runner, f"schema-{run}-{short(release)}-{short(live)}".replace("@", "-")
    subject = Subject(run, application, environment, "", release)
    try:
        with effect(subject, "schema", "tried", detail=live, live=live) as outcome:
            new = _Unpacked(application, release, runner.folder(name) / "new")
            old = _Unpacked(application, live, runner.folder(name) / "live")
            result = _try_checks(new, old)
            outcome.update(result)
    finally:
        runner.remove_folder(name)
    return result


class _Unpacked:
    """A release's source, unpacked from its pinned bundle for the build user."""

    def __init__(self, application: str, release: str, place: Path) -> None:
        world = open_world()
        manifest: Manifest = find_manifest(application, release_of(release))
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        archive = place.with_suffix(".tar")
        world.store.get(bundle_key(application, manifest.bundle.sha256), archive, sha256=manifest.bundle.sha256)
        unpack_bundle(archive, place, part=SOURCE)
        (place / SOURCE).mkdir(exist_ok=True)
        place.chmod(0o711)
        world.runner.hand_over(place)
        self.place = place
        self.source = place / SOURCE
        self.file: ApplicationFile = read_source_file(self.source)

    @property
    def own_lock(self) -> Lock:
        return read_lock(self.source, self.file.build.requirements, key="build.requirements")


def _try_checks(new: _Unpacked, old: _Unpacked) -> dict[str, str]:
    checks = [check for check in old.file.check if check.database and check.on_new_schema]
    seconds = 0.0
    for check in checks:
        beside = old.place.with_name(f"postgres-{check.name}")
        with open_world().databases.throwaway(beside) as url:
            ended = _migrate_throwaway(new, url, beside)
            what = "the new migrations failed on an empty database"
            if ended.is_ok:
                ended = _run_check(old, check, url, beside)
                what = f"check '{check.name}' of the live release failed on the new schema"
        seconds += ended.seconds
        if not ended.is_ok:
            return {"result": "failed", "seconds": f"{seconds:.1f}", "tail": f"{what}:\n{ended.tail}"}
    return {"result": "passed" if checks else "none", "seconds": f"{seconds:.1f}", "tail": ""}


def _migrate_throwaway(new: _Unpacked, url: str, beside: Path) -> Outcome:
    """Migrate what new databases are copied from, then the one that stands there already."""
    world, ended = open_world(), Outcome(0, 0)
    assert new.file.database is not None
    variables = command_environment(world.packages.environment(new.own_lock))
    for address in (urlunsplit(urlsplit(url)._replace(path=f"/{EVERY_DATABASE}")), url):
        ended = world.runner.run(
            new.file.database.migrate,
            directory=new.source,
            environment={**new.file.service.environment, **variables, "DATABASE_URL": address},
            limit_s=new.file.database.limit_s,
            servers=beside,
        )
        if not ended.is_ok:
            break
    return ended


def _run_check(old: _Unpacked, check: CheckPart, url: str, beside: Path) -> Outcome:
    world = open_world()
    variables = command_environment(world.packages.environment(lock_of(old.source, old.file, check)))
    return world.runner.run(
        check.command,
        directory=old.source,
        environment={**variables, "DATABASE_URL": url},
        limit_s=check.limit_s,
        network=check.network,
        servers=beside,
    )
