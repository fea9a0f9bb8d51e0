"""What a clean-up may do: the plan, whether it needs a person, how fast it goes, and what proves it.

The flow `cleanup` reads a preview, judges it here, and acts only on what an entry of the ledger lets it do. An approval
is standing (for a policy, by its hash, within its caps) or for one plan (by the plan's hash, within what it showed).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from domain.canonical import digest_of
from domain.ledger import Entry

APPROVED = "cleanup.approved"
WITHDRAWN = "cleanup.withdrawn"
PLANNED = "cleanup.planned"
COMPLETED = "cleanup.completed"
SHARE_PERCENT_ASKED = 30.0
"""More than this share of a table always takes a person's explicit word, whatever was approved before."""
PLAN_DAYS = 7
"""How long the approval of one plan is good."""
PAUSE_S_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Preview:
    """What would go: counted, not guessed, but for the bytes.

    Attributes:
        method: `partitions`, `batches`, `archive` or `items`.
        size_bytes: by the table's mean row with its indexes; of partitions and items, what they take.
        oldest, newest: ages of what would go (ISO 8601); empty where nothing would.
        sample: keys and ages of the first few; never another column.
        related: rows of related tables that go along.
        held_rows: expired rows that a hold keeps.
    """

    method: str
    rows: int
    size_bytes: int
    total_rows: int
    oldest: str = ""
    newest: str = ""
    sample: tuple[str, ...] = ()
    related: tuple[tuple[str, int], ...] = ()
    held_rows: int = 0

    @property
    def share_percent(self) -> float:
        return round(100 * self.rows / self.total_rows, 2) if self.total_rows else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, for the ledger."""
        return {**asdict(self), "sample": list(self.sample), "related": [list(one) for one in self.related]}


@dataclass(frozen=True, slots=True)
class Caps:
    """How much of one policy may go without asking."""

    rows_max: int
    share_percent_max: float
    bytes_max: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A preview at a fixed cut-off. Its hash is what a person approves."""

    application: str
    environment: str
    policy: str
    policy_hash: str
    holds_hash: str
    cutoff: str
    preview: Preview

    @property
    def hash(self) -> str:
        return digest_of({**asdict(self), "preview": self.preview.as_dict()})

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, for the ledger and for tasks."""
        return {**asdict(self), "preview": self.preview.as_dict(), "hash": self.hash}


def read_plan(value: dict[str, Any]) -> Plan:
    """Rebuild a plan from what `as_dict` wrote."""
    names = ("application", "environment", "policy", "policy_hash", "holds_hash", "cutoff")
    fields = {name: str(value[name]) for name in names}
    told = dict(value["preview"])
    told["sample"] = tuple(told["sample"])
    told["related"] = tuple((str(name), int(rows)) for name, rows in told["related"])
    return Plan(**fields, preview=Preview(**told))


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody's word. `plan_hash` empty: standing. `share_percent`: the share of the table that was named."""

    by: str
    at: datetime
    policy_hash: str
    plan_hash: str = ""
    share_percent: float = 0.0
    seq: int = 0


def read_approvals(entries: Sequence[Entry], *, policy: str) -> list[Approval]:
    """The approvals of a policy that hold, oldest first: a withdrawal ends what was approved before it.

    Args:
        entries: those of `APPROVED` and `WITHDRAWN` of one application and environment, oldest first.
    """
    found: list[Approval] = []
    for entry in entries:
        if entry.data.get("policy") != policy:
            continue
        if entry.kind == WITHDRAWN:
            found.clear()
        elif entry.kind == APPROVED:
            told = entry.data
            found.append(
                Approval(
                    entry.event.actor,
                    entry.at,
                    str(told["policy_hash"]),
                    str(told["plan_hash"]),
                    float(told["share_percent"]),
                    entry.seq,
                )
            )
    return found


class Course(StrEnum):
    """What a run does with a plan."""

    NOTHING = "nothing"
    APPLY = "apply"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Decision:
    """The course, why it is that (`cleanup.reason_...` of the catalogue, with values), and whose word it rests on."""

    course: Course
    reasons: tuple[tuple[str, dict[str, Any]], ...] = ()
    by: str = ""
    approved_seq: int = 0


