"""Which push overtook a run, and closing what it left waiting."""

from blocks.world import open_world
from domain.catalogue import say
from domain.pushes import RECEIVED
from domain.release import short
from domain.rollout import OpenGate, live_release
from domain.superseding import explain_older, explain_superseded, find_newer, read_arrivals
from tasks.approval import read_settled
from tasks.incident import notify
from tasks.instances import find_manifest
from tasks.recording import Subject, effect_task, reading_task, record

PUSHES_MAX = 100_000


@reading_task
def read_newer(run: str, application: str, commit: str, release: str = "") -> str:
    """Read which commit superseded a run of `ci` or `cd`; empty where none did, or where it is in production already.

    Args:
        release: the run's release, for `cd`; empty for `ci`.
    """
    return find_newer_commit(run, application, commit, release)


def find_newer_commit(run: str, application: str, commit: str, release: str = "") -> str:
    """As `read_newer`, for use within a task."""
    world = open_world()
    started = world.ledger.entries(kinds=["ci.started", "cd.started"], application=application, run=run, limit=1)
    if not started or _is_in_production(run, application):
        return ""
    if release:
        handed = world.ledger.entries(kinds=["handover.completed"], application=application, release=release)
        by_hand = run not in [entry.data.get("cd_run") for entry in handed]
    else:
        by_hand = not started[0].data.get("delivery")
    pushes = world.ledger.entries(kinds=[RECEIVED], application=application, limit=PUSHES_MAX)
    return find_newer(
        commit,
        read_arrivals(pushes),
        began=started[0].seq,
        by_hand=by_hand,
        is_ancestor=lambda older, newer: world.sources.is_ancestor(application, older, newer),
    )


def _is_in_production(run: str, application: str) -> bool:
    """Whether a run's rollout to users has begun: then it goes on."""
    world = open_world()
    watched = [place.name for place in world.environments() if place.entry == "canary"]
    begun = world.ledger.entries(kinds=["rollout.begun"], application=application, run=run)
    return any(entry.event.environment in watched for entry in begun)


@reading_task
def read_older_refusal(run: str, application: str, environment: str, release: str) -> str:
    """Say why a release may not go live in an environment because something newer is; empty where it may.

    The same commit under another digest may, and so may one of another history: the form says that.
    """
    live = live_release(read_settled(application, environment))
    if not live or _is_in_production(run, application):
        return ""
    commit, live_commit = find_manifest(application, release).commit, find_manifest(application, live).commit
    if commit == live_commit or not open_world().sources.is_ancestor(application, commit, live_commit):
        return ""
    return explain_older(release, commit, live, live_commit, environment=environment)


@effect_task
def close_superseded(run: str, application: str, release: str, newer: str) -> str:
    """Write down that a run was superseded, and tell people. Effect: an entry, a message. Returns the cause."""
    cause = explain_superseded(find_manifest(application, release).commit, newer)
    record(Subject(run, application, release=release), "cd.superseded", newer=newer, cause=cause)
    notify.fn(run, application, "", release, "cd.superseded", {"release": short(release), "newer": short(newer)})
    return cause


@effect_task
def close_waiting(gate: OpenGate, newer: str) -> None:
    """Close a run that waits at a gate and was superseded. Effect: entries, a message, the run's end; may be repeated.

    The gate is closed in the ledger last, so that a death in between is made good by the next time.
    """
    cause = close_superseded.fn(gate.run, gate.application, gate.release, newer)
    open_world().run_records.close(gate.run, name="Superseded", message=cause)
    record_gate_superseded(gate.run, gate.application, gate.environment, gate.release, gate.gate, newer)


@effect_task
def refuse_superseded(
    run: str, application: str, environment: str, release: str, gate: str, attempt: int, approver: str, newer: str
) -> None:
    """Write down that an answer came too late: what it is about was superseded. Effect: two entries."""
    reason = say("approval.refused_superseded", language=open_world().language, newer=short(newer))
    subject = Subject(run, application, environment, "", release, actor=approver or "unknown")
    data = {"gate": gate, "attempt": attempt, "refusal": "superseded", "reason": reason}
    record(subject, "approval.refused", detail=f"{gate}:{attempt}", **data)
    record_gate_superseded(run, application, environment, release, gate, newer)


def record_gate_superseded(run: str, application: str, environment: str, release: str, gate: str, newer: str) -> None:
    """Write down that nobody is asked any more at a gate."""
    subject = Subject(run, application, environment, "", release)
    record(subject, "approval.superseded", detail=gate, gate=gate, newer=newer)
