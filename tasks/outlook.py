"""Forecasting what was collected, keeping what comes out, showing it; each task stands on records, not on memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from blocks.world import World, open_world
from domain.advice import Advice, CleanUp, is_settled
from domain.capacity import GpuModel, PlannedEvent, PostgresSource, VectorPlan
from domain.capacity_page import Page, choose_plots, has_crossing, policy_of, render_html, render_markdown, summarise
from domain.capacity_plot import plot_outlook
from domain.catalogue import say
from domain.crossing import SEARCH_DAYS
from domain.errors import ConfigError, SlipwayError
from domain.limits import Limit
from domain.outlook import Outlook, Surroundings, look_ahead, wants_hours
from domain.ports_capacity import HeavyQuery
from domain.series import DAY_S, HOUR_S, Series
from domain.usage import Metric, Resource
from domain.what_if import Question, compare, render_comparison
from tasks.cleanup import what_would_go
from tasks.recording import Subject, effect, effect_task, reading_task, record

ADVICE_KEPT = timedelta(days=120)
EARLIER = timedelta(days=45)
GIVEN_MAX, GIVEN_LOOKED_AT = 50, 2000
GAPS_SHOWN = timedelta(days=7)
QUERIES_MAX = 5
EXAMPLES_MAX = 5
REPORT_KEY = "capacity"
_OF_DATABASES = (Metric.CONNECTIONS, Metric.DATABASE, Metric.TABLE, Metric.VECTORS)


@effect_task
def forecast_usage(run: str) -> dict[str, Any]:
    """Look ahead for everything that was collected, and keep what comes out. Effect: outlooks and advice, replaced.

    Returns: how many `resources`, how many are `near`, how many have no forecast (`refused`), how many advices are
    `settled`, and the `problems` of sources that told no limits.
    """
    world = open_world()
    now = world.clock.now()
    with effect(Subject(run, ""), "capacity", "forecast") as outcome:
        daily, hourly = _read_series(world)
        around, problems = _look_around(world, [Resource.parse(one.name) for one in (*daily, *hourly)])
        outlooks = _settle(world, run, look_ahead(daily, hourly, now=now, around=around))
        world.outlooks.keep(run, outlooks)
        world.outlooks.prune(before=now - ADVICE_KEPT)
        outcome.update(
            resources=len(outlooks),
            near=sum(has_crossing(one) for one in outlooks),
            refused=sum(one.band is None for one in outlooks),
            settled=sum(one.is_settled for one in outlooks),
        )
    _give_advice(run, world, outlooks)
    return outcome | {"problems": problems}


def _read_series(world: World, resources: Sequence[Resource] | None = None) -> tuple[list[Series], list[Series]]:
    """Everything by days; by hours what comes and goes, and what is too young for days."""
    daily = world.usage_store.series(step_s=DAY_S, resources=resources)
    days = {one.name: len(one.values) for one in daily}
    by_hours = [one for one in world.usage_store.resources() if wants_hours(one, days.get(one.key, 0))]
    if resources is not None:
        by_hours = [one for one in by_hours if one in resources]
    return daily, world.usage_store.series(step_s=HOUR_S, resources=by_hours)


def _look_around(world: World, resources: Sequence[Resource]) -> tuple[Surroundings, list[str]]:
    """Limits, clean-ups and instances as they are now; a source that can't tell its limits has none for this run."""
    plan = world.capacity.read()
    limits: dict[Resource, Limit] = {}
    problems: list[str] = []
    for source in world.usage_sources():
        try:
            limits |= {limit.resource: limit for limit in source.limits() if limit.resource not in limits}
        except SlipwayError as exc:
            problems.append(f"{source.name}: {str(exc)[:256]}")
    clean_ups = _read_clean_ups(world, resources)
    instances = {
        (one.application, one.environment): _count_instances(world, one.application, one.environment)
        for one in plan.services
    }
    return Surroundings(plan, limits, clean_ups, instances), problems


def _read_clean_ups(world: World, resources: Sequence[Resource]) -> dict[Resource, list[CleanUp]]:
    """What the clean-up policies of an application would free of its database, counted by a dry run of each."""
    databases = {one.name: one for one in resources if one.metric is Metric.DATABASE}
    places = [(app.name, place.name) for app in world.applications.list() for place in world.environments()]
    found = {
        database: what_would_go(application, environment)
        for application, environment in places
        if (database := databases.get(f"{application}_{environment}"))
    }
    return {database: policies for database, policies in found.items() if policies}


