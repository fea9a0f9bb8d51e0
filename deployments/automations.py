"""The automations of the installation: what Prefect does by itself when a run dies.

Registered by `slipway up` (`stack/registration.py`), which compares by the mark in the description.
"""

from datetime import timedelta
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

HEARTBEAT_S = 30
SILENCE_S = 75
"""Two heartbeats missed, and half of a third for a busy machine: what was midway is settled within two minutes."""

_ENDINGS = ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut", "AwaitingRetry")
_WAITING = ("Suspended", "Paused")
_WATCHED_FLOWS = ["ci", "cd", "rollback"]


def our_automations(reconcile: UUID) -> list[AutomationCore]:
    """All of them. `reconcile` is the id of that deployment."""
    return [zombie_automation(), reconcile_automation(reconcile)]


def zombie_automation() -> AutomationCore:
    """Call a run crashed whose process fell silent: worker and run both killed leave RUNNING for ever.

    The waiting states are among what is expected after a heartbeat, or every open approval would be crashed.
    """
    states = {f"prefect.flow-run.{name}" for name in (*_ENDINGS, *_WAITING)}
    return AutomationCore(
        name="slipway: a silent run is crashed",
        description=f"No heartbeat for {SILENCE_S} s, and no end either: the process is dead.",
        trigger=EventTrigger(
            # a process can die between its first line and its first heartbeat
            after={"prefect.flow-run.heartbeat", "prefect.flow-run.Running"},
            expect={"prefect.flow-run.heartbeat", *states},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},  # pyright: ignore[reportArgumentType]
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENCE_S),
        ),
        actions=_one(ChangeFlowRunState, state=StateType.CRASHED, message=f"No heartbeat for {SILENCE_S} s"),
    )


def reconcile_automation(deployment_id: UUID) -> AutomationCore:
    """Start `reconcile` when a delivery, a build or a rollback ends badly: nobody else may be left to do it."""
    return AutomationCore(
        name="slipway: reconcile after a bad end",
        description="A run of ci, cd or rollback ended badly or was cancelled: settle what it left.",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{name}" for name in ("Failed", "Crashed", "TimedOut", "Cancelled")},
            match={"prefect.resource.id": "prefect.flow-run.*"},  # pyright: ignore[reportArgumentType]
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": _WATCHED_FLOWS},  # pyright: ignore[reportArgumentType]
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        # As a string: Prefect passes values through JSON, which knows no UUID, and then starts nothing, with a mere
        # warning in its log.
        actions=_one(RunDeployment, deployment_id=deployment_id, parameters={"run": "{{ flow_run.id | string }}"}),
    )


def _one(action: type[ActionTypes], **settings: object) -> list[ActionTypes]:
    """A list of one action; read as data, since the classes' signatures hide their defaults from the type checker."""
    return [action.model_validate(settings)]
