"""What starting flow runs promises, in memory and on a real Prefect server; and the door's dispatcher on both."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from fixtures_door import headers_for, push_body
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Pending

from blocks.flow_runs_prefect import PrefectFlowRuns
from blocks.forge_gitea import GiteaForge
from blocks.memory_flow_runs import MemoryFlowRuns
from blocks.memory_world import MemoryWorld
from blocks.run_records_prefect import PrefectRunRecords
from deployments.door.dispatcher import Dispatcher
from domain.errors import ConfigError, TransientError
from domain.ports import Application, FlowRuns, Forge

SCHEMA = {
    "type": "object",
    "properties": {
        name: {"type": "string"}
        for name in ("application", "commit", "branch", "requester", "requester_email", "before", "delivery")
    },
    "required": ["application", "commit"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def deployment() -> str:
    with get_client(sync_client=True) as client:
        flow = client.create_flow_from_name("ci")
        client.create_deployment(flow, name="ci", parameter_openapi_schema=SCHEMA, enforce_parameter_schema=True)
    return "ci/ci"


@pytest.fixture(params=["memory", "prefect"])
def flow_runs(request: pytest.FixtureRequest, deployment: str) -> FlowRuns:
    return MemoryFlowRuns() if request.param == "memory" else PrefectFlowRuns()


PARAMETERS = {"application": "desk", "commit": "a" * 40}


def test_one_key_is_one_run(flow_runs: FlowRuns):
    key = str(uuid.uuid4())
    started = {flow_runs.start("ci/ci", parameters=PARAMETERS, idempotency_key=key, name="x") for _ in range(3)}
    assert len(started) == 1
    assert flow_runs.start("ci/ci", parameters=PARAMETERS, idempotency_key=f"{key}-2") not in started


def test_a_run_that_never_came_to_work_can_be_called_crashed_and_no_other(deployment: str):
    run = PrefectFlowRuns().start("ci/ci", parameters=PARAMETERS, idempotency_key=str(uuid.uuid4()), name="x")
    records = PrefectRunRecords("http://ui")
    records.crash(run, message="gone")
    assert records.find(run).state == "scheduled"  # pyright: ignore[reportOptionalMemberAccess]
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(uuid.UUID(run), Pending())
    records.crash(run, message="gone")
    found = records.find(run)
    assert found is not None and (found.state, found.message) == ("crashed", "gone")


def test_a_deployment_that_is_not_there_yet_is_worth_asking_again(flow_runs: FlowRuns):
    with pytest.raises(TransientError, match="no deployment 'cd/nowhere'"):
        flow_runs.start("cd/nowhere", parameters={}, idempotency_key="x")


def test_wrong_parameters_are_refused(deployment: str):
    with pytest.raises(ConfigError, match="refuses to start"):
        PrefectFlowRuns().start(deployment, parameters={"commit": 5}, idempotency_key=str(uuid.uuid4()))


def test_a_server_that_is_away_is_worth_asking_again():
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(TransientError, match="does not answer"),
    ):
        PrefectFlowRuns().start("ci/ci", parameters={}, idempotency_key="x")


class GiteaWorld(MemoryWorld):
    def forge(self, name: str) -> Forge:
        return GiteaForge()


@pytest.fixture
def world() -> GiteaWorld:
    world = GiteaWorld()
    world.applications.add(Application("desk", "gitea", "team/desk", "/x.git"), webhook_secret="s")
    return world


@pytest.fixture
def deliver(world: GiteaWorld) -> Callable[[str, bytes], None]:
    def deliver(delivery: str, body: bytes) -> None:
        headers = headers_for(body, delivery=delivery)
        world.inbox.store(forge="gitea", repository="team/desk", delivery_id=delivery, headers=headers, body=body)

    return deliver


Deliver = Callable[[str, bytes], None]


def test_a_push_starts_ci_with_who_pushed_what(world: GiteaWorld, deliver: Deliver):
    deliver("one", push_body(after="c" * 40, before="b" * 40))
    assert Dispatcher(world).settle_waiting() == 1
    (run,) = world.flow_runs.runs.values()
    assert run.deployment == "ci/ci" and run.parameters == {
        "application": "desk",
        "commit": "c" * 40,
        "before": "b" * 40,
        "branch": "main",
        "requester": "ann",
        "requester_email": "ann@example.org",
        "delivery": "one",
    }
    assert [entry.kind for entry in world.ledger.entries()] == [
        "delivery.received",
        "push.received",
        "delivery.started",
    ]
    assert world.inbox.deliveries[0].status == "started" and world.inbox.deliveries[0].note == run.id


def test_a_start_that_was_not_noted_starts_nothing_twice(world: GiteaWorld, deliver: Deliver):
    """Killed between the start and the note: the delivery is still waiting, the run is there."""
    deliver("one", push_body())
    Dispatcher(world).settle_waiting()
    world.inbox.settle(1, status="waiting")
    Dispatcher(world).settle_waiting()
    assert len(world.flow_runs.runs) == 1
    assert [entry.kind for entry in world.ledger.entries()] == [
        "delivery.received",
        "push.received",
        "delivery.started",
    ]


def test_while_prefect_is_away_pushes_wait_and_the_rest_is_settled(world: GiteaWorld, deliver: Deliver):
    deliver("push", push_body())
    deliver("tag", push_body(ref="refs/tags/v1"))
    deliver("noise", b"noise")
    world.flow_runs.is_away = True
    dispatcher = Dispatcher(world)
    assert dispatcher.settle_waiting() == 2
    assert [one.status for one in world.inbox.deliveries] == ["waiting", "ignored", "refused"]
    world.flow_runs.is_away = False
    assert Dispatcher(world).settle_waiting() == 1
    assert world.inbox.deliveries[0].status == "started"


def test_a_removed_application_starts_nothing(world: GiteaWorld):
    body = push_body()
    world.inbox.store(
        forge="gitea", repository="team/gone", delivery_id="1", headers=headers_for(body, delivery="1"), body=body
    )
    Dispatcher(world).settle_waiting()
    assert world.inbox.deliveries[0].status == "ignored" and "registered" in world.inbox.deliveries[0].note


def test_on_a_real_server_the_same_delivery_is_one_run_of_that_name(
    world: GiteaWorld, deliver: Deliver, deployment: str
):
    world.flow_runs = PrefectFlowRuns()  # pyright: ignore[reportAttributeAccessIssue]
    delivery = f"real-{datetime.now(UTC):%H%M%S%f}"
    deliver(delivery, push_body(after="d" * 40))
    Dispatcher(world).settle_waiting()
    world.inbox.settle(1, status="waiting")
    Dispatcher(world).settle_waiting()
    with get_client(sync_client=True) as client:
        runs = [run for run in client.read_flow_runs() if run.parameters.get("delivery") == delivery]
    assert [run.name for run in runs] == ["desk dddddddddddd"]
    assert world.inbox.deliveries[0].note == str(runs[0].id)
