"""A flow engine in one process and without a server: Prefect's twin, for thousands of runs in seconds.

It keeps what Slipway relies on of Prefect, no more: a task that says `persist_result` runs once for the same arguments
in one run, also when the run starts again from its top; so does a subflow; a task is tried again where its condition
says so; a gate suspends the run, and its answer is there when the run comes by again. `tests/flows` and `tests/live`
hold the same flows against the real one.
"""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from prefect import Flow, Task

from blocks.clock import MemoryClock
from domain.errors import TransientError


class Killed(BaseException):
    """The process is dead. Not an Exception: nobody may handle it."""


class Suspended(BaseException):
    """The process ended because the run waits for an answer."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass
class PlainRun:
    """One flow run: its id, what its tasks returned, what people answered."""

    id: str
    flow: Flow[..., Any]
    parameters: dict[str, Any]
    count: int = 1
    kept: dict[object, Any] = field(default_factory=dict[object, Any])
    answers: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])


@dataclass(frozen=True)
class Ended:
    """How a process of a run ended: `completed`, `failed`, `crashed` or `paused`."""

    state: str
    value: Any = None
    key: str = ""


class PlainEngine:
    """Runs flows as Prefect would, while it is `installed`."""

    def __init__(self, clock: MemoryClock) -> None:
        self.clock = clock
        self._run: PlainRun | None = None
        self._path: tuple[object, ...] = ()

    @contextmanager
    def installed(self) -> Generator["PlainEngine"]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Task, "__call__", lambda task, *args, **options: self._call_task(task, args, options))
            patch.setattr(Flow, "__call__", lambda flow, *args, **options: self._call_flow(flow, args, options))
            patch.setattr("flows.asking.suspend_flow_run", self._suspend)
            self._patch = patch
            logging.disable(logging.CRITICAL)  # thousands of runs say the same
            try:
                yield self
            finally:
                logging.disable(logging.NOTSET)

    def process(self, run: PlainRun) -> Ended:
        """Be one process of a run, from its top to its end, its death or its next gate."""
        self._patch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", run.id)
        self._patch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", str(run.count))
        self._run, self._path = run, ()
        try:
            value = run.flow.fn(**run.parameters)
        except Suspended as waiting:
            return Ended("paused", key=waiting.key)
        except Killed:
            return Ended("crashed")
        except Exception as exc:  # noqa: BLE001 - as an engine must
            return Ended("failed", exc)
        is_failed = getattr(value, "type", None) is not None and value.is_failed()
        return Ended("failed" if is_failed else "completed", value)

    def _call_flow(self, flow: Flow[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        path = self._path
        self._path = (*path, flow.name, repr(args), repr(sorted(options.items())))
        try:
            return self._once(self._path, lambda: flow.fn(*args, **options), keep=bool(flow.persist_result))
        finally:
            self._path = path

    def _call_task(self, task: Task[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        key = (*self._path, task.name, repr(args), repr(sorted(options.items())))
        return self._once(key, lambda: self._try(task, args, options), keep=bool(task.persist_result))

    def _once(self, key: tuple[object, ...], work: Callable[[], Any], *, keep: bool) -> Any:
        assert self._run is not None
        if keep and key in self._run.kept:
            return self._run.kept[key]
        value = work()
        if keep:
            self._run.kept[key] = value
        return value

    def _try(self, task: Task[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        delays = task.retry_delay_seconds
        for attempt in range(task.retries + 1):
            try:
                return task.fn(*args, **options)
            except TransientError:
                if attempt == task.retries:
                    raise
                self.clock.sleep(delays[attempt] if isinstance(delays, list) else float(delays or 0))
        raise AssertionError("unreachable")

    def _suspend(self, *, wait_for_input: Any, timeout: int, key: str) -> Any:
        assert self._run is not None
        if key not in self._run.answers:
            raise Suspended(key)
        return wait_for_input(**self._run.answers[key])
