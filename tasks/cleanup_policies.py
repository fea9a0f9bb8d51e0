"""Reading what clean-up goes by: policies, holds, approvals, plans; and refusing what they do not allow."""

from dataclasses import dataclass
from datetime import datetime

from blocks.world import open_world
from domain.canonical import digest_of
from domain.cleanup import (
    APPROVED,
    COMPLETED,
    PLANNED,
    WITHDRAWN,
    Approval,
    Caps,
    Course,
    Decision,
    Plan,
    judge_plan,
    read_approvals,
    read_plan,
)
from domain.cleanup_policy import OWN, CleanupPart, HoldPart, ThingsPart, find_policy, parse_policies
from domain.errors import RefusedError
from domain.holds import HOLD_KINDS, holds_for, read_holds
from domain.ports_cleanup import Expired
from domain.rollout import live_release
from tasks.approval import read_settled
from tasks.instances import read_application_file
from tasks.recording import Subject, record

AnyPolicy = CleanupPart | ThingsPart
_ENTRIES_MAX = 100_000


def list_places(application: str, environment: str) -> list[tuple[str, str]]:
    """Every application with that environment, or one; and Slipway itself, which is in none.

    Raises: ConfigError for an application that there is not.
    """
    world = open_world()
    if application == OWN:
        return [(OWN, "")]
    if application:
        return [(world.applications.get(application).name, environment)]
    return [*((one.name, environment) for one in world.applications.list() if one.name != OWN), (OWN, "")]


def read_policies(application: str, environment: str) -> tuple[CleanupPart, ...]:
    """Read the policies of the release that is live there; Slipway's own for `slipway`."""
    world = open_world()
    if application == OWN:
        return parse_policies(world.cleaning.own_policies, file="cleanup.yaml").cleanup
    live = live_release(read_settled(application, environment))
    if not live:
        return ()
    return read_application_file(application, environment, world.environment(environment).primary.name, live).cleanup


def read_policy(application: str, environment: str, name: str) -> CleanupPart:
    """Read one policy. Raises: ConfigError that lists the names there are."""
    return find_policy(read_policies(application, environment), name, of=f"{application} in {environment}")


def read_things(application: str) -> tuple[ThingsPart, ...]:
    """Read the policies for what is no row; only Slipway itself has some."""
    if application != OWN:
        return ()
    return parse_policies(open_world().cleaning.own_policies, file="cleanup.yaml").things


def read_any(application: str, environment: str, name: str) -> AnyPolicy:
    """Read a policy of either kind. Raises: ConfigError that lists the names there are."""
    things = [one for one in read_things(application) if one.name == name]
    return things[0] if things else read_policy(application, environment, name)


def read_policy_holds(application: str, environment: str, policy: CleanupPart) -> tuple[HoldPart, ...]:
    """Read the holds of the ledger that a policy has to keep."""
    entries = open_world().ledger.entries(
        kinds=HOLD_KINDS, application=application, environment=environment, limit=_ENTRIES_MAX
    )
    return holds_for(policy, read_holds(entries))


def hash_holds(holds: tuple[HoldPart, ...]) -> str:
    """One hash of all holds of the ledger: a plan is made with them, and worth nothing with others."""
    return digest_of([hold.model_dump(mode="json") for hold in holds])


def read_word(application: str, environment: str, policy: str) -> list[Approval]:
    """Read the approvals of a policy that hold."""
    entries = open_world().ledger.entries(
        kinds=(APPROVED, WITHDRAWN), application=application, environment=environment, limit=_ENTRIES_MAX
    )
    return read_approvals(entries, policy=policy)


def read_plans(application: str, environment: str, policy: str) -> list[Plan]:
    """Read the newest plans of a policy, newest first."""
    entries = open_world().ledger.entries(
        kinds=[PLANNED], application=application, environment=environment, newest_first=True, limit=1000
    )
    return [read_plan(entry.data) for entry in entries if entry.data["policy"] == policy]


def find_approved_plan(application: str, environment: str, policy: AnyPolicy, now: datetime) -> Plan | None:
    """Find a plan that somebody approved and that was not carried out to its end."""
    entries = open_world().ledger.entries(
        kinds=[COMPLETED], application=application, environment=environment, newest_first=True, limit=1000
    )
    ended = {str(entry.data["plan_hash"]) for entry in entries}
    wanted = {one.plan_hash for one in read_word(application, environment, policy.name) if one.plan_hash} - ended
    for plan in read_plans(application, environment, policy.name) if wanted else []:
        if plan.hash in wanted and plan.policy_hash == policy.hash:
            decision = judge(application, environment, policy, plan, now)
            return plan if decision.course is Course.APPLY else None
    return None


def judge(application: str, environment: str, policy: AnyPolicy, plan: Plan, now: datetime) -> Decision:
    """Decide on a plan by what the ledger holds now."""
    caps = Caps(policy.rows_max, policy.share_percent_max, policy.bytes_max)
    return judge_plan(plan, caps, read_word(application, environment, policy.name), now=now)


@dataclass(frozen=True, slots=True)
class Allowed:
    """A plan that may be carried out, and the rows that it is about."""

    plan: Plan
    expired: Expired
    decision: Decision


def require_leave(run: str, application: str, environment: str, name: str, plan_hash: str) -> Allowed:
    """Refuse a deletion that no entry of the ledger allows as things are now: looked for before each effect.

    Raises: RefusedError; the attempt is in the ledger then, as `effect.refused`.
    """
    policy = read_policy(application, environment, name)
    holds = read_policy_holds(application, environment, policy)
    planned = [plan for plan in read_plans(application, environment, name) if plan.hash == plan_hash]
    reason = _find_reason(policy, holds, planned)
    if not reason:
        decision = judge(application, environment, policy, planned[0], open_world().clock.now())
        if decision.course is Course.APPLY:
            expired = Expired(policy, datetime.fromisoformat(planned[0].cutoff), holds)
            return Allowed(planned[0], expired, decision)
        reason = "nobody approved it, or its caps are passed"
    record(Subject(run, application, environment), "effect.refused", detail=f"{name}:{plan_hash}", reason=reason)
    raise RefusedError(
        f"Clean-up '{name}' of {application} is refused: {reason}. Start `cleanup` again for a new plan."
    )


def _find_reason(policy: CleanupPart, holds: tuple[HoldPart, ...], planned: list[Plan]) -> str:
    if not planned:
        return "there is no such plan"
    if planned[0].policy_hash != policy.hash:
        return "the policy was changed since it was planned"
    return "holds were changed since it was planned" if planned[0].holds_hash != hash_holds(holds) else ""


def subject_of(run: str, application: str, environment: str, actor: str = "slipway") -> Subject:
    """What entries of a clean-up are about. Slipway's own database belongs to no environment."""
    return Subject(run, application, environment, actor=actor)
