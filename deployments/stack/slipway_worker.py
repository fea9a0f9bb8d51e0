# pyright: reportPrivateUsage=false
# Prefect's worker is made to be subclassed, but the pieces that start a process are its own modules' private names.
"""The locked worker: runs what `slipway up` deployed on this machine, whatever Prefect's server says of it.

Prefect's open server has one password, and a worker of Prefect's runs what the server tells it: an entrypoint, pull
steps, a command, variables. So who has the password would have our user. This worker takes all of that from a file that
only this machine's operator writes (`<state>/workers/deployed.json`). What the server says is only compared: a run that
differs is refused, with the reason as its state and in the ledger.

`slipway up` puts this file at `<state>/code/steps/`, where it outlives the copies of the code: only Prefect and the
standard library here, so that a new copy of our code needs no new worker, and ends no run.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, WorkPool
from prefect.client.schemas.responses import DeploymentResponse, WorkerFlowRunResponse
from prefect.exceptions import ObjectNotFound
from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.runner._starter_engine import EngineCommandStarter
from prefect.states import Failed
from prefect.utilities.processutils import command_to_string, setup_signal_handlers_worker
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

RECORD_FILE = "workers/deployed.json"
PULL_STEP = "prefect.deployments.steps.set_working_directory"
REFUSED = "Refused"

_PROCESS = Path(__file__).with_name("slipway_process.py")
_CARRY_OVER_S = 5.0
_TELL_LIMIT_S = 30


@dataclass(frozen=True, slots=True)
class Deployed:
    """One deployment as `slipway up` made it: `entrypoint` is relative to a copy of the code."""

    name: str
    entrypoint: str
    pool: str


@dataclass(frozen=True, slots=True)
class Record:
    """What was deployed on this machine: the deployments by id, and the copy of the code for runs that begin."""

    code: str
    deployments: Mapping[UUID, Deployed]


def read_record(state: Path) -> Record | None:
    """Read what was deployed; None before the first `slipway up` has got that far."""
    try:
        value = json.loads((state / RECORD_FILE).read_text())
    except FileNotFoundError:
        return None
    deployments = {UUID(one): Deployed(**facts) for one, facts in value["deployments"].items()}
    return Record(value["code"], deployments)


def find_objection(
    run: FlowRun, deployment: DeploymentResponse | None, record: Record, *, pool: str, codes: Path
) -> str:
    """Say why a run may not start here; an empty text where it may.

    Nothing of what is compared is used afterwards: it shows an attempt, and a person why nothing happens.
    """
    known = record.deployments.get(run.deployment_id) if run.deployment_id else None
    if known is None:
        return "it is of no deployment that `slipway up` made on this machine"
    if known.pool != pool:
        return f"'{known.name}' belongs to the work pool '{known.pool}', and this is '{pool}'"
    if run.job_variables:
        return f"it brings job variables of its own ({', '.join(sorted(run.job_variables))[:200]})"
    if deployment is None:
        return f"'{known.name}' is gone from Prefect"
    if deployment.job_variables:
        return f"'{known.name}' has job variables now ({', '.join(sorted(deployment.job_variables))[:200]})"
    if deployment.entrypoint != known.entrypoint:
        return f"the entrypoint of '{known.name}' is {deployment.entrypoint!r} now, and was {known.entrypoint!r}"
    if not _is_our_pull(deployment.pull_steps, codes) or deployment.storage_document_id:
        return f"'{known.name}' would get its code from elsewhere now"
    return ""


def _is_our_pull(steps: list[dict[str, Any]] | None, codes: Path) -> bool:
    """Whether the only pull step goes to a copy of our code; to which one does not matter, we choose it."""
    if not steps or len(steps) != 1 or set(steps[0]) != {PULL_STEP}:
        return False
    settings = steps[0][PULL_STEP]
    return set(settings) == {"directory"} and Path(str(settings["directory"])).parent == codes


def place_of(run: str, *, codes: Path, current: str) -> Path:
    """Find the copy of the code that a run began with; one that begins takes `current`, and that is written down.

    A suspended run starts again from its top, perhaps days later, and must find the code that it began with.
    Raises: FileNotFoundError where that copy is gone.
    """
    note = codes / "runs" / run
    known = note.read_text() if note.exists() else ""
    if not known:
        draft = note.with_name(f".{run}.{os.getpid()}")
        draft.write_text(current)
        draft.replace(note)
    place = codes / (known or current)
    if place.parent != codes or not place.is_dir():
        raise FileNotFoundError(f"{place}, the code that this run began with, is gone. Start the run anew.")
    return place


class LockedConfiguration(ProcessJobConfiguration):
    """How a run's process starts: nothing of the work pool's template, the deployment's or the run's job variables."""

    @classmethod
    async def resolve_for_flow_run(
        cls,
        flow_run: FlowRun,
        *,
        client: PrefectClient,
        work_pool: WorkPool,
        worker_name: str,
        worker_id: UUID | None = None,
        deployment: DeploymentResponse | None = None,
    ) -> "LockedConfiguration":
        configuration = cls(command=command_to_string([sys.executable, "-P", str(_PROCESS)]))
        configuration.prepare_for_flow_run(flow_run, deployment, None, work_pool, worker_name, worker_id)
        return configuration


class LockedWorker(ProcessWorker):
    """A process worker that takes its orders from this machine."""

    job_configuration = LockedConfiguration

    @classmethod
    def __dispatch_key__(cls) -> str:
        """A name of our own among worker classes; to the server it stays of the type `process`."""
        return "slipway-locked"

    def __init__(self, *, state: Path, pool: str, name: str, inherits: str = "") -> None:
        """Serve `pool`. `inherits` names a pool whose runs are taken over where their deployment has moved to ours."""
        super().__init__(work_pool_name=pool, name=name, create_pool_if_not_found=False)
        self._state = state
        self._codes = state / "code"
        self._inherits = inherits
        self._inherited_at = 0.0
        self._telling = anyio.Lock()

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        """Ask for what is due; nothing while it is not known what was deployed."""
        record = read_record(self._state)
        if record is None:
            return []
        due = await super()._get_scheduled_flow_runs()
        if not self._inherits:
            # a deployment that has moved is left to the worker of its new pool, which looks here as well
            return [one for one in due if _pool_of(one, record) in ("", self._work_pool_name)]
        if time.monotonic() - self._inherited_at > _CARRY_OVER_S:
            self._inherited_at = time.monotonic()
            due += [one for one in await self._inherited() if _pool_of(one, record) == self._work_pool_name]
        return due

    async def _inherited(self) -> list[WorkerFlowRunResponse]:
        """Runs that wait in the other pool, because they began when their deployment was there."""
        with suppress(ObjectNotFound):
            before = datetime.now(UTC) + timedelta(seconds=int(self._prefetch_seconds))
            return await self.client.get_scheduled_flow_runs_for_work_pool(self._inherits, scheduled_before=before)
        return []

    async def _submit_run(self, flow_run: FlowRun) -> None:
        objection = await self._find_objection(flow_run)
        if not objection:
            await super()._submit_run(flow_run)
            return
        try:
            await self._refuse(flow_run, objection)
        finally:
            self._submitting_flow_run_ids.discard(flow_run.id)
            if self._cancelling_observer is not None:
                self._cancelling_observer.remove_in_flight_flow_run_id(flow_run.id)

    async def _find_objection(self, run: FlowRun) -> str:
        deployment = None
        if run.deployment_id:
            with suppress(ObjectNotFound):
                deployment = await self.client.read_deployment(run.deployment_id)
        record = read_record(self._state)
        assert record is not None, "nothing is taken before there is a record"
        return find_objection(run, deployment, record, pool=self._work_pool_name, codes=self._codes)

    async def _refuse(self, run: FlowRun, objection: str) -> None:
        """End a run before it starts, and write down why."""
        reason = f"Refused: {objection}."
        self.get_flow_run_logger(run).error(reason)
        with suppress(ObjectNotFound):
            await self.client.set_flow_run_state(run.id, Failed(name=REFUSED, message=reason), force=True)
        await self._tell(run, objection)

    async def _tell(self, run: FlowRun, objection: str) -> None:
        """Write one entry to the ledger, in a process with the current copy of our code; one at a time."""
        record = read_record(self._state)
        assert record is not None
        told = json.dumps({"run": str(run.id), "pool": self._work_pool_name, "reason": objection, "name": run.name})
        command = [sys.executable, "-m", "deployments.stack.refusal"]
        async with self._telling:
            with anyio.move_on_after(_TELL_LIMIT_S):
                done = await anyio.run_process(
                    command, input=told.encode(), cwd=self._codes / record.code, check=False, stderr=None
                )
                if done.returncode == 0:
                    return
        self._logger.error("The refusal of run %s is not in the ledger.", run.id)

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Start the run's own process, with the entrypoint and from the copy of the code that this machine knows."""
        record = read_record(self._state)
        assert record is not None and flow_run.deployment_id is not None
        place = place_of(str(flow_run.id), codes=self._codes, current=record.code)
        entrypoint = record.deployments[flow_run.deployment_id].entrypoint
        execution: FlowRunExecutionResult | None = None
        async with FlowRunExecutorContext() as context:
            starter = EngineCommandStarter(
                command=configuration.command,
                entrypoint=str(place / entrypoint),
                cwd=place,
                env=configuration.env,
                control_channel=context.control_channel,
                isolate_process_group=True,
            )
            executor = context.create_executor(flow_run, starter, resolve_flow=_without_hooks, propose_submitting=False)

            async def execute(*, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED) -> None:
                nonlocal execution
                execution = await executor.submit(task_status=task_status)

            async with anyio.create_task_group() as group:
                handle: ProcessHandle = await group.start(execute)
                if task_status is not None:
                    task_status.started(handle.pid or 0)
        if execution is None or execution.status_code is None:
            raise RuntimeError("The process of the run could not be started.")
        return ProcessWorkerResult(status_code=execution.status_code, identifier=str(execution.handle.pid))


def _pool_of(due: WorkerFlowRunResponse, record: Record) -> str:
    """The pool of a run's deployment as it was deployed; empty for what we did not deploy."""
    known = record.deployments.get(due.flow_run.deployment_id) if due.flow_run.deployment_id else None
    return known.pool if known else ""


async def _without_hooks(flow_run: FlowRun) -> Flow[..., Any]:
    """Stand in for the run's flow where Prefect looks for hooks: ours have none, and none is loaded here."""

    def nothing() -> None: ...

    return Flow(nothing, name=flow_run.name)


def main() -> None:
    """Serve a pool until told to stop; a second signal kills."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pool", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--inherits", default="", help="a pool whose runs are taken over where they are ours now")
    given = parser.parse_args()
    say = partial(print, flush=True)
    setup_signal_handlers_worker(os.getpid(), "the worker", say)
    state = Path(os.environ["SLIPWAY_STATE"])
    worker = LockedWorker(state=state, pool=given.pool, name=given.name, inherits=given.inherits)
    with suppress(KeyboardInterrupt):
        anyio.run(partial(worker.start, printer=say))


if __name__ == "__main__":
    main()