def judge_plan(plan: Plan, caps: Caps, approvals: Sequence[Approval], *, now: datetime) -> Decision:
    """Decide whether a plan may be carried out without asking.

    Args:
        approvals: those that hold; one for this very plan wins over a standing one.
    """
    if plan.preview.rows == 0:
        return Decision(Course.NOTHING)
    share = plan.preview.share_percent
    for one in reversed(approvals):
        if one.plan_hash != plan.hash or one.policy_hash != plan.policy_hash:
            continue
        if now - one.at > timedelta(days=PLAN_DAYS):
            return Decision(Course.ASK, (("cleanup.reason_old_approval", {"days": PLAN_DAYS}),))
        if needs_word(plan.preview) and one.share_percent < share:
            return Decision(Course.ASK, (_share_reason(share),))
        return Decision(Course.APPLY, by=one.by, approved_seq=one.seq)
    reasons = exceeded_caps(plan.preview, caps)
    standing = [one for one in approvals if not one.plan_hash and one.policy_hash == plan.policy_hash]
    if not standing:
        changed = any(not one.plan_hash for one in approvals)
        reasons = ((f"cleanup.reason_{'changed' if changed else 'unapproved'}", {}), *reasons)
    if reasons:
        return Decision(Course.ASK, tuple(reasons))
    return Decision(Course.APPLY, by=standing[-1].by, approved_seq=standing[-1].seq)


def exceeded_caps(preview: Preview, caps: Caps) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Name every cap that a preview passes, each with what was found and what is allowed."""
    share, found = preview.share_percent, list[tuple[str, dict[str, Any]]]()
    if preview.rows > caps.rows_max:
        found.append(("cleanup.reason_rows", {"rows": preview.rows, "most": caps.rows_max}))
    if share > caps.share_percent_max:
        found.append(("cleanup.reason_share", {"share": share, "most": caps.share_percent_max}))
    if preview.size_bytes > caps.bytes_max:
        found.append(("cleanup.reason_bytes", {"bytes": preview.size_bytes, "most": caps.bytes_max}))
    if needs_word(preview):
        found.append(_share_reason(share))
    return tuple(found)


def needs_word(preview: Preview) -> bool:
    """Whether so much of a table would go that a person has to say how much. Of things, all may be old at once."""
    return preview.method != "items" and preview.share_percent > SHARE_PERCENT_ASKED


def _share_reason(share: float) -> tuple[str, dict[str, Any]]:
    return "cleanup.reason_word", {"share": share, "asked": SHARE_PERCENT_ASKED}


def refuse_drift(planned: Preview, now: Preview) -> str:
    """Say how what would go now passes what was shown; empty where it does not. Less than planned is no drift."""
    if now.rows > planned.rows:
        return f"{now.rows} rows would go now, {planned.rows} were planned"
    if now.share_percent > max(planned.share_percent * 1.1, planned.share_percent + 1):
        return f"{now.share_percent} % of the table would go now, {planned.share_percent} % were planned"
    return ""


@dataclass(frozen=True, slots=True)
class Load:
    """How a database does: a probe's seconds, and how far its slowest replica is behind (None: unknown or none)."""

    latency_s: float
    replica_lag_s: float | None = None


def next_pause(
    pause_s: float, load: Load, *, baseline_s: float, least_s: float, latency_ratio_max: float, replica_lag_s_max: float
) -> float:
    """Say how long to rest before the next batch: twice as long under load, a quarter less once it is gone.

    Args:
        pause_s: the last pause.
        baseline_s: the probe's seconds before anything was deleted; differences below 2 ms are noise.
    """
    is_slow = load.latency_s > max(latency_ratio_max * baseline_s, baseline_s + 0.002)
    is_behind = load.replica_lag_s is not None and load.replica_lag_s > replica_lag_s_max
    if is_slow or is_behind:
        return min(PAUSE_S_MAX, max(2 * pause_s, 0.01))
    return max(least_s, 0.75 * pause_s)
