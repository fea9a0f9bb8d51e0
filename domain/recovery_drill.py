"""The monthly drill of the whole: ten steps from the recovery kit to the acceptance tests of what was recovered.

Each check passes, fails or is unavailable, as those of a restore drill. Called by `recovery_drill`; the checks up to
the application's are made by a process of its own (`deployments/recovery/rehearsal.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.canonical import digest_of
from domain.drill import Check, Outcome, failed, passed, say_seconds, unavailable
from domain.verdict import Verdict

STEPS = (
    "kit",
    "isolation",
    "server",
    "objects",
    "ledger",
    "prefect",
    "application",
    "references",
    "objectives",
    "destruction",
)
"""In the order in which a drill takes them; every check is named `step.check`."""

OPTIONAL = frozenset({"kit.current", "ledger.anchors", "application.acceptance", "references.bundles"})
"""Checks that some installations lack; a drill may pass without them, and shows that they lack."""

OVERDUE_S = 35 * 86_400


@dataclass(frozen=True, slots=True)
class RecoveryObjectives:
    """What is promised of the whole: everything back within `rto_s`, at most `rpo_s` lost."""

    rto_s: int = 7200
    rpo_s: int = 900


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What the process that recovered everything found: checks, figures, and the point in words."""

    checks: tuple[Check, ...]
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    point: str = ""
    backup: str = ""
    last_commit_at: str = ""


@dataclass(frozen=True, slots=True)
class RecoveryDrill:
    """A drill of the whole that has ended."""

    run: str
    begun_at: datetime
    seconds: float
    point: str
    backup: str
    checks: tuple[Check, ...]
    objectives: RecoveryObjectives
    figures: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def verdict(self) -> Verdict:
        if any(check.outcome is Outcome.FAIL for check in self.checks):
            return Verdict.FAIL
        if any(check.outcome is Outcome.UNAVAILABLE and _is_needed(check) for check in self.checks):
            return Verdict.UNCLEAR
        return Verdict.PASS if {check.step for check in self.checks} == set(STEPS) else Verdict.UNCLEAR

    @property
    def deciding(self) -> list[str]:
        """Name the checks that failed; where none did, those that were needed and unavailable."""
        bad = [check.name for check in self.checks if check.outcome is Outcome.FAIL]
        lacking = [one.name for one in self.checks if one.outcome is Outcome.UNAVAILABLE and _is_needed(one)]
        return bad or lacking

    def as_dict(self) -> dict[str, Any]:
        """The drill as JSON values: what is signed, and hashed into the ledger."""
        return {
            "format": 1,
            "kind": "recovery",
            "run": self.run,
            "begun_at": self.begun_at.isoformat(),
            "seconds": round(self.seconds, 3),
            "point": self.point,
            "backup": self.backup,
            "verdict": self.verdict.value,
            "checks": [check.as_dict() for check in self.checks],
            "figures": {name: round(value, 3) for name, value in self.figures.items()},
            "objectives": {"rto_s": self.objectives.rto_s, "rpo_s": self.objectives.rpo_s},
        }

    @property
    def digest(self) -> str:
        return digest_of(self.as_dict())


def _is_needed(check: Check) -> bool:
    return check.base_name not in OPTIONAL


def fill_steps(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Put the checks into the order of the steps; a step without one says that it was not reached."""
    there = {check.step for check in checks}
    missing = [
        unavailable(f"{step}.reached", "not reached: an earlier step did not pass")
        for step in STEPS
        if step not in there
    ]
    known = [check for check in checks if check.step in STEPS]
    return tuple(sorted([*known, *missing], key=lambda check: STEPS.index(check.step)))


def check_objectives(found: Rehearsed, objectives: RecoveryObjectives, *, begun_at: datetime) -> list[Check]:
    """Step 9. RTO is from the begin to the end of the last acceptance test; RPO from the last commit that came back."""
    rto_s = found.figures.get("rto_s")
    rpo_s = measure_rpo(found, begun_at=begun_at)
    checks: list[Check] = []
    for noun, value, limit in (("rto", rto_s, objectives.rto_s), ("rpo", rpo_s, objectives.rpo_s)):
        name = f"objectives.{noun}"
        if value is None:
            checks.append(unavailable(name, "not measured: an earlier step did not pass"))
            continue
        words = {"found": say_seconds(max(value, 0.0)), "limit": say_seconds(limit)}
        judge = passed if value <= limit else failed
        checks.append(judge(name, f"{noun}_{'kept' if value <= limit else 'missed'}", seconds=0.0, **words))
    return checks


def measure_rpo(found: Rehearsed, *, begun_at: datetime) -> float | None:
    """How much, in seconds, was lost: what was committed after the last commit that came back."""
    try:
        return (begun_at - datetime.fromisoformat(found.last_commit_at)).total_seconds()
    except ValueError:
        return None


def is_overdue(last: datetime | None, *, since: datetime, now: datetime) -> bool:
    """Whether a drill of the whole should have ended by now. `since`: when there was first something to recover."""
    return (now - (last or since)).total_seconds() > OVERDUE_S
