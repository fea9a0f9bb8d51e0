"""Whole flows on a real Prefect server, in a world of in-memory twins: order, verdicts, compensation.

Gates suspend, which takes a deployment and a worker: `tests/live/` has those.
"""

from collections.abc import Generator

import pytest
from prefect.testing.utilities import prefect_test_harness
from stage import APPLICATION, Stage

from blocks.world import use_world
from domain.ports import Application


@pytest.fixture(scope="session", autouse=True)
def prefect() -> Generator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def stage() -> Generator[Stage]:
    stage = Stage()
    stage.world.applications.add(Application(APPLICATION, "gitea", "team/desk", "file:///x"), webhook_secret="s")
    use_world(lambda: stage.world)
    yield stage
    use_world(None)
