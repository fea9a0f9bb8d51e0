"""The demo's script: a good release goes live, a bad one comes back by itself, an administrator goes back by hand.

Called by `slipway demo`. Each act waits for what the ledger says happened and keeps the figures for the summary; it
does nothing to the releases itself. Run again after an interruption, it first settles what the earlier one left.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from blocks.forge_local import LocalForge
from blocks.world import World
from deployments.demo import commits
from deployments.demo.commits import Pushed
from deployments.demo.counting import count_harm, count_sent, failed_outside, percentile
from deployments.demo.gate import Answerer, ApiAnswerer, PersonAnswerer
from deployments.demo.people import People
from deployments.demo.registering import REPOSITORY, ensure_application
from deployments.demo.settling import settle
from deployments.demo.stage import DemoFailedError, Stage
from deployments.demo.summary import Summary
from deployments.demo.timeline import Timeline
from deployments.demo.visitors import Entry as SiteEntry
from deployments.demo.visitors import Visitors, read_served
from domain.errors import SlipwayError
from domain.ledger import Entry, verify_chain
from domain.release import short
from domain.rollout import SETTLING_KINDS, live_release

APPLICATION = "helpdesk"
ENVIRONMENT = "production"
APPROVER, ADMINISTRATOR = "ann", "adam"
HOOK = commits.ROOT / "examples" / "forge" / "post_receive.py"

CI_LIMIT_S = 420
ROLLOUT_LIMIT_S = 420
PERSON_LIMIT_S = 960
EXAMPLES_MAX = 10
STANDBY_SHARE = 0.06
"""A standby has no users of its own; a few visitors there show that nothing is lost on it either."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the demo is to be run: who answers, how many requests a second, which folder it keeps its own in."""

    by_hand: bool
    rate: float
    folder: Path


def run_demo(world: World, timeline: Timeline, options: Options, summary: Summary) -> None:
    """Play all acts on a stack that is up.

    Effect: everything that three pushes and a rollback do; the summary is filled as far as it gets.

    Raises:
        DemoFailedError: where something did not happen; SlipwayError for everything else that stands in the way.
    """
    people = People(options.folder / "people.json")
    approver = people.ensure(world.approvers, APPROVER, "approver")
    administrator = people.ensure(world.approvers, ADMINISTRATOR, "administrator")
    # the worker of `ci` sees nothing of the demo's folder, where its people's seeds are
    bare = options.folder.parent / "repositories" / f"{APPLICATION}.git"
    forge = LocalForge(bare=bare, work=options.folder / "work")
    forge.ensure()
    address, secret = ensure_application(world, APPLICATION, url=str(forge.bare))
    forge.install_hook(HOOK, url=address, secret=secret, repository=REPOSITORY)
    settle(world, APPLICATION, tell=lambda count: timeline.tell("settling", mark="wait", count=count))
    answerer: Answerer = PersonAnswerer(timeline, approver) if options.by_hand else ApiAnswerer(world, people, approver)
    newest = world.ledger.entries(newest_first=True, limit=1)
    stage = Stage(
        world=world,
        application=APPLICATION,
        timeline=timeline,
        forge=forge,
        answerer=answerer,
        summary=summary,
        after=newest[0].seq if newest else 0,
    )
    try:
        _play(stage, options, people=people, administrator=administrator)
    finally:
        if stage.visitors is not None:
            stage.visitors.stop()
        count_everything(stage)


def _play(stage: Stage, options: Options, *, people: People, administrator: str) -> None:
    before = read_live(stage)
    if before:
        start_visitors(stage, options)
    else:
        before = play_baseline(stage, options)
    stage.summary.releases["before"] = before
    good = play_good(stage)
    play_bad(stage, good=good)
    play_manual_rollback(stage, people=people, administrator=administrator, left=good, expected=before)
    stage.rest(3)  # the last release under traffic for a moment, before the visitors leave


