"""One environment's size: what it is and should be, instances beside those that serve, and their way out.

Used by `flows/resizing.py`, `flows/scale.py`, `flows/follow_load.py`. Sizes are what the ledger says
(`domain/size.py`); each effect asks it first what lets the run do this.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from blocks.world import open_world
from domain.cost import Costs, cost_of
from domain.errors import ConfigError, RefusedError
from domain.rollout import CLOSING_KINDS, OPENING_KINDS, OpenRollout, open_rollouts
from domain.scaling import (
    AUTHORISING_KINDS,
    NOUN,
    SizeShown,
    find_size_authority,
    refuse_unauthorised_size,
    write_size,
)
from domain.service import Arm, Instance
from domain.size import CLOSING, OPENING, OpenScale, Size, change_size, closed_scale, open_scales
from tasks.approval import read_live
from tasks.instances import PROBE_PAUSE_S, read_application_file, read_size, service_spec
from tasks.question import weigh_question
from tasks.recording import Subject, effect, effect_task, reading_task, record
from tasks.settings import clean_text

Change = tuple[tuple[str, float | None], ...]
"""What somebody wants changed, by the parts of a size."""


@effect_task
def show_size(
    run: str, application: str, environment: str, change: Change, reason: str, requester: str, turn: str
) -> SizeShown:
    """Collect what an approver is to be shown, as it is now. Effect: none; kept, since the answer is bound to it."""
    return look_at_size(application, environment, change, reason, requester)


def look_at_size(application: str, environment: str, change: Change, reason: str, requester: str) -> SizeShown:
    """Read everything that an approval of a size binds. Raises: RefusedError where nothing is live to be scaled, or
    the release can't be told of workers."""
    place = open_world().environment(environment)
    live = read_live.fn(application, environment)
    if not live:
        raise RefusedError(f"Nothing of {application} is live in {environment}, so there is nothing to scale.")
    service = read_application_file(application, environment, place.primary.name, live).service
    before = read_size(application, environment)
    after = change_size(before, **dict(change))
    if after.workers is not None and not service.takes_workers:
        raise RefusedError(
            f"{application} does not say how an instance is told its workers. Name a `workers_variable` in its "
            "slipway.toml or put {workers} into its command, deliver that, then scale again."
        )
    now, then = (size.filled(instances=service.instances, workers=service.workers) for size in (before, after))
    sites = tuple(site.name for site in place.sites)
    costs = _read_costs(application, environment, now, then, sites=len(sites))
    return SizeShown(application, environment, live, sites, before, after, now, then, reason[:500], requester, costs)


def _read_costs(application: str, environment: str, now: Size, then: Size, *, sites: int) -> Costs:
    """What a month costs before and after; prices that can't be read stop no change of size."""
    try:
        plan = open_world().capacity.read()
    except ConfigError as exc:
        return Costs(problem=str(exc).splitlines()[0][:160])
    before, after = (
        cost_of(plan, application=application, environment=environment, size=size, sites=sites) for size in (now, then)
    )
    return Costs(before, after)


@effect_task
def weigh_size(
    run: str,
    shown: SizeShown,
    change: Change,
    gate: str,
    attempt: int,
    answer: dict[str, str],
) -> dict[str, str]:
    """Decide whether an answer about a size counts; see `weigh_question`."""
    now = look_at_size(shown.application, shown.environment, change, shown.reason, shown.requester)
    return weigh_question(
        Subject(run, shown.application, shown.environment, actor=answer.get("approver", "") or "unknown"),
        noun=NOUN,
        gate=gate,
        attempt=attempt,
        hashes=(shown.hash, now.hash),
        answer=answer,
        requester=shown.requester,
        data={"before": shown.before.as_dict(), "after": shown.after.as_dict(), "reason": shown.reason},
    )


@effect_task
def record_scale(
    run: str, application: str, environment: str, release: str, kind: str, data: dict[str, Any], detail: str = ""
) -> None:
    """Write one entry about a change of size as a whole. Effect: one entry."""
    record(Subject(run, application, environment, "", release), kind, detail=detail, **data)


@reading_task
def read_closed_scale(run: str, application: str, environment: str) -> tuple[str, str]:
    """Read how a run's change of size ended, and why; two empty texts while it has not."""
    entries = open_world().ledger.entries(kinds=CLOSING, application=application, environment=environment, run=run)
    return closed_scale(entries)


@reading_task
def list_open_scales(application: str = "", environment: str = "") -> list[OpenScale]:
    """List the changes of size that were begun and never closed, of a place or of all."""
    return open_scales(
        open_world().ledger.entries(
            kinds=(OPENING, *CLOSING), application=application, environment=environment, limit=100_000
        )
    )


@reading_task
def list_rollouts_under_way(application: str, environment: str) -> list[OpenRollout]:
    """List the rollouts of an environment that are under way, those among them that wait for a person."""
    kinds = (*OPENING_KINDS, *CLOSING_KINDS)
    ledger = open_world().ledger
    return open_rollouts(ledger.entries(kinds=kinds, application=application, environment=environment, limit=100_000))


@reading_task
def read_settled_size(application: str, environment: str) -> Size:
    """Read how large the ledger says an environment is to be."""
    return read_size(application, environment)


def require_size_authority(run: str, application: str, environment: str, size: Size) -> None:
    """Refuse a size that no entry of the ledger allows; free where the environment asks for no approval.

    Raises: RefusedError; the attempt is in the ledger then, as `effect.refused`.
    """
    world = open_world()
    if not world.environment(environment).approval:
        return
    entries = world.ledger.entries(
        kinds=AUTHORISING_KINDS, application=application, environment=environment, limit=100_000
    )
    authority = find_size_authority(entries, run=run, size=size)
    try:
        refuse_unauthorised_size(authority, run=run, application=application, environment=environment, size=size)
    except RefusedError as exc:
        record(Subject(run, application, environment), "effect.refused", detail=write_size(size), reason=str(exc)[:500])
        raise


