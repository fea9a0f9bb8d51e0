"""The load of an application in an environment: its policy, how much there is, what was decided, what people see.

Used by `flows/load_policy.py` and `flows/follow_load.py`.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from blocks.world import open_world
from domain.break_glass import explain_mark
from domain.catalogue import say
from domain.errors import SlipwayError, TransientError
from domain.load_policy import (
    GRANTED,
    NOUN,
    LoadPolicy,
    Look,
    PolicyShown,
    check_policy,
    policies,
    say_decision,
)
from domain.release import short
from domain.size import Size
from tasks.approval import read_live
from tasks.instances import read_application_file, read_size
from tasks.lease import TTL_S, environment_lease
from tasks.question import weigh_question
from tasks.recording import Subject, effect_task, reading_task, record
from tasks.report import publish_report
from tasks.scaling import list_rollouts_under_way

SHOWN_HOURS = 3
ROWS_MAX = 15


@effect_task
def show_policy(
    run: str, application: str, environment: str, wanted: LoadPolicy | None, requester: str, turn: str
) -> PolicyShown:
    """Collect what an approver is to be shown, as it is now. Effect: none; kept, since the answer is bound to it."""
    return look_at_policy(application, environment, wanted, requester)


def look_at_policy(application: str, environment: str, wanted: LoadPolicy | None, requester: str) -> PolicyShown:
    """Read the policy in force beside the wanted one. Raises: ConfigError where the wanted one can't be followed."""
    before = next((one for one in _policies(application, environment)), None)
    return PolicyShown(application, environment, before, check_policy(wanted) if wanted else None, requester)


def _policies(application: str = "", environment: str = "") -> list[LoadPolicy]:
    return policies(
        open_world().ledger.entries(kinds=[GRANTED], application=application, environment=environment, limit=100_000)
    )


@effect_task
def weigh_policy(run: str, shown: PolicyShown, gate: str, attempt: int, answer: dict[str, str]) -> dict[str, str]:
    """Decide whether an answer about a policy counts; see `weigh_question`."""
    now = look_at_policy(shown.application, shown.environment, shown.after, shown.requester)
    return weigh_question(
        Subject(run, shown.application, shown.environment, actor=answer.get("approver", "") or "unknown"),
        noun=NOUN,
        gate=gate,
        attempt=attempt,
        hashes=(shown.hash, now.hash),
        answer=answer,
        requester=shown.requester,
        data={"after": shown.after.as_dict() if shown.after else {}},
    )


@effect_task
def grant_policy(run: str, shown: PolicyShown) -> None:
    """Put a policy in force where the environment asks for no approval. Effect: one entry."""
    after = shown.after.as_dict() if shown.after else {}
    record(Subject(run, shown.application, shown.environment), GRANTED, shown_hash=shown.hash, after=after)


@reading_task
def was_granted(run: str, application: str, environment: str) -> bool:
    """Whether this run's policy is in force already: a flow that suspends runs again from its top."""
    found = open_world().ledger.entries(kinds=[GRANTED], application=application, environment=environment, run=run)
    return bool(found)


@reading_task
def list_policies() -> list[LoadPolicy]:
    """List the policies in force, of every application and environment."""
    return _policies()


@dataclass(frozen=True, slots=True)
class Measured:
    """The load of the busiest site, and what carries it; `problem` where it is not known."""

    at: datetime
    live: str
    size: Size
    instances: int
    load: float = math.nan
    problem: str = ""


@reading_task
def measure_loads(wanted: tuple[LoadPolicy, ...]) -> list[Measured]:
    """Measure the load of every policy's place, all at the same time, for as long as the longest asks for.

    One that can't be read costs itself only, and says so.
    """
    clock = open_world().clock
    begun = [_read_all(policy) for policy in wanted]
    started = clock.now()
    clock.sleep(max(policy.measure_s for policy in wanted))
    ended = [_read_all(policy) for policy in wanted]
    seconds = (clock.now() - started).total_seconds()
    return [_measured(*three, seconds) for three in zip(wanted, begun, ended, strict=True)]


@dataclass(frozen=True, slots=True)
class _Counted:
    live: str = ""
    sites: tuple[float, ...] = ()
    problem: str = ""


def _read_all(policy: LoadPolicy) -> _Counted:
    try:
        live = read_live.fn(policy.application, policy.environment)
        if not live:
            return _Counted(problem="nothing is live there")
        sites = open_world().environment(policy.environment).sites
        return _Counted(live, tuple(_read_site(policy, site.name, live) for site in sites))
    except SlipwayError as exc:
        return _Counted(problem=str(exc)[:300])