def play_baseline(stage: Stage, options: Options) -> str:
    """Nothing is live yet: deliver the helpdesk as it is, and open the doors to visitors once it is there."""
    stage.timeline.act("act_baseline")
    pushed, pushed_at = _push(stage, commits.push_baseline, name="baseline")
    release, cd = _follow_ci(stage, pushed, pushed_at, name="baseline")
    primary = stage.world.environment(ENVIRONMENT).primary.name

    def is_switched(entry: Entry) -> bool:
        event = entry.event
        return entry.kind == "site.switched" and (event.release, event.environment, event.site) == (
            release,
            ENVIRONMENT,
            primary,
        )

    stage.wait_for("first release in production", is_switched, limit_s=_limit(stage), run=cd, fatal=FATAL)
    start_visitors(stage, options)
    _wait_completed(stage, release, cd)
    _refuse_unless_served(stage, release, claim="baseline_is_live")
    return release


def play_good(stage: Stage) -> str:
    """A good change, through every gate, judged under traffic, to both sites."""
    stage.timeline.act("act_good")
    pushed, pushed_at = _push(stage, lambda forge: commits.push_good(forge, now=datetime.now(UTC)), name="good")
    release, cd = _follow_ci(stage, pushed, pushed_at, name="good")
    completed = _wait_completed(stage, release, cd)
    primary = stage.world.environment(ENVIRONMENT).primary.name
    switched = [
        entry.at.timestamp()
        for entry in stage.seen
        if entry.kind == "site.switched" and (entry.event.release, entry.event.site) == (release, primary)
        and entry.event.environment == ENVIRONMENT
    ]  # fmt: skip
    stage.summary.push_to_live_s = min(switched) - pushed_at
    stage.summary.push_to_completed_s = completed.at.timestamp() - pushed_at
    _refuse_unless_served(stage, release, claim="good_is_live_on_every_site")
    stage.timeline.tell("good_is_live", mark="ok", seconds=f"{stage.summary.push_to_live_s:.0f}")
    return release


def play_bad(stage: Stage, *, good: str) -> None:
    """A change that is slow and fails some requests: it must reach the canary, be judged, and be gone."""
    stage.timeline.act("act_bad")
    pushed, pushed_at = _push(stage, commits.push_bad, name="bad")
    release, cd = _follow_ci(stage, pushed, pushed_at, name="bad")
    stage.bad = release
    verdict = stage.wait_for(
        "verdict FAIL on the bad release",
        lambda entry: (
            entry.kind == "verdict.given" and entry.event.release == release and entry.data["verdict"] == "FAIL"
        ),
        limit_s=_limit(stage),
        run=cd,
        fatal=("rollout.completed", *FATAL),
        environment=ENVIRONMENT,
    )
    back = stage.wait_for(
        "rollback of the bad release",
        lambda entry: entry.kind == "rollout.rolled_back" and entry.event.release == release,
        limit_s=120,
    )
    stage.wait_for(
        "block of the bad digest",
        lambda entry: entry.kind == "digest.blocked" and entry.event.release == release,
        limit_s=60,
    )
    stage.rest(2)
    summary, verdict_at = stage.summary, verdict.at.timestamp()
    summary.verdict = str(verdict.data["cause"])
    harm = count_harm(
        stage.visitors.answers if stage.visitors else [],
        bad=release,
        primary=stage.world.environment(ENVIRONMENT).primary.name,
    )
    if harm.first_at is None or harm.last_at is None or not harm.on_primary:
        raise DemoFailedError("The bad release answered no visitor: there was no canary. Look at `slipway history`.")
    summary.verdict_s = verdict_at - harm.first_at
    summary.rollback_s = max(0.0, harm.last_at - verdict_at)
    summary.claims["bad_was_rolled_back_by_itself"] = back.data["verified"] == "yes" and back.data["to"] == good
    _refuse_unless_served(stage, good, claim="good_is_live_again_on_every_site")
    stage.timeline.tell(
        "bad_is_gone",
        mark="ok",
        verdict_s=f"{summary.verdict_s:.1f}",
        rollback_s=f"{summary.rollback_s:.1f}",
        requests=harm.requests,
        failed=harm.failed,
        slow=harm.slow,
    )


