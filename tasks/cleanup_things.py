"""Clean-up of what is no row: the same plan, the same approval, the same proof, for uploads, logs, runs and caches."""

from datetime import datetime, timedelta
from typing import Any

from blocks.world import open_world
from domain.cleanup import COMPLETED, PLANNED, Course, Plan
from domain.cleanup_policy import ThingsPart
from domain.errors import ConfigError, RefusedError
from domain.expiry import choose_expired, preview_items
from domain.ports_cleanup import Expirables
from tasks.cleanup_policies import find_approved_plan, judge, read_plans, read_things, subject_of
from tasks.recording import effect, effect_task, record

PORTION = 200


def _open(application: str, name: str) -> tuple[ThingsPart, Expirables]:
    policy = next(one for one in read_things(application) if one.name == name)
    if policy.kind == "objects":
        return policy, open_world().cleaning.objects(policy.bucket, policy.prefix)
    kinds = open_world().cleaning.expirables()
    if policy.kind not in kinds:
        raise ConfigError(f"Policy '{name}': this installation has no {policy.kind}. There are: {', '.join(kinds)}.")
    return policy, kinds[policy.kind]


def is_thing(application: str, name: str) -> bool:
    """Whether a policy is for things instead of rows."""
    return any(one.name == name for one in read_things(application))


@effect_task
def plan_things(run: str, application: str, environment: str, name: str) -> dict[str, Any]:
    """Count what would go at a cut-off that is fixed from here on. Effect: one entry."""
    policy, things = _open(application, name)
    now, items = open_world().clock.now(), things.read()
    approved = find_approved_plan(application, environment, policy, now)
    cutoff = datetime.fromisoformat(approved.cutoff) if approved else now - timedelta(days=policy.older_than_days)
    chosen = choose_expired(items, cutoff=cutoff, keep_newest=policy.keep_newest)
    if approved is not None and 0 < len(chosen) <= approved.preview.rows:
        plan = approved
    else:
        cutoff = (now - timedelta(days=policy.older_than_days)).replace(microsecond=0)
        chosen = choose_expired(items, cutoff=cutoff, keep_newest=policy.keep_newest)
        preview = preview_items(items, chosen, cutoff=cutoff)
        plan = Plan(application, environment, name, policy.hash, "", cutoff.isoformat(), preview)
    return dict(record(subject_of(run, application, environment), PLANNED, detail=name, **plan.as_dict()).data)


@effect_task
def remove_things(run: str, application: str, environment: str, name: str, plan_hash: str) -> dict[str, Any]:
    """Remove what a plan is about, in portions, and look at what is left. Effect: things; may be repeated.

    What came into use since it was planned stays, and is told. Returns: as `prove_cleanup` does.
    """
    policy, things = _open(application, name)
    plan, by = _need_leave(run, application, environment, policy, plan_hash)
    cutoff = datetime.fromisoformat(plan.cutoff)
    subject = subject_of(run, application, environment, actor=by)
    before = things.read()
    keys = [one.key for one in choose_expired(before, cutoff=cutoff, keep_newest=policy.keep_newest)]
    keys = keys[: plan.preview.rows]
    count = size_bytes = 0
    kept: list[tuple[str, str]] = []
    with effect(subject, "removal", "completed", detail=name, policy=name, plan_hash=plan_hash) as told:
        for first in range(0, len(keys), PORTION):
            removed = things.remove(keys[first : first + PORTION])
            count, size_bytes = count + removed.count, size_bytes + removed.size_bytes
            kept += removed.failed
        told.update(count=count, size_bytes=size_bytes, kept=[list(one) for one in kept[:20]])
    return _prove(subject, name, plan, things, keys, count, size_bytes, kept)


def _prove(
    subject: Any,
    name: str,
    plan: Plan,
    things: Expirables,
    keys: list[str],
    count: int,
    size_bytes: int,
    kept: list[tuple[str, str]],
) -> dict[str, Any]:
    now = {one.key: one for one in things.read()}
    excused = {key for key, _ in kept}
    left = [key for key in keys if key in now and key not in excused]
    failed = ["what was removed is gone"] if left else []
    told: dict[str, Any] = {
        "policy": name,
        "plan_hash": plan.hash,
        "verdict": "FAIL" if failed else "PASS",
        "failed": failed,
        "rows": count,
        "related": 0,
        "planned_rows": plan.preview.rows,
        "size_bytes": size_bytes,
        "left_rows": len(left) + len(kept),
        "held_rows": len(kept),
        "orphans": 0,
        "method": "items",
    }
    record(subject, COMPLETED, detail=f"{name}:{plan.hash}", **told)
    return told


def _need_leave(run: str, application: str, environment: str, policy: ThingsPart, plan_hash: str) -> tuple[Plan, str]:
    """Refuse what no entry of the ledger allows as things are now. Raises: RefusedError."""
    reason = "there is no such plan of the policy as it is now"
    for plan in read_plans(application, environment, policy.name):
        if plan.hash == plan_hash and plan.policy_hash == policy.hash:
            decision = judge(application, environment, policy, plan, open_world().clock.now())
            if decision.course is Course.APPLY:
                return plan, decision.by
            reason = "nobody approved it, or its caps are passed"
    subject = subject_of(run, application, environment)
    record(subject, "effect.refused", detail=f"{policy.name}:{plan_hash}", reason=reason)
    raise RefusedError(f"Clean-up '{policy.name}' is refused: {reason}. Start `cleanup` again for a new plan.")
