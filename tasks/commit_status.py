"""Telling a forge how far a commit got. It never stops a run, and delays it by seconds at most."""

import time

from prefect.logging import get_logger

from blocks.world import open_world
from domain.commit_status import CommitStatus, State
from domain.errors import ConfigError, SlipwayError, TransientError
from tasks.instances import find_manifest
from tasks.recording import Subject, effect_task, record

ATTEMPTS = 2
PAUSE_S = 0.5
QUIET_S = 60.0
"""How long a forge that did not answer is not asked again by this process."""

_quiet_until: dict[str, float] = {}
_told_once: set[str] = set()


@effect_task
def tell_forge(run: str, application: str, commit: str, stage: str, state: str, description: str) -> bool:
    """Send one commit status. Effect: a status at the forge, an entry; what fails is an entry, too.

    Args:
        stage: `ci`, or an environment.
        state: `pending`, `success`, `failure` or `error`.
    """
    try:
        problem = _send(run, application, commit, stage, state, description)  # pyright: ignore[reportArgumentType]
        kind = "ci.status_failed" if problem else "ci.status_sent"
        detail = f"{stage}:{state}:{description}"
        data = {"stage": stage, "state": state, "commit": commit, **({"error": problem} if problem else {})}
        if problem != "none":
            record(Subject(run, application), kind, detail=detail, **data)
    except SlipwayError:
        return False  # the ledger is away: what is about the delivery itself waits for it, this does not
    return not problem


def tell_release(run: str, application: str, release: str, stage: str, state: State, description: str) -> None:
    """Send the status of a release's commit."""
    tell_forge(run, application, find_manifest(application, release).commit, stage, state, description)


def _send(run: str, application: str, commit: str, stage: str, state: State, description: str) -> str:
    """Send, twice where needed; what was wrong, `none` where there is no token, or an empty text."""
    world = open_world()
    access = world.applications.forge_access(application)
    if access is None:
        if application not in _told_once:
            _told_once.add(application)
            log = get_logger("slipway")
            log.info("commit statuses of %s are not sent: no token (`slipway app forge-token`)", application)
        return "none"
    if _quiet_until.get(access.url, 0) > time.monotonic():
        return "not asked: it did not answer a moment ago"
    status = CommitStatus(stage, state, description, world.run_records.url(run))
    registered, problem = world.applications.get(application), ""
    for attempt in range(ATTEMPTS):
        if attempt:
            world.clock.sleep(PAUSE_S)
        try:
            world.commit_statuses.send(registered, access, commit, status)
        except TransientError as exc:
            problem = str(exc)[:256]
        except ConfigError as exc:
            return str(exc)[:256]
        else:
            return ""
    _quiet_until[access.url] = time.monotonic() + QUIET_S
    return problem
