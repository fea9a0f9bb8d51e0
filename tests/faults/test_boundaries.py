"""Every boundary of `cd`, found by running it: killed there and started again by a person, production ends whole.

In memory, where a process can die between any two changes of the world. What happens without a person, for `cd`,
`rollback` and `reconcile`, is in `test_kill_matrix.py`; what only the real parts show is in `tests/live/test_kills.py`.
"""

from collections.abc import Callable, Generator

import pytest
from boundaries import SCENARIOS, Death, deaths, retried_at_once, retried_too_late
from plain_engine import PlainEngine

from blocks.clock import MemoryClock
from blocks.world import use_world

# a world in memory has counters of itertools, whose copies go away with Python 3.14
pytestmark = pytest.mark.filterwarnings("ignore:Pickle, copy, and deepcopy support:DeprecationWarning")


@pytest.fixture(scope="module")
def engine() -> Generator[PlainEngine]:
    with PlainEngine(MemoryClock()).installed() as engine:
        yield engine
    use_world(None)


CD = [name for name in SCENARIOS if name.startswith("cd")]


@pytest.mark.parametrize("scenario", CD)
def test_killed_anywhere_and_started_again_production_ends_whole(engine: PlainEngine, scenario: str) -> None:
    found = from_production_on(list(deaths(engine, scenario)))
    # done, and its answer lost: the task is not known to have ended, and is done once more
    _hold([death for death in found if death.is_done], retried_at_once)
    _hold([death for death in found if not death.is_done], retried_too_late)


def from_production_on(found: list[Death]) -> list[Death]:
    """Leave out what a retry has in common with any other beginning; with a bad one, what is as with a good one."""
    is_bad = any(death.name == "entry digest.blocked" for death in found)
    first = "entry verdict.given production/alpha" if is_bad else "entry approval.requested production"
    return found[[death.name for death in found].index(first) :]


def _hold(found: list[Death], holds: Callable[[Death], list[str]]) -> None:
    broken = {str(death): complaints for death in found if (complaints := holds(death))}
    told = "\n".join(f"{death}\n    " + "\n    ".join(complaints) for death, complaints in broken.items())
    assert found and not broken, f"{len(broken)} of {len(found)}\n{told}"
