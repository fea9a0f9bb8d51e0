"""How a release takes an environment, and what the ledger says is there: plans and readings of entries, no effects.

Used by `flows/cd.py`, `flows/rollback.py` and `flows/reconcile.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domain.application import RolloutPart
from domain.errors import RefusedError
from domain.ledger import Entry
from domain.release import short
from domain.revision import release_of, revision_of, settings_of

SETTLING_KINDS = ("rollout.completed", "rollout.rolled_back", "rollback.completed")
OPENING_KINDS = ("rollout.begun", "rollback.begun")
CLOSING_KINDS = (*SETTLING_KINDS, "rollout.failed", "rollback.failed")
BLOCKING_KINDS = ("digest.blocked", "digest.unblocked")


@dataclass(frozen=True, slots=True)
class Step:
    """One share of the traffic and how long it is watched. The last step of a plan has the whole traffic."""

    number: int
    weight_percent: int
    watch_s: int


def plan_steps(rollout: RolloutPart, *, has_live: bool) -> Iterator[Step]:
    """Yield the steps of a rollout in order; with nothing live to compare, full share is the only one."""
    number = 0
    if has_live:
        for number, step in enumerate(rollout.steps, start=1):
            yield Step(number=number, weight_percent=step.weight_percent, watch_s=step.watch_s)
    yield Step(number=number + 1, weight_percent=100, watch_s=rollout.watch_after_s)


def live_release(entries: Sequence[Entry]) -> str:
    """Say which revision an environment is wholly on; empty where none ever was.

    Args:
        entries: those of `SETTLING_KINDS` for one application and environment, oldest first.
    """
    live = ""
    for entry in entries:
        if entry.kind in SETTLING_KINDS:
            live = entry.data.get("to", "") if entry.kind == "rollout.rolled_back" else revision_of(entry)
    return live


def previous_release(entries: Sequence[Entry], *, live: str, blocked: frozenset[str]) -> str:
    """Say which revision a rollback without a name goes back to: the one before the live one.

    What was left by a rollback is not gone back to: after B was left for A, the way back from A, or from what came
    after it, is never B.

    Args:
        entries: those of `SETTLING_KINDS` for one application and environment, oldest first.

    Raises:
        RefusedError: where there is none that is not blocked.
    """
    path: list[str] = []
    for entry in entries:
        release = revision_of(entry)
        if entry.kind == "rollout.completed" and path[-1:] != [release]:
            path.append(release)
        elif entry.kind == "rollback.completed":
            path = path[: len(path) - path[::-1].index(release)] if release in path else [*path, release]
    for release in reversed(path):
        if release != live and not blocked & {release, release_of(release)}:
            return release
    raise RefusedError("There is no earlier release to go back to. Push a corrected commit instead.")


def blocked_releases(entries: Sequence[Entry]) -> dict[str, str]:
    """Map each blocked digest to the reason; `digest@version` where it is blocked with those settings only.

    `entries` are those of `BLOCKING_KINDS`, oldest first.
    """
    blocked: dict[str, str] = {}
    for entry in entries:
        if entry.kind == "digest.blocked":
            blocked[revision_of(entry)] = str(entry.data.get("reason", ""))
        else:
            blocked.pop(revision_of(entry), None)
    return blocked


def blocked_settings(entries: Sequence[Entry], *, environment: str) -> dict[int, str]:
    """Map each version of an environment's settings that failed there, with any release, to what says so.

    `entries` are those of `BLOCKING_KINDS`, oldest first.
    """
    blocked = blocked_releases([entry for entry in entries if entry.event.environment in ("", environment)])
    here = {revision_of(entry) for entry in entries if entry.event.environment == environment}
    return {
        settings_of(revision): f"release {short(revision)}: {reason}"
        for revision, reason in blocked.items()
        if revision in here and settings_of(revision)
    }


def explain_blocked_settings(version: int, blocked: dict[int, str], *, application: str, environment: str) -> str:
    """Say why a version of settings may not go live there, with the way out; empty where it may."""
    if version not in blocked:
        return ""
    return (
        f"Settings {version} of {environment} are blocked: {blocked[version]}. Set them right (`slipway config set "
        f"{application} {environment} ...` makes a new version), or run the flow `unblock` with a reason."
    )


def refuse_blocked(release: str, blocked: dict[str, str]) -> None:
    """Raises: RefusedError where the digest is blocked, with the reason and the way out."""
    if release in blocked:
        raise RefusedError(
            f"Release {short(release)} is blocked: {blocked[release]}. Push a corrected commit, or run the flow "
            "`unblock` with a reason."
        )


@dataclass(frozen=True, slots=True)
class OpenRollout:
    """A rollout or rollback that was begun and not closed: by which run, of what, and where it came from."""

    run: str
    application: str
    environment: str
    release: str
    previous: str
    kind: str


def open_rollouts(entries: Sequence[Entry]) -> list[OpenRollout]:
    """Find what was begun and never closed.

    Args:
        entries: those of `OPENING_KINDS` and `CLOSING_KINDS`, oldest first, of any application.
    """
    pending: dict[tuple[str, str, str], OpenRollout] = {}
    for entry in entries:
        event = entry.event
        key = (event.run, event.application, event.environment)
        if entry.kind in OPENING_KINDS:
            pending[key] = OpenRollout(
                run=event.run,
                application=event.application,
                environment=event.environment,
                release=revision_of(entry),
                previous=str(entry.data.get("previous", "")),
                kind=entry.kind.split(".")[0],
            )
        else:
            pending.pop(key, None)
    return list(pending.values())


_OUTCOMES = {
    "rollout.completed": "completed",
    "rollout.rolled_back": "rolled_back",
    "rollout.failed": "failed",
    "rollback.completed": "completed",
    "rollback.failed": "failed",
}


@dataclass(frozen=True, slots=True)
class Closed:
    """How a rollout or rollback was closed: `outcome` (`completed`, `rolled_back`, `failed`; empty while it is not) and
    `cause`."""

    outcome: str = ""
    cause: str = ""


def closed_rollout(entries: Sequence[Entry]) -> Closed:
    """Say how a run's rollout in an environment was closed, by itself or by whoever settled it.

    A run that starts again from its top must not go on with the middle of what is closed: what it did before may have
    been undone since.

    Args:
        entries: those of `CLOSING_KINDS` of one run, application and environment, oldest first.
    """
    if not entries:
        return Closed()
    last = entries[-1]
    return Closed(_OUTCOMES[last.kind], str(last.data.get("cause", "")))


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run of `cd` that began and has no end in the ledger yet."""

    run: str
    application: str
    release: str


