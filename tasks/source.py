"""The commit that `ci` works on: checked out, read, built; on this machine, anew whenever a run is started again.

Nothing here persists as a task result: the files in the work folder are the result, and a retried run makes them again.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from prefect.runtime import flow_run

from blocks.confinement import is_inside
from blocks.world import open_world
from domain.application import FILE, ApplicationFile, BuildPart, parse_application
from domain.check import CheckOutcome, CheckResult, explain_check, find_first_failure
from domain.errors import ConfigError
from domain.lock import Lock, parse_lock
from domain.service import Outcome
from tasks.recording import Subject, effect, reading_task

SOURCE = "source"
LOG_BYTES_READ_MAX = 4_000_000
# A build has no choice about these: the same commit must give the same bytes.
_REPRODUCIBLE = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}


def ci_folder(run: str) -> Path:
    """The folder of one run of `ci`."""
    return open_world().runner.folder(f"ci-{run}")


@reading_task
def checkout_commit(run: str, application: str, commit: str) -> ApplicationFile:
    """Check out exactly this commit and read its `slipway.toml`.

    Effect: files in the run's folder; what an earlier attempt left there is replaced.
    Raises: ConfigError where there is no such commit, or the file is missing, wrong, or another application's.
    """
    world = open_world()
    registered = world.applications.get(application)
    source = ci_folder(run) / SOURCE
    with effect(Subject(run, application), "checkout", "completed", detail=this_attempt(), commit=commit):
        shutil.rmtree(source, ignore_errors=True)
        world.sources.fetch(application, registered.url)
        world.sources.checkout(application, commit, source)
        file = read_application_file(source)
        if file.application.name != application:
            raise ConfigError(
                f"{FILE} is of application '{file.application.name}', this run is of '{application}'. "
                "Correct application.name, or register the repository under that name."
            )
    return file


def read_application_file(source: Path) -> ApplicationFile:
    """Read the `slipway.toml` of a checkout. Raises: ConfigError that names file, key and what is allowed."""
    path = source / FILE
    if not path.is_file():
        raise ConfigError(f"The commit has no {FILE} at its top. Add one (docs/reference/slipway-toml.md).")
    return parse_application(_read_text(source, path, name=FILE))


def read_lock(source: Path, path: str, *, key: str) -> Lock:
    """Read a lock file that `slipway.toml` names under `key`. Raises: ConfigError."""
    place = source / path
    if not place.is_file():
        raise ConfigError(
            f"{FILE}: key '{key}' names {path}, which the commit does not have. Add it, or correct the key."
        )
    return parse_lock(_read_text(source, place, name=path), file=path)


def this_attempt() -> str:
    """Which attempt of the run this is, for the keys of entries: a retried run has outcomes of its own."""
    return str(flow_run.run_count or 1)


def _read_text(source: Path, path: Path, *, name: str) -> str:
    if not is_inside(source, path):
        raise ConfigError(f"{name} is a link that leads outside the repository. Replace it by a file.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{name} is not UTF-8: {exc}. Save it as UTF-8.") from exc


@reading_task
def build_source(run: str, application: str, commit: str) -> CheckResult:
    """Run the application's own build commands, in order, in the checkout; red where one of them fails.

    Effect: files in the run's folder. Without commands nothing runs and the checkout stays ours.
    """
    source, log = ci_folder(run) / SOURCE, ci_folder(run) / "build.log"
    build = read_application_file(source).build
    if not build.commands:
        return CheckResult("build", "build", "passed")
    log.unlink(missing_ok=True)
    with effect(Subject(run, application), "build", "ended", detail=this_attempt()) as outcome:
        ended = _run_commands(application, commit, source, build, log)
        result = judge_command("build", "build", ended, limit_s=build.limit_s, log=log)
        outcome.update(result.as_dict())
    return result


def _run_commands(application: str, commit: str, source: Path, build: BuildPart, log: Path) -> Outcome:
    """Run the commands until one fails; the limit is for all of them together."""
    world = open_world()
    environment = world.packages.environment(read_lock(source, build.requirements, key="build.requirements"))
    variables = command_environment(environment)
    variables["SOURCE_DATE_EPOCH"] = str(world.sources.commit_time(application, commit))
    world.runner.hand_over(source)
    ended, seconds = Outcome(0, 0), 0.0
    for command in build.commands:
        left_s = max(0.1, build.limit_s - seconds)
        ended = world.runner.run(
            command, directory=source, environment=variables, limit_s=left_s, log=log, network=build.network
        )
        seconds += ended.seconds
        if not ended.is_ok:
            break
    return replace(ended, seconds=seconds)


def command_environment(environment: Path) -> dict[str, str]:
    """The variables that make a command use a virtual environment."""
    return {"PATH": str(environment / "bin"), "VIRTUAL_ENV": str(environment), **_REPRODUCIBLE}


def judge_command(name: str, kind: str, ended: Outcome, *, limit_s: int, log: Path) -> CheckResult:
    """Turn the end of a command into a result; a red one says what failed first."""
    milliseconds = round(ended.seconds * 1000)
    if ended.is_ok:
        return CheckResult(name, kind, "passed", milliseconds)
    outcome: CheckOutcome = "timed_out" if ended.timed_out else "failed"
    failure = find_first_failure(_end_of(log) or ended.tail)
    cause = explain_check(
        name=name,
        outcome=outcome,
        exit_code=ended.exit_code,
        limit_s=limit_s,
        failure=failure,
        language=open_world().language,
    )
    return CheckResult(name, kind, outcome, milliseconds, ended.exit_code, cause, failure)


def _end_of(log: Path) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - LOG_BYTES_READ_MAX))
        return file.read().decode("utf-8", "replace")
