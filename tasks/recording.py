"""How tasks say what they mean to do and what became of it: intent before, outcome after.

Every effect goes through `effect`; every task through `effect_task` or `reading_task`, which fix how results persist
and what is retried. A crash between the two entries leaves an intent without an outcome, which `reconcile` finds.
"""

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_logger, get_run_logger
from prefect.tasks import Task

from blocks.world import open_world
from domain.errors import SlipwayError, TransientError
from domain.ledger import Entry, Event
from domain.release import short
from domain.revision import SETTINGS, release_of, settings_of

P = ParamSpec("P")
R = TypeVar("R")

RETRY_DELAYS_S = [1.0, 2.0, 4.0, 8.0, 15.0]
"""Together longer than the embedded PostgreSQL takes to come back after it was killed."""


def is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect which failures are worth another try: those that say so of themselves."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


_is_engine_away: ContextVar[bool] = ContextVar("is_engine_away", default=False)


@contextmanager
def without_engine() -> Generator[None]:
    """Make tasks plain calls for the length of a block, for the hour in which Prefect does not answer."""
    token = _is_engine_away.set(True)
    try:
        yield
    finally:
        _is_engine_away.reset(token)


def is_engine_away() -> bool:
    """Whether tasks are plain calls now: then nothing of Prefect's can be written either."""
    return _is_engine_away.get()


class _Task(Task[P, R]):
    """A task that is a plain call where there is no engine; it is tried again there, too, `delays_s` apart."""

    delays_s: Sequence[float] = RETRY_DELAYS_S[:2]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not _is_engine_away.get():
            return super().__call__(*args, **kwargs)
        for delay_s in self.delays_s:
            try:
                return self.fn(*args, **kwargs)
            except TransientError:
                open_world().clock.sleep(delay_s)
        return self.fn(*args, **kwargs)


def effect_task(function: Callable[P, R]) -> Task[P, R]:
    """Make a task of one effect: its result persists, so that a resumed run does not repeat it."""
    return _Task(
        function,
        persist_result=True,
        retries=len(RETRY_DELAYS_S),
        retry_delay_seconds=RETRY_DELAYS_S,
        retry_condition_fn=is_transient,
    )


def tenacious_task(delays_s: Sequence[float]) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a task of one effect that outlasts a longer absence of the world: tried again after each of these pauses."""

    def make(function: Callable[P, R]) -> Task[P, R]:
        made = _Task(
            function,
            persist_result=True,
            retries=len(delays_s),
            retry_delay_seconds=list(delays_s),
            retry_condition_fn=is_transient,
        )
        made.delays_s = delays_s
        return made

    return make


def reading_task(function: Callable[P, R]) -> Task[P, R]:
    """Make a task of one reading of the world: always fresh, never stored."""
    return _Task(
        function,
        persist_result=False,
        cache_policy=NO_CACHE,
        retries=len(RETRY_DELAYS_S),
        retry_delay_seconds=RETRY_DELAYS_S,
        retry_condition_fn=is_transient,
    )


def patient_task(*, waits: int, wait_s: int) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a task that waits for the world, so many times so long; nothing of it is stored."""

    def make(function: Callable[P, R]) -> Task[P, R]:
        return _Task(
            function,
            persist_result=False,
            cache_policy=NO_CACHE,
            retries=waits,
            retry_delay_seconds=wait_s,
            retry_condition_fn=is_transient,
        )

    return make


@dataclass(frozen=True, slots=True)
class Subject:
    """What an effect is about. `run` is the id of the flow run that a person sees; `release` is a digest or a revision,
    whose settings go into the entry's data."""

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
            release=release_of(self.release),
            actor=self.actor,
            run=self.run,
            key=key,
            data={**(data or {}), **({SETTINGS: settings_of(self.release)} if settings_of(self.release) else {})},
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

    Raises: RefusedError where a break-glass rollback of the environment stands in the way.

    Yields a dictionary: what the body puts into it stands in the outcome, beside `data`.
    """
    with _guarded(subject):
        record(subject, f"{noun}.begun", detail=detail, **data)
        outcome: dict[str, Any] = {}
        try:
            yield outcome
        except SlipwayError as exc:
            record(subject, f"{noun}.failed", detail=f"{detail}:{type(exc).__name__}", **data, error=str(exc)[:500])
            raise
        record(subject, f"{noun}.{done}", detail=detail, **data, **outcome)


def _guarded(subject: Subject) -> AbstractContextManager[None]:
    """Keep an effect off an environment that somebody took back by hand; what is about none has nothing to keep off."""
    if not subject.environment:
        return nullcontext()
    return open_world().break_glass.guarded(subject.application, subject.environment, run=subject.run)


def _key(subject: Subject, kind: str, detail: str) -> str:
    parts = (kind, subject.run, subject.application, subject.environment, subject.site, short(subject.release), detail)
    return ":".join(parts)
