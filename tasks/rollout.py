"""The entries that frame a rollout: begun, verdict, completed, rolled back, failed; and what is blocked."""

from typing import Any

from blocks.world import open_world
from domain.application import ApplicationFile
from domain.judgement import Judgement, Verdict
from domain.ledger import Entry
from domain.revision import release_of, revision_of
from domain.rollout import (
    BLOCKING_KINDS,
    CLOSING_KINDS,
    GATE_CLOSING,
    GATE_OPENING,
    OPENING_KINDS,
    RUN_CLOSING,
    RUN_OPENING,
    SETTLING_KINDS,
    Closed,
    OpenGate,
    OpenRollout,
    OpenRun,
    blocked_releases,
    closed_rollout,
    live_release,
    open_gates,
    open_rollouts,
    open_runs,
    previous_release,
)
from tasks.instances import read_application_file
from tasks.recording import Subject, effect_task, reading_task, record


@effect_task
def record_rollout(
    run: str,
    application: str,
    environment: str,
    release: str,
    kind: str,
    data: dict[str, str],
    detail: str = "",
    actor: str = "slipway",
) -> int:
    """Write one entry about a rollout as a whole. Effect: one entry. Returns its sequence number."""
    subject = Subject(run, application, environment, "", release, actor=actor)
    return record(subject, kind, detail=detail, **data).seq


@effect_task
def record_verdict(
    run: str, application: str, environment: str, site: str, release: str, step: int, attempt: int, judgement: Judgement
) -> None:
    """Write down a verdict with its figures, so that it can be computed again. Effect: one entry."""
    subject = Subject(run, application, environment, site, release)
    figures: dict[str, Any] = judgement.as_dict()
    record(subject, "verdict.given", detail=f"{step}:{attempt}", step=step, attempt=attempt, **figures)


@reading_task
def read_file(application: str, environment: str, site: str, release: str) -> ApplicationFile:
    """Read the `slipway.toml` of a release that was prepared on a site."""
    return read_application_file(application, environment, site, release)


@reading_task
def has_begun(run: str, application: str) -> bool:
    """Whether a delivery has begun: a flow that suspends runs again from its top."""
    return bool(open_world().ledger.entries(kinds=["cd.started"], application=application, run=run, limit=1))


@reading_task
def read_blocked(application: str) -> dict[str, str]:
    """Read which digests of an application are blocked, and why."""
    return blocked_releases(open_world().ledger.entries(kinds=BLOCKING_KINDS, application=application))


@reading_task
def read_previous(application: str, environment: str, live: str) -> str:
    """Read which release a rollback without a name goes back to. Raises: RefusedError where there is none."""
    ledger = open_world().ledger
    settled = ledger.entries(kinds=SETTLING_KINDS, application=application, environment=environment)
    blocked = blocked_releases(ledger.entries(kinds=BLOCKING_KINDS, application=application))
    return previous_release(settled, live=live, blocked=frozenset(blocked))


@reading_task
def has_completed(run: str, application: str, environment: str, release: str) -> bool:
    """Whether the ledger says that this run brought a release wholly to an environment, or that it is there."""
    entries = open_world().ledger.entries(kinds=SETTLING_KINDS, application=application, environment=environment)
    mine = [entry for entry in entries if (entry.event.run, revision_of(entry)) == (run, release)]
    return live_release(entries) == release or any(entry.kind == "rollout.completed" for entry in mine)


@reading_task
def has_verdict(run: str, application: str, environment: str, release: str, step: int) -> bool:
    """Whether the ledger has an unclear verdict of this run on that step."""
    found = open_world().ledger.entries(
        kinds=["verdict.given"],
        application=application,
        environment=environment,
        release=release_of(release),
        run=run,
    )
    return any((entry.data["step"], entry.data["verdict"]) == (step, str(Verdict.UNCLEAR)) for entry in found)


@reading_task
def list_open_rollouts() -> list[OpenRollout]:
    """List what was begun and never closed, of every application."""
    return open_rollouts(_entries((*OPENING_KINDS, *CLOSING_KINDS)))


@reading_task
def list_open_runs() -> list[OpenRun]:
    """List the runs of `cd` that began and have no end in the ledger."""
    return open_runs(_entries((RUN_OPENING, *RUN_CLOSING)))


@reading_task
def read_closed(run: str, application: str, environment: str) -> Closed:
    """Read how a run's rollout or rollback in an environment was closed, if it was."""
    return closed_rollout(
        open_world().ledger.entries(kinds=CLOSING_KINDS, application=application, environment=environment, run=run)
    )


@reading_task
def list_open_gates() -> list[OpenGate]:
    """List the gates that were asked and have no outcome."""
    return open_gates(_entries((GATE_OPENING, *GATE_CLOSING)))


def _entries(kinds: tuple[str, ...]) -> list[Entry]:
    return open_world().ledger.entries(kinds=kinds, limit=100_000)