def _count_instances(world: World, application: str, environment: str) -> int:
    """Instances that run on the site which users reach; 0 where nobody can tell, then the settings count."""
    try:
        site = world.environment(environment).primary.name
        return sum(one.state == "running" for one in world.target(environment, site).instances(application))
    except SlipwayError:
        return 0


def _settle(world: World, run: str, outlooks: Sequence[Outlook]) -> list[Outlook]:
    """Compare with what earlier runs advised: an advice counts when runs agree."""
    now = world.clock.now()
    earlier = world.outlooks.earlier(run=run, since=now - EARLIER)
    settled: list[Outlook] = []
    for one in outlooks:
        if (advice := one.advice) is not None:
            if "application" in advice.parameters:  # `scale` wants a reason
                reason = advice.reason.text(world.language)
                advice = replace(advice, parameters=advice.parameters | {"reason": reason})
            agreed = is_settled(advice, earlier.get((advice.resource, advice.what), ()), now=now)
            settled.append(replace(one, advice=advice, is_settled=agreed))
        else:
            settled.append(one)
    return settled


def _give_advice(run: str, world: World, outlooks: Sequence[Outlook]) -> None:
    """Write settled advice that is new, or that changed by a tenth, into the ledger, ready to be taken by a change."""
    before: dict[tuple[str, str], float] = {}
    for entry in world.ledger.entries(kinds=["advice.given"], newest_first=True, limit=GIVEN_LOOKED_AT):
        before.setdefault((entry.data["resource"], entry.data["what"]), entry.data["wanted"])
    new = [one for one in outlooks if one.is_settled and one.advice and not _is_known(one.advice, before)]
    for one in new[:GIVEN_MAX]:
        assert one.advice
        parameters = one.advice.parameters
        subject = Subject(run, str(parameters.get("application", "")), str(parameters.get("environment", "")))
        record(
            subject,
            "advice.given",
            detail=f"{one.resource.key}:{one.advice.what}",
            resource=one.resource.key,
            move=str(one.advice.move),
            what=one.advice.what,
            now=one.advice.now,
            wanted=one.advice.wanted,
            reason=one.advice.reason.text(world.language),
            cost_per_month=one.advice.cost_per_month,
            parameters=parameters,
            policy=policy_of(one.advice),
        )


def _is_known(advice: Advice, before: dict[tuple[str, str], float]) -> bool:
    given = before.get((advice.resource, advice.what))
    return given is not None and abs(advice.wanted - given) <= 0.1 * abs(given)


@effect_task
def publish_page(run: str) -> dict[str, str]:
    """Show the newest outlooks. Effect: artifacts `capacity`, `capacity-plots-2`, …, and a file of the same, by day.

    Returns: `path` of the file, `summary`, and how many are `near` of `total` within how many `days`, as words.
    """
    world = open_world()
    page = _make_page(world, world.clock.now())
    for number, markdown in enumerate(render_markdown(page), start=1):
        key = REPORT_KEY if number == 1 else f"{REPORT_KEY}-plots-{number}"
        world.screen.report(key, markdown=markdown, description=page.say("title"))
    path = world.reports.write(f"capacity-{page.at:%Y-%m-%d}.html", render_html(page))
    near = sum(has_crossing(one) for one in page.outlooks)
    summary = summarise(page).replace("**", "")
    told = {"near": str(near), "total": str(len(page.outlooks)), "days": str(SEARCH_DAYS)}
    return {"path": path, "summary": summary, **told}


def _make_page(world: World, at: datetime) -> Page:
    outlooks = world.outlooks.newest()
    plan = world.capacity.read()
    return Page(
        at,
        outlooks,
        _draw(world, choose_plots(outlooks)),
        _heavy_queries(world, outlooks),
        _gaps(world),
        plan,
        plan.gpus if plan.gpus is not None else _count_gpus(outlooks),
        world.language,
    )


def _draw(world: World, chosen: Sequence[Outlook]) -> dict[str, str]:
    """Draw some resources, reading the series of all of them at once."""
    series: dict[tuple[str, int], Series] = {}
    for step_s in {one.step_s for one in chosen}:
        wanted = [one.resource for one in chosen if one.step_s == step_s]
        series |= {(one.name, step_s): one for one in world.usage_store.series(step_s=step_s, resources=wanted)}
    return {
        one.resource.key: plot_outlook(one, series[one.resource.key, one.step_s], language=world.language)
        for one in chosen
        if (one.resource.key, one.step_s) in series
    }


