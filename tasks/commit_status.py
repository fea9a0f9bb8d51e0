"""Saying how far a commit got, for its forge to show. It never stops a run, and waits for no forge.

A run writes down what should be shown; the door sends it, with retries (`deployments/door/statuses.py`): a token of the
forge is nothing that the worker of builds may have.
"""

from prefect.logging import get_logger

from blocks.world import open_world
from domain.commit_status import State, status_kind
from domain.errors import SlipwayError
from tasks.instances import find_manifest
from tasks.recording import Subject, effect_task, record

_told_once: set[str] = set()


@effect_task
def tell_forge(run: str, application: str, commit: str, stage: str, state: str, description: str) -> bool:
    """Ask for one commit status; False where there is no token to send it with, or no ledger to write it into.

    Effect: one entry.

    Args:
        stage: `ci`, or an environment.
        state: `pending`, `success`, `failure` or `error`.
    """
    world = open_world()
    try:
        if not world.applications.has_forge_access(application):
            _say_once(application)
            return False
        facts = {"stage": stage, "state": state, "commit": commit, "description": description[:300]}
        detail = f"{stage}:{state}:{description}"
        kind = status_kind(stage, "wanted")
        record(Subject(run, application), kind, detail=detail, **facts, url=world.run_records.url(run))
    except SlipwayError:
        return False  # the ledger is away: what is about the delivery itself waits for it, this does not
    return True


def tell_release(run: str, application: str, release: str, stage: str, state: State, description: str) -> None:
    """Ask for the status of a release's commit."""
    tell_forge(run, application, find_manifest(application, release).commit, stage, state, description)


def _say_once(application: str) -> None:
    if application not in _told_once:
        _told_once.add(application)
        log = get_logger("slipway")
        log.info("commit statuses of %s are not sent: no token (`slipway app forge-token`)", application)