@effect_task
def start_beside(
    run: str, application: str, environment: str, site: str, release: str, size: Size, attempt: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Start the instances that a size wants beside those that serve. Effect: processes; none ends.

    Returns: the indexes of the instances that are wanted, and of those that are to leave.
    """
    world = open_world()
    require_size_authority(run, application, environment, size)
    file = read_application_file(application, environment, site, release)
    subject = Subject(run, application, environment, site, release)
    with effect(subject, "resize", "completed", detail=attempt, size=size.as_dict()) as outcome:
        spec = service_spec(file, application, environment, release, size)
        resized = world.target(environment, site).resize(spec)
        outcome["instances"] = [instance.url for instance in resized.wanted]
        outcome["leaving"] = [instance.url for instance in resized.leaving]
    return tuple(one.index for one in resized.wanted), tuple(one.index for one in resized.leaving)


@reading_task
def await_size(
    application: str, environment: str, site: str, release: str, size: Size, indexes: tuple[int, ...]
) -> str:
    """Wait until these instances are ready and held to their limits.

    Returns: an empty text when they are; else what is wrong, and the last lines of the release's log.
    """
    world = open_world()
    target = world.target(environment, site)
    health = read_application_file(application, environment, site, release).health
    deadline = world.clock.now() + timedelta(seconds=health.start_limit_s)
    problem = "nothing was looked at"
    while world.clock.now() < deadline:
        found = [one for one in target.instances(application) if (one.release, one.index in indexes) == (release, True)]
        problem = _problem(found, size, health.ready) if len(found) == len(indexes) else "an instance is not there"
        if not problem:
            return ""
        world.clock.sleep(PROBE_PAUSE_S)
    tail = clean_text(target.log_tail(application, release, lines=20), application, environment, release)
    return f"not ready after {health.start_limit_s} s: {problem}. Its last lines:\n{tail}"


def _problem(instances: list[Instance], size: Size, ready: str) -> str:
    """The first thing that is wrong with instances: an answer, or a limit that this place could hold and does not."""
    for instance in instances:
        answer = open_world().prober.probe(instance.url + ready, timeout_s=2)
        if not answer.is_ok:
            return f"{answer.url} answered {answer.status or answer.error} instead of 200"
        difference = size.limits.differ_from(instance.limits)
        if difference and not any(words.startswith(difference.split()[0]) for words in instance.weaker):
            return f"{instance.url}: {difference}"
    return ""


@reading_task
def read_weaker(application: str, environment: str, site: str, release: str, size: Size) -> tuple[str, ...]:
    """Read which limits of a size the site can't hold as a whole, and what it does instead; told, never hidden."""
    instances = open_world().target(environment, site).instances(application)
    words = {words for one in instances if one.release == release for words in one.weaker}
    return tuple(sorted(one for one in words if getattr(size, one.partition(":")[0], None) is not None))


@effect_task
def route_to(
    run: str, application: str, environment: str, site: str, release: str, indexes: tuple[int, ...], detail: str
) -> None:
    """Let a release's share of the traffic go to these of its instances, and to no other.

    Effect: the load balancer, in force on return; every release keeps its share. Raises: RefusedError where the release
    has none.
    """
    world = open_world()
    balancer = world.balancer(environment, site)
    urls = tuple(
        one.url
        for one in world.target(environment, site).instances(application)
        if one.release == release and one.index in indexes
    )
    arms = balancer.routes(application)
    if not any(arm.release == release and arm.weight_percent for arm in arms):
        raise RefusedError(f"{site}: what is live has no share of the traffic there. Look at `slipway status`.")
    subject = Subject(run, application, environment, site, release)
    with effect(subject, "traffic", "shifted", detail=detail, instances=len(urls)):
        balancer.route(application, [_readdressed(arm, release, urls) for arm in arms])


def _readdressed(arm: Arm, release: str, urls: tuple[str, ...]) -> Arm:
    return replace(arm, addresses=urls) if arm.release == release else arm


@reading_task
def check_routes(application: str, environment: str, site: str, release: str, indexes: tuple[int, ...]) -> str:
    """Compare what the load balancer has in force with what was meant; returns what differs."""
    world = open_world()
    instances = world.target(environment, site).instances(application)
    meant = {one.url for one in instances if one.release == release and one.index in indexes}
    arms = [arm for arm in world.balancer(environment, site).routes(application) if arm.weight_percent]
    if len(arms) != 1 or arms[0].release != release or set(arms[0].addresses) != meant:
        found = {arm.release[:12]: len(arm.addresses) for arm in arms}
        return f"{site}: traffic goes to {found or 'nobody'}, not to {len(meant)} instances of {release[:12]}"
    return ""


@effect_task
def retire_instances(
    run: str, application: str, environment: str, site: str, release: str, indexes: tuple[int, ...], attempt: str
) -> None:
    """End instances that get no requests any more, when those that they have are answered. Effect: processes; may be
    repeated."""
    world = open_world()
    file = read_application_file(application, environment, site, release)
    subject = Subject(run, application, environment, site, release)
    drain_s = max(file.rollout.drain_s, file.service.stop_limit_s)
    with effect(subject, "retirement", "completed", detail=attempt, instances=len(indexes)):
        world.target(environment, site).retire(application, release, indexes, drain_s=drain_s)