RUN_OPENING = "cd.started"
RUN_CLOSING = ("cd.completed", "cd.stopped", "cd.superseded", "cd.refused")


def open_runs(entries: Sequence[Entry]) -> list[OpenRun]:
    """Find the runs without an end. `entries` are those of `RUN_OPENING` and `RUN_CLOSING`, oldest first."""
    pending: dict[str, OpenRun] = {}
    for entry in entries:
        event = entry.event
        if entry.kind == RUN_OPENING:
            pending[event.run] = OpenRun(event.run, event.application, event.release)
        else:
            pending.pop(event.run, None)
    return list(pending.values())


@dataclass(frozen=True, slots=True)
class OpenGate:
    """An approval that was asked for and has no end yet."""

    run: str
    application: str
    environment: str
    release: str
    gate: str
    deadline: str


GATE_OPENING = "approval.requested"
GATE_CLOSING = ("approval.granted", "approval.rejected", "approval.expired", "approval.superseded")


def open_gates(entries: Sequence[Entry]) -> list[OpenGate]:
    """Find the gates without an outcome. `entries` are those of the gate kinds, oldest first."""
    pending: dict[tuple[str, str], OpenGate] = {}
    for entry in entries:
        event, gate = entry.event, str(entry.data.get("gate", ""))
        if entry.kind == GATE_OPENING:
            pending[(event.run, gate)] = OpenGate(
                run=event.run,
                application=event.application,
                environment=event.environment,
                release=event.release,
                gate=gate,
                deadline=str(entry.data.get("deadline", "")),
            )
        else:
            pending.pop((event.run, gate), None)
    return list(pending.values())