def _read_site(policy: LoadPolicy, site: str, live: str) -> float:
    """What was counted so far, in the policy's unit times seconds."""
    world = open_world()
    if policy.unit == "cores":
        return world.target(policy.environment, site).cpu_seconds(policy.application, live)
    counters = world.metrics(policy.environment, site).read(policy.application).get(short(live))
    return float(counters.requests) if counters else 0.0


def _measured(policy: LoadPolicy, begun: _Counted, ended: _Counted, seconds: float) -> Measured:
    now = open_world().clock.now()
    place = (policy.application, policy.environment)
    problem = begun.problem or ended.problem or ("" if begun.live == ended.live else "what is live has just changed")
    size = read_size(*place)
    if problem:
        return Measured(now, ended.live, size, size.instances or 0, problem=problem)
    primary = open_world().environment(policy.environment).primary.name
    service = read_application_file(*place, primary, ended.live).service
    instances = size.filled(instances=service.instances, workers=service.workers).instances or 1
    # a counter that fell was started anew
    grown = [
        after - before if after >= before else after for before, after in zip(begun.sites, ended.sites, strict=True)
    ]
    return Measured(now, ended.live, size, instances, max(grown) / max(seconds, 0.001))


@reading_task
def read_looks(application: str, environment: str, since_s: float) -> list[Look]:
    """Read what was seen and decided in the last so many seconds, oldest first."""
    world = open_world()
    return world.load_history.looks(application, environment, since=world.clock.now() - timedelta(seconds=since_s))


@reading_task
def read_changed_at(application: str, environment: str) -> datetime | None:
    """When the size was changed last, or a change was taken back; None where it never was."""
    kinds = ["scale.completed", "scale.rolled_back", "scale.failed"]
    found = open_world().ledger.entries(
        kinds=kinds, application=application, environment=environment, newest_first=True, limit=1
    )
    return found[0].at if found else None


@reading_task
def try_lease(run: str, application: str, environment: str) -> str:
    """Take the environment's lease if that is possible just now; else say what stands in the way, without waiting.

    Effect: with an empty answer the run has the lease, until it is given back or expires.
    """
    world = open_world()
    for mark in world.break_glass.marks():
        if (mark.application, mark.environment) == (application, environment):
            return explain_mark(mark)
    if midway := list_rollouts_under_way.fn(application, environment):
        return f"the {midway[0].kind} of {short(midway[0].release)} is under way"
    try:
        world.leases.acquire(environment_lease(application, environment), owner=run, ttl_s=TTL_S)
    except TransientError as exc:
        return str(exc)
    return ""


@effect_task
def keep_look(run: str, application: str, environment: str, look: Look) -> None:
    """Remember a look. Effect: one row, the same again where it is repeated."""
    open_world().load_history.keep(application, environment, look)


@effect_task
def publish_load(run: str, policy: LoadPolicy) -> None:
    """Show how the load was, and what was decided: one artifact with a plot and a table."""
    world = open_world()
    place = (policy.application, policy.environment)
    looks = world.load_history.looks(*place, since=world.clock.now() - timedelta(hours=SHOWN_HOURS))
    markdown = render_load(looks, policy)
    publish_report.fn(f"load-{policy.application}-{policy.environment}", markdown, f"policy {policy.hash[:12]}")


def render_load(looks: Sequence[Look], policy: LoadPolicy) -> str:
    """Write the report: title, plot, and the newest looks as a table, newest first."""
    # numpy comes with the charts: a look without a policy does not pay for it
    from domain.load_chart import draw_load

    language = open_world().language
    title = say("load.title", language=language, application=policy.application, environment=policy.environment)
    if not looks:
        return f"## {title}\n\n{say('load.nothing_yet', language=language)}"
    load, capacity, instances = (say(f"load.{key}", language=language) for key in ("load", "capacity", "instances"))
    unit = say(f"load_policy.{policy.unit}", language=language)
    svg = draw_load(looks, policy, title=title, words=(load, capacity, instances), unit=unit)
    image = base64.b64encode(svg.encode()).decode()
    head = [say(f"load.{key}", language=language) for key in ("at", "load", "used", "instances", "decision")]
    rows = [
        f"| {look.at:%H:%M:%S} | {_amount(look.load)} {unit} | {_used(look, policy)} | {look.instances} "
        f"| {say_decision(look, language=language)} |"
        for look in reversed(looks[-ROWS_MAX:])
    ]
    table = "\n".join([f"| {' | '.join(head)} |", "| --- | ---: | ---: | ---: | --- |", *rows])
    return f"## {title}\n\n![{title}](data:image/svg+xml;base64,{image})\n\n{table}"


def _amount(load: float) -> str:
    return f"{load:.3g}" if math.isfinite(load) else "–"


def _used(look: Look, policy: LoadPolicy) -> str:
    if not math.isfinite(look.load) or not look.instances:
        return "–"
    return f"{100 * look.load / (look.instances * policy.capacity):.0f} %"
