"""What marks, guards and journals of break-glass rollbacks promise, in memory and in files."""

import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Event as Signal
from pathlib import Path

import pytest

from blocks.break_glass_files import FileBreakGlass
from blocks.memory_break_glass import MemoryBreakGlass
from domain.break_glass import Mark
from domain.errors import RefusedError, TransientError
from domain.ledger import Event
from domain.ports import BreakGlass

MARK = Mark("desk", "production", "act-1", "ann", "search is down.", "2026-01-31T12:00:00+00:00")


@pytest.fixture(params=["memory", "files"])
def glass(request: pytest.FixtureRequest, tmp_path: Path) -> BreakGlass:
    return MemoryBreakGlass() if request.param == "memory" else FileBreakGlass(tmp_path / "break-glass")


def test_without_a_mark_every_run_may_act(glass: BreakGlass):
    with (
        glass.guarded("desk", "production", run="run-1"),
        glass.guarded("desk", "production", run="run-2"),
        glass.guarded("desk", "production", run="run-1"),
    ):
        assert glass.marks() == [] and glass.unsettled() == []


def test_a_mark_refuses_every_other_run_in_that_environment_only(glass: BreakGlass):
    glass.mark(MARK)
    with (
        pytest.raises(RefusedError, match=r"by ann at 2026-01-31.*search is down\. .*Run `slipway up`"),
        glass.guarded("desk", "production", run="run-1"),
    ):
        pytest.fail("refused before the effect")
    for application, environment in (("desk", "staging"), ("other", "production")):
        with glass.guarded(application, environment, run="run-1"):
            pass
    with glass.guarded("desk", "production", run="act-1"):
        assert glass.marks() == [MARK]


def test_a_settled_act_lifts_its_mark_and_only_the_runs_it_ended_stay_refused(glass: BreakGlass):
    glass.mark(MARK)
    glass.journal("act-1").append(Event("rollback.begun", run="act-1"))
    assert glass.unsettled() == ["act-1"]
    glass.settle("act-1", halted=["run-1"])
    glass.settle("act-1", halted=["run-1"])
    assert glass.marks() == [] and glass.unsettled() == []
    with glass.guarded("desk", "production", run="run-2"), glass.guarded("desk", "staging", run="run-1"):
        pass
    with pytest.raises(RefusedError, match="must not go on"), glass.guarded("desk", "production", run="run-1"):
        pytest.fail("refused before the effect")


def test_it_is_seized_only_when_no_effect_is_under_way(glass: BreakGlass):
    with (
        glass.guarded("desk", "production", run="run-1"),
        pytest.raises(TransientError, match="at work in production"),
        glass.seized("desk", "production", limit_s=0.2),
    ):
        pytest.fail("not seized")
    with glass.seized("desk", "production", limit_s=0.2):
        pass


def _hold(folder: Path, entered: Signal) -> None:
    with FileBreakGlass(folder).guarded("desk", "production", run="run-1"):
        entered.set()
        time.sleep(60)


def test_a_process_that_dies_in_its_effect_lets_go(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    entered = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, entered))
    holder.start()
    assert entered.wait(30) and holder.pid
    with (
        pytest.raises(TransientError),
        FileBreakGlass(tmp_path).seized("desk", "production", limit_s=0.1),
    ):
        pytest.fail("it is held")
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with FileBreakGlass(tmp_path).seized("desk", "production", limit_s=5):
        pass


def test_files_are_private(tmp_path: Path):
    glass = FileBreakGlass(tmp_path / "b")
    glass.mark(MARK)
    glass.journal("act-1").append(Event("rollback.begun", run="act-1"))
    files = [path for path in (tmp_path / "b").rglob("*") if path.is_file()]
    assert files and all(path.stat().st_mode & 0o077 == 0 for path in files)