def play_manual_rollback(stage: Stage, *, people: People, administrator: str, left: str, expected: str) -> None:
    """An administrator goes back to the release before, alone, with a one-time code and a reason."""
    stage.timeline.act("act_manual", administrator=administrator)
    code = people.next_code(administrator)
    clicked_at = time.time()
    parameters = {
        "application": APPLICATION,
        "environment": ENVIRONMENT,
        "reason": "the demo: customers asked for the pages of before",
        "administrator": administrator,
        "code": code.digits,
        "release": expected,
    }
    run = stage.world.flow_runs.start("rollback/rollback", parameters=parameters, idempotency_key=f"demo:{uuid4()}")
    _link(stage, "rollback", run)
    done = stage.wait_for(
        "manual rollback",
        lambda entry: entry.kind == "rollback.completed" and entry.event.run == run,
        limit_s=180,
        run=run,
        fatal=("rollback.failed", "rollback.refused"),
    )
    stage.rest(2)
    summary = stage.summary
    summary.manual_rollback_s = done.at.timestamp() - clicked_at
    answers = stage.visitors.answers if stage.visitors else []
    by_left = [answer.at for answer in answers if answer.release == left and answer.at >= clicked_at]
    summary.manual_rollback_traffic_s = max(by_left, default=clicked_at) - clicked_at
    summary.releases["after"] = done.event.release
    summary.claims["manual_rollback_is_verified"] = done.data["verified"] == "yes"
    _refuse_unless_served(stage, expected, claim="release_before_is_live_on_every_site")
    stage.timeline.tell(
        "manual_done",
        mark="ok",
        seconds=f"{summary.manual_rollback_s:.1f}",
        traffic=f"{summary.manual_rollback_traffic_s:.1f}",
    )


def start_visitors(stage: Stage, options: Options) -> None:
    """Let visitors in through every production site's load balancer."""
    place = stage.world.environment(ENVIRONMENT)
    entries: list[SiteEntry] = []
    host = ""
    for site in place.sites:
        url, host = stage.world.balancer(ENVIRONMENT, site.name).entry(APPLICATION)
        rate = options.rate if site.role == "primary" else max(1.0, options.rate * STANDBY_SHARE)
        entries.append(SiteEntry(site.name, url, rate))
    stage.visitors = Visitors(entries, host=host, file=options.folder / "answers.jsonl")
    said = ", ".join(f"{entry.site} {entry.rate:g}/s ({entry.url})" for entry in entries)
    stage.timeline.tell("visitors", entries=said, host=host)


def read_live(stage: Stage) -> str:
    """Read which release production is on, by the ledger; empty where none ever was."""
    entries = stage.world.ledger.entries(kinds=SETTLING_KINDS, application=APPLICATION, environment=ENVIRONMENT)
    return live_release(entries)


FATAL = ("cd.stopped", "cd.refused", "rollout.failed")


def _push(stage: Stage, push: Callable[[LocalForge], Pushed], *, name: str) -> tuple[Pushed, float]:
    pushed_at = time.time()
    pushed = push(stage.forge)
    stage.summary.commits[name] = pushed.sha
    stage.timeline.tell("pushed", mark="ok", commit=short(pushed.sha), title=pushed.title, pusher=commits.PUSHER)
    for line in pushed.said.splitlines():
        said = line.removeprefix("remote:").strip()
        if said.startswith("webhook:"):
            stage.timeline.say_plain(said)
            if "failed" in said:
                raise DemoFailedError(f"The door did not take the push: {said}. Look at `slipway status`.")
    return pushed, pushed_at


