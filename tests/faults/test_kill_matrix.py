"""The page with the kill matrix is of the plan as it is now."""

import json
import os

import pytest
from boundaries import SCENARIOS, deaths, end_of
from kill_matrix import PAGE, RESULTS, render
from plain_engine import PlainEngine

from blocks.clock import MemoryClock
from blocks.world import use_world


@pytest.mark.filterwarnings("ignore:Pickle, copy, and deepcopy support:DeprecationWarning")
def test_the_page_has_every_boundary_of_the_plan_and_how_it_ended() -> None:
    scenarios: dict[str, list[tuple[str, str, str]]] = {}
    with PlainEngine(MemoryClock()).installed() as engine:
        for scenario in SCENARIOS:
            ends = [(death, *end_of(death)) for death in deaths(engine, scenario) if not death.is_done]
            assert not [(str(death), found) for death, _, _, found in ends if found]
            scenarios[scenario] = [(death.name, release, closing) for death, release, closing, _ in ends]
    use_world(None)
    page = render(scenarios)
    if os.environ.get("SLIPWAY_KILL_MATRIX") == "write":
        PAGE.write_text(page)
    assert PAGE.read_text() == page, "the plan has changed: run `make kill-matrix`"


def test_what_was_tried_on_the_real_stack_held() -> None:
    results = json.loads(RESULTS.read_text())
    assert {one["held"] for one in results.values()} <= {"yes"}
