"""Traffic of one site: who gets which share, what was answered, and what a release says from outside."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from blocks.world import open_world
from domain.errors import TransientError
from domain.release import short
from domain.service import Arm, Probe
from domain.traffic import Counters, Reading, Window, window_between
from tasks.authority import require_authority
from tasks.instances import find_manifest, read_application_file
from tasks.recording import Subject, effect, effect_task, reading_task, record
from tasks.settings import clean_text, read_variables


@effect_task
def shift_traffic(
    run: str, application: str, environment: str, site: str, shares: tuple[tuple[str, int], ...], detail: str
) -> None:
    """Give each release its share of a site's traffic; releases not named get none and are forgotten.

    Effect: the load balancer, in force on return. `shares` are (digest, percent), `detail` names the step.
    """
    world = open_world()
    for release in [release for release, weight in shares if weight > 0] or [""]:
        require_authority(run, application, environment, release)
    main = max(shares, key=lambda share: share[1])[0] if shares else ""
    arms = [_arm(application, environment, site, release=release, weight_percent=weight) for release, weight in shares]
    subject = Subject(run, application, environment, site, main)
    with effect(
        subject, "traffic", "shifted", detail=detail, shares={short(release): weight for release, weight in shares}
    ):
        world.balancer(environment, site).route(application, arms)


def _arm(application: str, environment: str, site: str, *, release: str, weight_percent: int) -> Arm:
    instances = open_world().target(environment, site).instances(application)
    addresses = tuple(instance.url for instance in instances if instance.release == release)
    health = read_application_file(application, environment, site, release).health
    return Arm(release=release, weight_percent=weight_percent, addresses=addresses, health_path=health.live)


@effect_task
def record_switch(run: str, application: str, environment: str, site: str, release: str, detail: str = "") -> None:
    """Write down that a site is wholly on a release."""
    require_authority(run, application, environment, release)
    record(Subject(run, application, environment, site, release), "site.switched", detail=detail)


@reading_task
def read_routes(application: str, environment: str, site: str) -> tuple[tuple[str, int], ...]:
    """Read which releases (by the first 12 digits) get which share of a site's traffic."""
    arms = open_world().balancer(environment, site).routes(application)
    return tuple((short(arm.release), arm.weight_percent) for arm in arms)


@reading_task
def measure_traffic(
    application: str,
    environment: str,
    site: str,
    releases: tuple[str, ...],
    seconds: float,
    epoch: str,
    since: Reading | None = None,
) -> tuple[dict[str, list[Window]], Reading]:
    """Count what each release answers, in windows of about one second, for some seconds.

    Args:
        releases: digests; one that answers nothing has windows of zero requests.
        epoch: the beginning of the watch (ISO 8601), from which the windows' times count.
        since: the last reading of the look before; without it, what is answered between two looks is seen by nobody,
            which on a busy machine is most of the traffic.

    Returns: the windows of each digest, oldest first, all digests paired in time, and the last reading. A load balancer
    that does not answer makes one long window; three seconds without an answer are a `TransientError`.
    """
    world = open_world()
    clock, metrics = world.clock, world.metrics(environment, site)
    begun = datetime.fromisoformat(epoch)
    windows: dict[str, list[Window]] = {release: [] for release in releases}
    deadline = clock.now() + timedelta(seconds=seconds)
    earlier, earlier_at = (since.counters, since.at) if since else (metrics.read(application), clock.now())
    failures = 0
    while (left_s := (deadline - clock.now()).total_seconds()) > 0:
        clock.sleep(max(0.05, min(1.0, left_s)))
        try:
            later = metrics.read(application)
        except TransientError:
            failures += 1
            if failures >= 3:
                raise
            continue
        failures = 0
        now = clock.now()
        for release in releases:
            windows[release].append(_window(earlier, later, short(release), earlier_at, now, epoch=begun))
        earlier, earlier_at = later, now
    return windows, Reading(earlier_at, earlier)


def _window(
    earlier: Mapping[str, Counters],
    later: Mapping[str, Counters],
    name: str,
    earlier_at: datetime,
    now: datetime,
    *,
    epoch: datetime,
) -> Window:
    """Subtract two readings of one release, one that has no counters yet counting as zero."""
    nothing = Counters(at=earlier_at, requests=0, failures=0)
    last = replace(later.get(name, nothing), at=now)
    zero = replace(nothing, bounds_s=last.bounds_s, buckets=tuple(0 for _ in last.buckets))
    # one clock for both releases: that of the readings, not of the counters
    return window_between(replace(earlier.get(name, zero), at=earlier_at), last, epoch=epoch)


@reading_task
def smoke_test(application: str, environment: str, site: str, release: str) -> tuple[Probe, ...]:
    """Ask each instance of a release, directly, for the read-only paths of its `slipway.toml`."""
    paths = read_application_file(application, environment, site, release).smoke.paths
    instances = open_world().target(environment, site).instances(application)
    urls = [instance.url + path for instance in instances if instance.release == release for path in paths]
    return tuple(open_world().prober.probe(url, timeout_s=10) for url in urls)


@reading_task
def probe_entry(application: str, environment: str, site: str, release: str, times: int) -> tuple[Probe, ...]:
    """Ask for a release's first smoke path through the site's load balancer, some times."""
    path = read_application_file(application, environment, site, release).smoke.paths[0]
    url, host = open_world().balancer(environment, site).entry(application)
    return tuple(open_world().prober.probe(url + path, host, timeout_s=10) for _ in range(times))


@effect_task
def run_acceptance(run: str, application: str, environment: str, site: str, release: str) -> dict[str, str]:
    """Run the release's acceptance tests against the site. Effect: whatever they write there.

    Returns `result` (`none`, `passed`, `failed`), `seconds` and the `tail` of the output.
    """
    world = open_world()
    file = read_application_file(application, environment, site, release)
    if file.acceptance is None:
        return {"result": "none", "seconds": "0", "tail": ""}
    url, host = world.balancer(environment, site).entry(application)
    with effect(Subject(run, application, environment, site, release), "acceptance", "ended") as outcome:
        ended = world.target(environment, site).run(
            find_manifest(application, release),
            file.acceptance.command,
            environment={
                **read_variables(application, environment, release),
                "SLIPWAY_URL": url,
                "SLIPWAY_HOST": host,
            },
            limit_s=file.acceptance.limit_s,
            requirements=file.acceptance.requirements,
        )
        result = "passed" if ended.is_ok else "failed"
        outcome.update(result=result, seconds=round(ended.seconds, 1))
    tail = clean_text(ended.tail, application, environment, release)
    return {"result": result, "seconds": f"{ended.seconds:.1f}", "tail": tail}


@effect_task
def drain(seconds: int, detail: str) -> None:
    """Let running requests end before instances without a share are stopped."""
    open_world().clock.sleep(seconds)
