"""Where each clean-up policy stands: who approved it, what its newest plan does, what went last. Changes nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blocks.world import open_world
from domain.archive import NONE
from domain.cleanup import COMPLETED, Course, Plan
from domain.cleanup_policy import CleanupPart
from domain.errors import ConfigError, SlipwayError
from tasks.cleanup_policies import AnyPolicy, judge, list_places, read_plans, read_policies, read_things, read_word

_ENTRIES_MAX = 1000


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """One policy. `approved_by` and `approved_at`: the standing approval of it as it is now; empty without one.

    Attributes:
        course: what the newest plan came to: `apply`, `ask`, `nothing`; empty where it was never planned.
        plan: the newest plan of the policy as it is now; `ended`: `cleanup.completed` of the last one carried out.
        problem: why its policies could not be read; everything else is empty then.
    """

    application: str
    environment: str
    name: str = ""
    what: str = ""
    older_than_days: int = 0
    policy_hash: str = ""
    is_archived: bool = False
    approved_by: str = ""
    approved_at: datetime | None = None
    course: str = ""
    plan: Plan | None = None
    ended: dict[str, Any] | None = None
    ended_at: datetime | None = None
    problem: str = ""

    @property
    def is_well(self) -> bool:
        """Whether it waits for nobody and did not fail."""
        failed = self.ended is not None and self.ended["verdict"] != "PASS"
        return not self.problem and not failed and self.course != Course.ASK.value


def read_cleanup_status(application: str, environment: str) -> list[PolicyStatus]:
    """Read every policy, of one application or of all with Slipway's own."""
    found: list[PolicyStatus] = []
    for name, place in list_places(application, environment):
        try:
            policies = (*read_policies(name, place), *read_things(name))
        except SlipwayError as exc:
            found.append(PolicyStatus(name, place, problem=str(exc)[:300]))
            continue
        found += [_status(name, place, policy) for policy in policies]
    return found


def _status(application: str, environment: str, policy: AnyPolicy) -> PolicyStatus:
    world = open_world()
    word = [one for one in read_word(application, environment, policy.name) if one.policy_hash == policy.hash]
    standing = [one for one in word if not one.plan_hash]
    plans = [plan for plan in read_plans(application, environment, policy.name) if plan.policy_hash == policy.hash]
    ended = [
        entry
        for entry in world.ledger.entries(
            kinds=[COMPLETED], application=application, environment=environment, newest_first=True, limit=_ENTRIES_MAX
        )
        if entry.data["policy"] == policy.name
    ]
    is_done = bool(plans and ended and ended[0].data["plan_hash"] == plans[0].hash)
    course = ""
    if plans and not is_done:
        course = judge(application, environment, policy, plans[0], world.clock.now()).course.value
    return PolicyStatus(
        application,
        environment,
        policy.name,
        f"table {policy.table}" if isinstance(policy, CleanupPart) else policy.kind,
        policy.older_than_days,
        policy.hash,
        isinstance(policy, CleanupPart) and policy.archive,
        standing[-1].by if standing else "",
        standing[-1].at if standing else None,
        course,
        plans[0] if plans else None,
        dict(ended[0].data) if ended else None,
        ended[0].at if ended else None,
    )


@dataclass(frozen=True, slots=True)
class ArchiveStatus:
    """One archive as the ledger has it. `encryption` is `none` where nothing encrypted it."""

    prefix: str
    application: str
    environment: str
    at: datetime
    rows: int
    size_bytes: int
    encryption: str


def list_archives(application: str, *, limit: int = _ENTRIES_MAX) -> list[ArchiveStatus]:
    """List the newest archives, newest first. Raises: ConfigError for an application that there is not."""
    if application and application not in {name for name, _ in list_places("", "production")}:
        raise ConfigError(f"No application '{application}'. `slipway app list` names them.")
    entries = open_world().ledger.entries(
        kinds=["archive.written"], application=application, newest_first=True, limit=limit
    )
    return [
        ArchiveStatus(
            str(entry.data["prefix"]),
            entry.event.application,
            entry.event.environment,
            entry.at,
            int(entry.data["rows"]),
            int(entry.data["size_bytes"]),
            str(entry.data.get("encryption", NONE)),
        )
        for entry in entries
    ]