def _follow_ci(stage: Stage, pushed: Pushed, pushed_at: float, *, name: str) -> tuple[str, str]:
    """Follow a push to its pinned release and the `cd` run that takes it on; returns both."""
    started = stage.wait_for(
        "run of ci",
        lambda entry: entry.kind == "ci.started" and entry.data.get("commit") == pushed.sha,
        limit_s=CI_LIMIT_S,
    )
    ci = started.event.run
    _link(stage, f"ci_{name}", ci)
    pinned = stage.wait_for(
        "release",
        lambda entry: entry.kind == "release.pinned" and entry.data["manifest"]["commit"] == pushed.sha,
        limit_s=CI_LIMIT_S,
        run=ci,
        fatal=("ci.failed",),
    )
    release = pinned.event.release
    stage.summary.releases[name] = release
    begun = stage.wait_for(
        "run of cd", lambda entry: entry.kind == "cd.started" and entry.event.release == release, limit_s=120
    )
    _link(stage, f"cd_{name}", begun.event.run)
    return release, begun.event.run


def _wait_completed(stage: Stage, release: str, cd: str) -> Entry:
    def is_completed(entry: Entry) -> bool:
        event = entry.event
        return entry.kind == "rollout.completed" and (event.release, event.environment) == (release, ENVIRONMENT)

    return stage.wait_for("release in production", is_completed, limit_s=_limit(stage), run=cd, fatal=FATAL)


def _limit(stage: Stage) -> float:
    return PERSON_LIMIT_S if isinstance(stage.answerer, PersonAnswerer) else ROLLOUT_LIMIT_S


def _link(stage: Stage, name: str, run: str) -> None:
    url = stage.world.run_records.url(run)
    stage.summary.runs[name] = url
    stage.timeline.tell("run", flow=name.split("_")[0], url=url)


def _refuse_unless_served(stage: Stage, release: str, *, claim: str) -> None:
    """See from outside that every site answers with this release, and nothing else, ten times in a row."""
    wrong: list[str] = []
    for site in stage.world.environment(ENVIRONMENT).sites:
        url, host = stage.world.balancer(ENVIRONMENT, site.name).entry(APPLICATION)
        for _ in range(10):
            served = read_served(url, host)
            if served != release:
                wrong.append(f"{site.name} answers with {short(served) or 'nothing'}")
                break
    stage.summary.claims[claim] = not wrong
    if wrong:
        raise DemoFailedError(f"{' and '.join(wrong)}, not with {short(release)}. Look at `slipway history`.")


def count_everything(stage: Stage) -> None:
    """Fill in what can be counted only at the end."""
    summary = stage.summary
    answers = stage.visitors.answers if stage.visitors else []
    outside = failed_outside(answers, bad=stage.bad)
    summary.requests = count_sent(answers)
    summary.failed_outside_canary = len(outside)
    summary.failed_outside_examples = [asdict(answer) for answer in outside[:EXAMPLES_MAX]]
    if answers:
        span_s = max(answer.at for answer in answers) - min(answer.at for answer in answers)
        summary.requests_per_s = summary.requests / max(1.0, span_s)
        good = [answer.ms for answer in answers if answer.was_sent and not (stage.bad and answer.release == stage.bad)]
        summary.latency_ms_p50, summary.latency_ms_p99 = percentile(good, 0.5), percentile(good, 0.99)
    primary = stage.world.environment(ENVIRONMENT).primary.name
    harm = count_harm(answers, bad=stage.bad, primary=primary)
    summary.canary_requests, summary.harmed_by_canary = harm.requests, harm.harmed
    summary.harmed_failed, summary.harmed_slow = harm.failed, harm.slow
    if answers:
        summary.claims["nobody_else_was_failed"] = not outside
    try:
        report = verify_chain(stage.world.ledger.entries(limit=1_000_000))
    except SlipwayError:
        return
    summary.ledger_entries = report.entries
    summary.claims["ledger_chain_holds"] = report.broken_at is None
