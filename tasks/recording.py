"""How tasks say what they mean to do and what became of it: intent before, outcome after.

Every effect goes through `effect`; every task through `effect_task` or `reading_task`, which fix how results persist
and what is retried. A crash between the two entries leaves an intent without an outcome, which `reconcile` finds.
"""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_logger, get_run_logger
from prefect.tasks import Task

from blocks.world import open_world
from domain.errors import SlipwayError, TransientError
from domain.ledger import Entry, Event
from domain.release import short

P = ParamSpec("P")
R = TypeVar("R")

RETRY_DELAYS_S = [1.0, 2.0, 4.0, 8.0, 15.0]
"""Together longer than the embedded PostgreSQL takes to come back after it was killed."""


def is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect which failures are worth another try: those that say so of themselves."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


def effect_task(function: Callable[P, R]) -> Task[P, R]:
    """Make a task of one effect: its result persists, so that a resumed run does not repeat it."""
    return task(
        persist_result=True,
        retries=len(RETRY_DELAYS_S),
        retry_delay_seconds=RETRY_DELAYS_S,
        retry_condition_fn=is_transient,
    )(function)


def reading_task(function: Callable[P, R]) -> Task[P, R]:
    """Make a task of one reading of the world: always fresh, never stored."""
    return task(
        persist_result=False,
        cache_policy=NO_CACHE,
        retries=len(RETRY_DELAYS_S),
        retry_delay_seconds=RETRY_DELAYS_S,
        retry_condition_fn=is_transient,
    )(function)


@dataclass(frozen=True, slots=True)
class Subject:
    """What an effect is about. `run` is the id of the flow run that a person sees."""

    run: str
    application: str
    environment: str = ""
    site: str = ""
    release: str = ""
    actor: str = "slipway"

    def event(self, kind: str, *, key: str | None, data: dict[str, Any] | None = None) -> Event:
        return Event(
            kind=kind,
            application=self.application,
            environment=self.environment,
            site=self.site,
            release=self.release,
            actor=self.actor,
            run=self.run,
            key=key,
            data=data or {},
        )


def record(subject: Subject, kind: str, *, detail: str = "", **data: Any) -> Entry:
    """Append one event about a subject; the same kind and detail of the same run is appended once."""
    entry = open_world().ledger.append(subject.event(kind, key=_key(subject, kind, detail), data=data))
    if not kind.endswith(".begun"):
        _log(subject, kind, data)
    return entry


def _log(subject: Subject, kind: str, data: dict[str, Any]) -> None:
    """Say an effect in one line, named as in the ledger; in the run's log where there is a run."""
    about = {
        "environment": subject.environment,
        "site": subject.site,
        "release": short(subject.release),
        **{
            key: value for key, value in data.items() if isinstance(value, str | int | float) and "\n" not in str(value)
        },
    }
    words = " ".join(f"{key}={str(value)[:120]}" for key, value in about.items() if value not in ("", None))
    logger = (
        get_logger("slipway") if FlowRunContext.get() is None and TaskRunContext.get() is None else get_run_logger()
    )
    logger.log(logging.ERROR if kind.endswith(".failed") else logging.INFO, "%s %s", kind, words)


@contextmanager
def effect(subject: Subject, noun: str, done: str, *, detail: str = "", **data: Any) -> Generator[dict[str, Any]]:
    """Write `noun.begun` before and `noun.done` after the effect in the body; `noun.failed` where it raises.

    Yields a dictionary: what the body puts into it stands in the outcome, beside `data`.
    """
    record(subject, f"{noun}.begun", detail=detail, **data)
    outcome: dict[str, Any] = {}
    try:
        yield outcome
    except SlipwayError as exc:
        record(subject, f"{noun}.failed", detail=f"{detail}:{type(exc).__name__}", **data, error=str(exc)[:500])
        raise
    record(subject, f"{noun}.{done}", detail=detail, **data, **outcome)


def _key(subject: Subject, kind: str, detail: str) -> str:
    parts = (kind, subject.run, subject.application, subject.environment, subject.site, subject.release[:12], detail)
    return ":".join(parts)
