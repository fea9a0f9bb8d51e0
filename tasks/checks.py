"""The checks of `ci`: each on a fresh copy of what will be released, with its packages, and a database where it asks.

A red check is a result, never an exception. Checks can't touch the bundle: it was packed before the first one started.
"""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from blocks.bundle import SOURCE, unpack_bundle
from blocks.world import open_world
from domain.application import ApplicationFile, CheckPart
from domain.check import CheckResult
from domain.lock import Lock, merge_locks
from tasks.recording import Subject, effect, reading_task
from tasks.release import BUNDLE_FILE
from tasks.source import SOURCE as CHECKOUT
from tasks.source import ci_folder, command_environment, judge_command, read_application_file, read_lock, this_attempt


@reading_task
def run_check(run: str, application: str, check: str) -> CheckResult:
    """Run one check to its end or to its limit, then end every process that it started.

    Effect: files in the run's folder, a throw-away database. It may be run again.
    """
    folder = ci_folder(run)
    file = read_application_file(folder / CHECKOUT)
    part = next(part for part in file.check if part.name == check)
    with effect(
        Subject(run, application), "check", "ended", detail=f"{this_attempt()}:{check}", check=check
    ) as outcome:
        result = run_part(folder, file, part)
        outcome.update(result.as_dict())
    return result


def run_part(folder: Path, file: ApplicationFile, part: CheckPart) -> CheckResult:
    """Run one check on the bundle in a folder of the runner's; its log stays beside it. No flow is needed."""
    world = open_world()
    place, log = folder / f"check-{part.name}", folder / f"check-{part.name}.log"
    _make_copy(folder, place)
    log.unlink(missing_ok=True)
    environment = world.packages.environment(lock_of(place / SOURCE, file, part))
    beside = folder / f"postgres-{part.name}"
    with _database(part, beside) as variables:
        ended = world.runner.run(
            part.command,
            directory=place / SOURCE,
            environment={**command_environment(environment), **variables},
            limit_s=part.limit_s,
            log=log,
            network=part.network,
            servers=beside if part.database else None,
        )
    result = judge_command(part.name, part.kind, ended, limit_s=part.limit_s, log=log)
    shutil.rmtree(place, ignore_errors=True)
    return result


def _make_copy(folder: Path, place: Path) -> None:
    """Unpack the bundle's source for one check: what is tested is what will be released."""
    shutil.rmtree(place, ignore_errors=True)
    unpack_bundle(folder / BUNDLE_FILE, place, part=SOURCE)
    (place / SOURCE).mkdir(parents=True, exist_ok=True)
    place.chmod(0o711)
    open_world().runner.hand_over(place)


def lock_of(source: Path, file: ApplicationFile, part: CheckPart) -> Lock:
    """The packages of a check: those of the service, and its own, which win."""
    build = read_lock(source, file.build.requirements, key="build.requirements")
    if part.requirements is None:
        return build
    return merge_locks(build, read_lock(source, part.requirements, key=f"check.{part.name}.requirements"))


@contextmanager
def _database(part: CheckPart, directory: Path) -> Generator[dict[str, str]]:
    if not part.database:
        yield {}
        return
    shutil.rmtree(directory, ignore_errors=True)
    with open_world().databases.throwaway(directory) as url:
        yield {"DATABASE_URL": url}