def _heavy_queries(world: World, outlooks: Sequence[Outlook]) -> list[HeavyQuery]:
    """The heaviest queries of each server that runs out of something; none of one that nobody counts."""
    servers = _short_servers(world, outlooks)
    found: list[HeavyQuery] = []
    for server in servers:
        try:
            queries = world.heavy_queries.heaviest(server, limit=QUERIES_MAX)
        except SlipwayError:
            continue  # that it is away stands among the gaps
        found += [replace(one, database=f"{server}/{one.database}") if len(servers) > 1 else one for one in queries]
    return found


def _short_servers(world: World, outlooks: Sequence[Outlook]) -> list[str]:
    """Database servers that run out of something; the stack's own also where this machine runs out of processor."""
    short = [one.resource for one in outlooks if has_crossing(one)]
    servers = {one.owner for one in short if one.metric in _OF_DATABASES}
    here = [source.name for source in world.usage_sources()]
    if any(f"machine:{one.owner}" in here for one in short if one.metric is Metric.CPU):
        sources = world.capacity.read().sources
        servers |= {source.owner for source in sources if isinstance(source, PostgresSource) and not source.url}
    return sorted(servers)


def _gaps(world: World) -> list[str]:
    """A line for each source that gave nothing for a time within the last week, since it was first read."""
    end = world.clock.now()
    lines: list[str] = []
    for source in world.usage_sources():
        begin, newest = end - GAPS_SHOWN, world.usage_store.newest(source.name)
        gaps = world.usage_store.gaps(source.name, begin=begin, end=newest or end)
        if gaps and gaps[0].interval.begin == begin and newest and not _was_read_before(world, source.name, begin):
            gaps = gaps[1:]  # nobody knew of it then
        if gaps:
            hours = sum(gap.interval.seconds for gap in gaps) / HOUR_S
            lines.append(_say_gap(world, source.name, hours=hours, count=len(gaps), reason=gaps[-1].reason))
    return lines


def _was_read_before(world: World, source: str, begin: datetime) -> bool:
    """Whether a source gave anything before a moment."""
    oldest = begin - timedelta(days=world.capacity.read().collecting.day_days)
    before = world.usage_store.gaps(source, begin=oldest, end=begin)
    return sum(gap.interval.seconds for gap in before) < (begin - oldest).total_seconds()


def _say_gap(world: World, source: str, *, hours: float, count: int, reason: str) -> str:
    told = reason[:160] or say("capacity.gap_unasked", language=world.language)
    return say(
        "capacity.gap_row", language=world.language, source=source, hours=f"{hours:.1f}", count=count, reason=told
    )


def _count_gpus(outlooks: Sequence[Outlook]) -> int | None:
    """GPUs that were measured; None where none was."""
    return sum(one.resource.metric is Metric.GPU_MEMORY for one in outlooks) or None


@effect_task
def publish_plot(run: str, resource: str) -> str:
    """Show one resource, whatever its place. Effect: an artifact `capacity-plot`. Raises: ConfigError: none such."""
    world = open_world()
    outlooks = world.outlooks.newest()
    found = next((one for one in outlooks if one.resource.key == resource), None)
    if found is None:
        examples = ", ".join(one.resource.key for one in outlooks[:EXAMPLES_MAX]) or "–"
        told = {"resource": resource[:80], "examples": examples}
        raise ConfigError(say("capacity.unknown_resource", language=world.language, **told))
    page = Page(world.clock.now(), [found], _draw(world, [found]), language=world.language)
    return world.screen.report("capacity-plot", markdown=render_markdown(page)[0], description=resource)


@reading_task
def compare_what_if(
    events: Sequence[PlannedEvent], models: Sequence[GpuModel], vectors: Sequence[VectorPlan]
) -> dict[str, Any]:
    """Look ahead with and without events that are not planned yet; nothing is kept.

    Returns: `markdown`, and `moved`: how many dates or probabilities change.
    Raises: ConfigError naming an event that can't be, or that concerns nothing which was collected.
    """
    world = open_world()
    question = Question(tuple(events), tuple(models), tuple(vectors))
    concerned = question.concerned(world.usage_store.resources(), language=world.language)
    daily, hourly = _read_series(world, concerned)
    around, _ = _look_around(world, concerned)
    now = world.clock.now()
    before = look_ahead(daily, hourly, now=now, around=around)
    after = look_ahead(daily, hourly, now=now, around=replace(around, extra=question.planned()))
    gpus = around.plan.gpus if around.plan.gpus is not None else _count_gpus(world.outlooks.newest())
    moves = compare(before, after, language=world.language)
    return {
        "markdown": render_comparison(question, moves, around.plan, gpus, language=world.language),
        "moved": sum(move.is_moved for move in moves),
    }
