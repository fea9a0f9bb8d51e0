"""Instances of a release on one site: bytes brought and verified, started, waited for, ended."""

from datetime import timedelta

from blocks.world import open_world
from domain.application import FILE, WORKERS, ApplicationFile, parse_application
from domain.errors import ConfigError
from domain.release import Manifest, read_manifest, short
from domain.revision import release_of, settings_of
from domain.service import ServiceSpec
from domain.size import SIZE_KINDS, Size, settled_size
from tasks.authority import require_authority
from tasks.recording import Subject, effect, effect_task, reading_task
from tasks.settings import clean_text, read_variables
from tasks.waiting import patiently

PROBE_PAUSE_S = 0.3


def find_manifest(application: str, release: str) -> Manifest:
    """Read the manifest that was pinned for a digest, or for a revision's. Raises: ConfigError where there is none."""
    digest = release_of(release)
    entries = open_world().ledger.entries(kinds=["release.pinned"], application=application, release=digest, limit=1)
    if not entries:
        raise ConfigError(
            f"No release {short(release)} of '{application}' is pinned. List them with `slipway history {application}`."
        )
    return read_manifest(entries[0].data["manifest"])


def read_application_file(application: str, environment: str, site: str, release: str) -> ApplicationFile:
    """Read the `slipway.toml` of a prepared release: a rollout obeys the file of the release that it rolls out."""
    manifest = find_manifest(application, release)
    return parse_application(open_world().target(environment, site).read_file(manifest, FILE))


@effect_task
def prepare_release(run: str, application: str, environment: str, site: str, release: str) -> None:
    """Bring a release's bytes to a site and install them off-line. Effect: files only; repeating is free."""
    subject = Subject(run, application, environment, site, release)
    with effect(subject, "preparation", "completed"):
        manifest = find_manifest(application, release)
        patiently(f"{site}, for the bytes,", lambda: open_world().target(environment, site).prepare(manifest))


@effect_task
def start_instances(
    run: str, application: str, environment: str, site: str, release: str, attempt: str = ""
) -> tuple[str, ...]:
    """Start a release's instances beside those that serve. Effect: processes, never twice. Returns their URLs."""
    world = open_world()
    require_authority(run, application, environment, release)
    file = read_application_file(application, environment, site, release)
    with effect(Subject(run, application, environment, site, release), "start", "completed", detail=attempt) as outcome:
        size = read_size(application, environment)
        started = world.target(environment, site).start(service_spec(file, application, environment, release, size))
        outcome["instances"] = [instance.url for instance in started]
    return tuple(instance.url for instance in started)


@reading_task
def await_ready(application: str, environment: str, site: str, release: str, patience_s: int = 0) -> str:
    """Wait until every instance of a release says that it is ready, at most `patience_s` where that is not 0.

    Returns: an empty text when all are; else what the last one answered, and the last lines of its log.
    """
    world = open_world()
    target, prober = world.target(environment, site), world.prober
    health = read_application_file(application, environment, site, release).health
    limit_s = min(health.start_limit_s, patience_s or health.start_limit_s)
    deadline = world.clock.now() + timedelta(seconds=limit_s)
    problem = "no instance was started"
    while world.clock.now() < deadline:
        instances = [instance for instance in target.instances(application) if instance.release == release]
        probes = [prober.probe(instance.url + health.ready, timeout_s=2) for instance in instances]
        if probes and all(answer.is_ok for answer in probes):
            return ""
        bad = next((answer for answer in probes if not answer.is_ok), None)
        if bad is not None:
            problem = f"{bad.url} answered {bad.status or bad.error} instead of 200"
        world.clock.sleep(PROBE_PAUSE_S)
    tail = clean_text(target.log_tail(application, release, lines=20), application, environment, release)
    return f"not ready after {limit_s} s: {problem}. Its last lines:\n{tail}"


@reading_task
def answers_alive(application: str, environment: str, site: str, release: str) -> bool:
    """Whether every instance of a release answers that it lives, ready or not; False where there is none."""
    world = open_world()
    path = read_application_file(application, environment, site, release).health.live
    found = [one for one in world.target(environment, site).instances(application) if one.release == release]
    return bool(found) and all(world.prober.probe(one.url + path, timeout_s=2).is_ok for one in found)


@effect_task
def stop_instances(run: str, application: str, environment: str, site: str, release: str) -> None:
    """End a release's instances gracefully. Effect: processes; none running is no error."""
    require_authority(run, application, environment, release, ends=True)
    with effect(Subject(run, application, environment, site, release), "stop", "completed"):
        open_world().target(environment, site).stop(application, release)


@reading_task
def list_releases_running(application: str, environment: str, site: str) -> tuple[str, ...]:
    """List the digests of which at least one instance exists on a site, running or not."""
    instances = open_world().target(environment, site).instances(application)
    return tuple(sorted({instance.release for instance in instances}))


def read_size(application: str, environment: str) -> Size:
    """Read how large the ledger says an environment is to be; what it does not say is the release's own to say."""
    newest = open_world().ledger.entries(
        kinds=SIZE_KINDS, application=application, environment=environment, newest_first=True, limit=1
    )
    return settled_size(newest)


def service_spec(file: ApplicationFile, application: str, environment: str, release: str, size: Size) -> ServiceSpec:
    """Put together what starts a release at a size; holds its secrets."""
    size = size.filled(instances=file.service.instances, workers=file.service.workers)
    workers = str(size.workers)
    told = {file.service.workers_variable: workers} if file.service.workers_variable else {}
    return ServiceSpec(
        application=application,
        release=release,
        command=tuple(word.replace(WORKERS, workers) for word in file.service.command),
        instances=size.instances or file.service.instances,
        environment={**service_environment(file, application, environment, release), **told},
        stop_limit_s=file.service.stop_limit_s,
        start_limit_s=file.health.start_limit_s,
        limits=size.limits,
    )


def service_environment(file: ApplicationFile, application: str, environment: str, release: str) -> dict[str, str]:
    """Put together the variables of a released process; holds its secrets and the database's password."""
    manifest = find_manifest(application, release)
    variables = {**file.service.environment, **read_variables(application, environment, release)}
    if file.database is not None:
        variables["DATABASE_URL"] = open_world().databases.url(application, environment)
    variables.update(
        SLIPWAY_APPLICATION=application,
        SLIPWAY_ENVIRONMENT=environment,
        SLIPWAY_RELEASE=manifest.digest,
        SLIPWAY_COMMIT=manifest.commit,
        SLIPWAY_SETTINGS=str(settings_of(release)),
    )
    return variables
