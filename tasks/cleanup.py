"""Clean-up's effects: planning, dropping partitions, deleting stretch by stretch, proving what is left.

Each looks for its authority in the ledger first. A stretch is as many batches as fit a minute; it remembers the last
key, so that a run which is started again goes on behind it, and one that was killed only looks at what is left.
"""

from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from blocks.world import open_world
from domain.cleanup import COMPLETED, PLANNED, Course, Plan, next_pause, refuse_drift
from domain.errors import ConfigError, SlipwayError
from domain.ports_cleanup import Expired, ExpiringRows, Key
from tasks.cleanup_policies import (
    find_approved_plan,
    hash_holds,
    judge,
    list_places,
    read_any,
    read_policies,
    read_policy,
    read_policy_holds,
    read_things,
    require_leave,
    subject_of,
)
from tasks.recording import effect, effect_task, reading_task, record

if TYPE_CHECKING:
    from domain.advice import CleanUp

STRETCH_S = 60
STRETCH_BATCHES = 500


@effect_task
def list_policies(run: str, application: str, environment: str, policy: str) -> list[list[str]]:
    """List application, environment and name of every policy asked for; what can't be read says why instead.

    Effect: none; kept, so that a run which is started again works on the same list.
    """
    found: list[list[str]] = []
    for name, place in list_places(application, environment):
        try:
            known = [one.name for one in (*read_policies(name, place), *read_things(name))]
            found += [[name, place, one, ""] for one in known if policy in ("", one)]
        except SlipwayError as exc:
            found.append([name, place, "", str(exc)[:500]])
    if policy and not found:
        raise ConfigError(f"Nothing has a clean-up policy '{policy}'. Leave it empty to see every policy there is.")
    return found


@effect_task
def plan_cleanup(run: str, application: str, environment: str, name: str) -> dict[str, Any]:
    """Count what would go at a cut-off that is fixed from here on. Effect: one entry.

    A plan that somebody approved and that is not carried out yet is taken up again, unless more would go by now.
    """
    world = open_world()
    policy = read_policy(application, environment, name)
    holds = read_policy_holds(application, environment, policy)
    now = world.clock.now()
    rows = world.cleaning.rows(application, environment)
    approved = find_approved_plan(application, environment, policy, now)
    if approved is not None and approved.holds_hash == hash_holds(holds):
        seen = rows.preview(Expired(policy, datetime.fromisoformat(approved.cutoff), holds))
        if seen.rows and not refuse_drift(approved.preview, seen):
            return _record_plan(run, approved)
    cutoff = (now - timedelta(days=policy.older_than_days)).replace(microsecond=0)
    preview = rows.preview(Expired(policy, cutoff, holds))
    return _record_plan(
        run, Plan(application, environment, name, policy.hash, hash_holds(holds), cutoff.isoformat(), preview)
    )


def _record_plan(run: str, plan: Plan) -> dict[str, Any]:
    """Write a plan down; a run that was cut off behind that keeps its first one."""
    subject = subject_of(run, plan.application, plan.environment)
    return dict(record(subject, PLANNED, detail=plan.policy, **plan.as_dict()).data)


@reading_task
def decide_cleanup(application: str, environment: str, name: str, plan: dict[str, Any]) -> tuple[str, list[Any], str]:
    """Judge a plan: its course, reasons (key and values), and whose word it rests on."""
    from domain.cleanup import read_plan

    policy = read_any(application, environment, name)
    decision = judge(application, environment, policy, read_plan(plan), open_world().clock.now())
    return decision.course.value, [list(one) for one in decision.reasons], decision.by


@effect_task
def begin_cleanup(run: str, application: str, environment: str, name: str, plan_hash: str) -> bool:
    """Write down that a plan is carried out, on whose word. Effect: one entry. Returns whether it is archived first."""
    allowed = require_leave(run, application, environment, name, plan_hash)
    record(
        subject_of(run, application, environment, actor=allowed.decision.by),
        "cleanup.begun",
        detail=f"{name}:{plan_hash}",
        policy=name,
        plan_hash=plan_hash,
        approved_seq=allowed.decision.approved_seq,
        rows=allowed.plan.preview.rows,
    )
    return allowed.expired.policy.archive


@reading_task
def list_partitions(run: str, application: str, environment: str, name: str, plan_hash: str) -> list[str]:
    """List the partitions that wholly expired."""
    allowed = require_leave(run, application, environment, name, plan_hash)
    return open_world().cleaning.rows(application, environment).pending_partitions(allowed.expired)


@effect_task
def drop_partition(run: str, application: str, environment: str, name: str, plan_hash: str, partition: str) -> int:
    """Detach and drop one partition; returns its rows. Effect: the partition; may be repeated."""
    allowed = require_leave(run, application, environment, name, plan_hash)
    subject = subject_of(run, application, environment)
    with effect(
        subject, "partition", "dropped", detail=f"{name}:{partition}", policy=name, partition=partition
    ) as told:
        told["rows"] = open_world().cleaning.rows(application, environment).drop_partition(allowed.expired, partition)
    return int(told["rows"])


