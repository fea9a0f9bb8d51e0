"""Break-glass: an administrator goes back while Prefect, or the ledger's database, does not answer.

No Prefect flow, since there may be no Prefect: `slipway rollback --break-glass` calls it, in a world of this machine's
files (`blocks/emergency_world.py`). It takes the same steps as `rollback`. What it does stands in a journal, and
`settle_journals` makes that part of the ledger as soon as there is one: at the end of the act itself, by `reconcile`,
and by `slipway up`.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from blocks.world import open_world
from domain.break_glass import Mark, WayBack, choose_way_back
from domain.catalogue import say
from domain.errors import RefusedError, TransientError
from domain.ledger import encode_time
from domain.release import short
from domain.rollout import OpenRollout
from flows.restoring import restore_release
from flows.schema import refuse_unreadable
from tasks.approval import authorise, read_settled
from tasks.break_glass import list_journals, take_over_journal
from tasks.incident import block_digest, open_incident
from tasks.instances import find_manifest, list_releases_running
from tasks.recording import without_engine
from tasks.rollout import list_open_rollouts, read_blocked, record_rollout
from tasks.traffic import read_routes

SEIZE_LIMIT_S = 20


@dataclass(frozen=True, slots=True)
class Returned:
    """What became of it: the release that has the traffic, the one that was left, and what does not hold (or nothing).

    `is_there` says whether all traffic of every site is on `to`.
    """

    to: str
    left: str
    is_there: bool
    problem: str


def go_back(
    *, run: str, application: str, environment: str, reason: str, administrator: str, code: str, release: str = ""
) -> Returned:
    """Bring an environment back to an earlier release with what this machine knows by itself.

    Effect: the traffic of every site, instances, a journal and a mark that keeps other runs' hands off. Repeating it
    (with a new `run`) goes on where an earlier attempt was cut off.

    Args:
        run: names the act; new for each.
        release: the digest to go back to; empty for the one that was good before.

    Raises: RefusedError where the person may not, or there is no way back; TransientError naming what does not answer.
    """
    world = open_world()
    world.environment(environment)
    if not reason.strip():
        raise RefusedError("A rollback needs a reason. Say in one sentence why, and start it again.")
    with without_engine():
        refusal = authorise(run, application, environment, release, "rollback", administrator, code, reason)
        if refusal:
            raise RefusedError(f"The rollback is refused: {refusal}")
        if release:
            find_manifest(application, release)  # what is not on this machine can't be gone back to now
        way = _choose(application, environment, release)
        refuse_unreadable(application, environment, way.to)
        at = encode_time(world.clock.now())
        world.break_glass.mark(Mark(application, environment, run, administrator, reason[:500], at))
        with _alone(application, environment):
            return _move(run, application, environment, administrator, reason, way)


def settle_journals() -> list[str]:
    """Make every finished journal part of the ledger; one that is still written is left for the next time.

    Returns: what was taken over, as people read it. Raises: TransientError where the ledger is away.
    """
    told: list[str] = []
    for journal in list_journals():
        done = take_over_journal(journal)
        place = f"{done['environment']} of {done['application']}"
        told.append(f"{place}: {done['entries']} entries, {done['closed']} rollouts closed")
    return told


def _alone(application: str, environment: str) -> AbstractContextManager[None]:
    """Hold the environment alone; an effect that hangs longer than this is gone over."""
    lock = open_world().break_glass.seized(application, environment, limit_s=SEIZE_LIMIT_S)
    try:
        lock.__enter__()
    except TransientError:
        return nullcontext()
    return _Held(lock)


class _Held(AbstractContextManager[None]):
    """A lock that is held already, given back at the end of the block."""

    def __init__(self, lock: AbstractContextManager[None]) -> None:
        self._lock = lock

    def __exit__(self, *exc: object) -> None:
        self._lock.__exit__(None, None, None)


def _move(run: str, application: str, environment: str, administrator: str, reason: str, way: WayBack) -> Returned:
    data = {"previous": way.live, "reason": reason[:500], "break_glass": "yes"}
    record_rollout(run, application, environment, way.to, "rollback.begun", data, "", administrator)
    problem = restore_release(
        run=run, application=application, environment=environment, to=way.to, bad=way.bad, insist=True
    )
    is_there = _is_wholly_on(application, environment, way.to)
    kind = "rollback.completed" if is_there else "rollback.failed"
    data = {"previous": way.live, "reason": reason[:500], "verified": problem or "yes"}
    record_rollout(run, application, environment, way.to, kind, data, "", administrator)
    if way.bad:
        block_digest(run, application, way.bad, f"left by a break-glass rollback: {reason}", way.to, environment)
    language = open_world().language
    title = say("incident.break_glass", language=language, environment=environment, release=short(way.to))
    severity = "P1" if is_there else "P0"
    cause = f"{administrator}: {reason}" if not problem else f"{administrator}: {reason}\n{problem}"
    open_incident(run, application, environment, way.bad or way.to, severity, title, cause)
    return Returned(way.to, way.bad, is_there, problem)


def _choose(application: str, environment: str, wanted: str) -> WayBack:
    sites = [site.name for site in open_world().environment(environment).sites]
    running = {one for site in sites for one in list_releases_running(application, environment, site)}
    shown = {name for site in sites for name, percent in _routes(application, environment, site) if percent > 0}
    open_here = [rollout for rollout in list_open_rollouts() if _is_here(rollout, application, environment)]
    return choose_way_back(
        wanted=wanted,
        settled=read_settled(application, environment),
        blocked=read_blocked(application),
        open_here=open_here,
        serving=[one for one in sorted(running) if short(one) in shown],
        running=sorted(running),
    )


def _routes(application: str, environment: str, site: str) -> tuple[tuple[str, int], ...]:
    """Read a site's shares; a load balancer that does not answer has nothing to say."""
    try:
        return read_routes(application, environment, site)
    except TransientError:
        return ()


def _is_here(rollout: OpenRollout, application: str, environment: str) -> bool:
    return (rollout.application, rollout.environment, rollout.kind) == (application, environment, "rollout")


def _is_wholly_on(application: str, environment: str, release: str) -> bool:
    sites = [site.name for site in open_world().environment(environment).sites]
    shares = [{name: n for name, n in _routes(application, environment, site) if n > 0} for site in sites]
    return all(share == {short(release): 100} for share in shares)
