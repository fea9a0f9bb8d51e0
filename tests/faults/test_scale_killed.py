"""Every boundary of `scale`, found by running it: killed there, the size ends whole, with and without a person."""

from collections.abc import Generator
from typing import Any

import pytest
from boundaries_of_scale import Scaler, deaths
from plain_engine import PlainEngine

from blocks.clock import MemoryClock
from blocks.world import use_world
from domain.size import MIB, Size

pytestmark = pytest.mark.filterwarnings("ignore:Pickle, copy, and deepcopy support:DeprecationWarning")
CHANGES: list[dict[str, Any]] = [{"instances": 4}, {"instances": 1}, {"instances": 3, "memory_bytes": 64 * MIB}]


@pytest.fixture(scope="module")
def engine() -> Generator[PlainEngine]:
    with PlainEngine(MemoryClock()).installed() as engine:
        yield engine
    use_world(None)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_killed_anywhere_and_started_again_the_size_is_the_wanted_one(
    engine: PlainEngine, change: dict[str, Any]
) -> None:
    broken: dict[str, list[str]] = {}
    found = list(deaths(engine, **change))
    assert {name for name, _, _ in found} >= {"entry scale.granted production", "entry scale.completed production"}
    for name, is_done, scaler in found:
        scaler.run.count = 2
        scaler.theatre.world.clock.sleep(60)  # the lease of who died is over
        ended = scaler.drive(scaler.run)
        problems = scaler.complaints() + ([] if ended.state == "completed" else [f"{ended.state}: {ended.value!r}"])
        problems += [] if scaler.size == Size(**change) else [f"the size is {scaler.size}"]
        if problems:
            broken[f"{'after' if is_done else 'before'} {name}"] = problems
    assert not broken


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_killed_anywhere_and_left_alone_it_is_the_old_size_or_the_new_one_whole(
    engine: PlainEngine, change: dict[str, Any]
) -> None:
    broken: dict[str, list[str]] = {}
    for name, is_done, scaler in deaths(engine, **change):
        problems = _left_alone(scaler, Size(**change))
        if problems:
            broken[f"{'after' if is_done else 'before'} {name}"] = problems
    assert not broken


def _left_alone(scaler: Scaler, wanted: Size) -> list[str]:
    scaler.theatre._tell(scaler.run, "crashed")
    ended = scaler.theatre.reconcile(1)
    found = scaler.complaints() + ([] if ended.state == "completed" else [f"reconcile: {ended.value!r}"])
    found += [] if scaler.size in (Size(), wanted) else [f"the size is {scaler.size}"]
    again = scaler.theatre.reconcile(2).value
    found += [f"reconcile finds something again: {again}"] if again["scales"] else []
    # and a person who starts it again now goes on with nothing from the middle
    before = scaler.addresses()
    scaler.run.count = 2
    if scaler.entries("scale.begun", run=scaler.run.id):
        scaler.drive(scaler.run)
        found += [] if scaler.addresses() == before else ["it changed production again"]
    return found + scaler.complaints()
