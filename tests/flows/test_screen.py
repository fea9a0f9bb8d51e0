"""What showing something of a run promises, in memory and on a real Prefect server, there or away."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from blocks.memory_screen import MemoryScreen
from blocks.screen_prefect import PrefectScreen
from domain.errors import TransientError
from domain.ports import Screen

R = TypeVar("R")


@pytest.fixture(params=["memory", "prefect"])
def screen(request: pytest.FixtureRequest) -> Screen:
    return MemoryScreen() if request.param == "memory" else PrefectScreen()


def in_a_run(scene: Callable[[], R]) -> R:
    """Call something as a flow does: what is shown belongs to a run."""
    return flow(scene, name="scene")()


def test_a_report_has_an_id_of_its_own_each_time(screen: Screen):
    def scene() -> list[str]:
        return [screen.report("verdict-desk", markdown=f"## {n}", description="of a test") for n in range(2)]

    ids = in_a_run(scene)
    assert len(set(ids)) == 2 and all(ids)


def test_a_bar_is_moved_at_once_however_often(screen: Screen):
    def scene() -> float:
        begun = time.monotonic()
        for percent in range(100):
            screen.progress("bar-desk", percent=float(percent), description="of a test")
        return time.monotonic() - begun

    # in turn with 100 requests it would be a second or more
    assert in_a_run(scene) < 0.9


def test_the_newest_position_is_what_people_see_in_the_run():
    screen = PrefectScreen()

    def scene() -> None:
        for percent in (10.0, 42.0):
            screen.progress("bar-seen", percent=percent, description="of a test")

    in_a_run(scene)
    deadline = time.monotonic() + 20
    while _bars("bar-seen") != [42.0]:
        assert time.monotonic() < deadline, _bars("bar-seen")
        time.sleep(0.1)


# a run keeps the connection that it began with; what is looked at here is the same without one
@pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow:FutureWarning")
def test_while_the_server_is_away_bars_hold_nobody_up_and_a_report_is_worth_another_try():
    screen = PrefectScreen()
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        begun = time.monotonic()
        screen.progress("bar-away", percent=1.0, description="of a test")
        assert time.monotonic() - begun < 0.5
        with pytest.raises(TransientError, match="could not be shown"):
            screen.report("verdict-away", markdown="x", description="y")


def _bars(key: str) -> list[float]:
    only = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    with get_client(sync_client=True) as client:
        return [artifact.data for artifact in client.read_artifacts(artifact_filter=only)]  # pyright: ignore[reportReturnType]