@effect_task
def delete_stretch(
    run: str,
    application: str,
    environment: str,
    name: str,
    plan_hash: str,
    number: int,
    after: tuple[str, ...] | None,
    most: int,
) -> dict[str, Any]:
    """Delete batch by batch for about a minute, `most` rows at most. Effect: rows; may be repeated.

    Returns: `rows`, `related`, `last` (None at the end of the walk), `batches`, `pause_s`, `latency_s` (the longest).
    """
    allowed = require_leave(run, application, environment, name, plan_hash)
    subject = subject_of(run, application, environment)
    rows = open_world().cleaning.rows(application, environment)
    begun = effect(subject, "stretch", "deleted", detail=f"{name}:{number}", policy=name, number=number)
    with begun as told, closing(rows):
        told.update(_walk(rows, allowed.expired, after, most))
    return dict(told)


def _walk(rows: ExpiringRows, expired: Expired, after: Key | None, most: int) -> dict[str, Any]:
    """Delete, rest, look at the load, and so on: the rests grow while the database has other work."""
    clock, policy = open_world().clock, expired.policy
    begun, least_s = clock.now(), policy.pause_ms / 1000
    baseline_s, pause_s = rows.load().latency_s, least_s
    done = related = batches = 0
    slowest_s, longest_s = baseline_s, 0.0
    while done < most and batches < STRETCH_BATCHES and (clock.now() - begun).total_seconds() < STRETCH_S:
        batch = rows.delete_batch(expired, after=after, rows=min(policy.batch_rows, most - done))
        done, related, after, batches = done + batch.rows, related + batch.related, batch.last, batches + 1
        if after is None:
            break
        load = rows.load()
        pause_s = next_pause(
            pause_s,
            load,
            baseline_s=baseline_s,
            least_s=least_s,
            latency_ratio_max=policy.latency_ratio_max,
            replica_lag_s_max=policy.replica_lag_s_max,
        )
        slowest_s, longest_s = max(slowest_s, load.latency_s), max(longest_s, pause_s)
        clock.sleep(pause_s)
    return {
        "rows": done,
        "related": related,
        "last": list(after) if after is not None else None,
        "batches": batches,
        "pause_s": round(longest_s, 4),
        "latency_s": round(slowest_s, 6),
    }


@effect_task
def prove_cleanup(
    run: str, application: str, environment: str, name: str, plan_hash: str, rows: int, related: int
) -> dict[str, Any]:
    """Make the space usable, then look at what is left. Effect: VACUUM, one entry; may be repeated.

    Returns: `verdict` (PASS or FAIL), `failed` (the expectations that do not hold) and the figures.
    """
    allowed = require_leave(run, application, environment, name, plan_hash)
    database = open_world().cleaning.rows(application, environment)
    database.vacuum(allowed.expired)
    proof = database.prove(allowed.expired)
    before = allowed.plan.preview
    failed = [
        words
        for words, holds in (
            ("no row refers to what is gone", proof.orphans == 0),
            ("held rows are still there", proof.held_rows >= before.held_rows),
            ("no more went than was planned", rows <= before.rows or before.method == "partitions"),
        )
        if not holds
    ]
    told: dict[str, Any] = {
        "policy": name,
        "plan_hash": plan_hash,
        "verdict": "FAIL" if failed else "PASS",
        "failed": failed,
        "rows": rows,
        "related": related,
        "planned_rows": before.rows,
        "size_bytes": int(before.size_bytes * min(1.0, rows / before.rows)) if before.rows else 0,
        "left_rows": proof.left_rows,
        "held_rows": proof.held_rows,
        "orphans": proof.orphans,
        "method": before.method,
    }
    record(subject_of(run, application, environment), COMPLETED, detail=f"{name}:{plan_hash}", **told)
    return told


def what_would_go(application: str, environment: str) -> "list[CleanUp]":
    """Say for each policy the bytes that it would free now: what capacity may name instead of a larger size.

    A dry run: nothing is written, not even into the ledger. A policy that does not fit its database frees nothing.
    """
    from domain.advice import CleanUp  # numpy comes along, which a clean-up itself can do without

    world, found = open_world(), list[CleanUp]()
    for policy in read_policies(application, environment):
        cutoff = world.clock.now() - timedelta(days=policy.older_than_days)
        try:
            holds = read_policy_holds(application, environment, policy)
            preview = world.cleaning.rows(application, environment).preview(Expired(policy, cutoff, holds))
        except ConfigError:
            continue
        found.append(CleanUp(policy.name, float(preview.size_bytes)))
    return found


def is_applied(course: str) -> bool:
    """Whether a course is to carry a plan out."""
    return course == Course.APPLY.value
