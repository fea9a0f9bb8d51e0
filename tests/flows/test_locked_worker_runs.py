"""The locked worker on a real server: what was deployed runs, from this machine's copy; the rest is refused, unread."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL
from prefect.states import Scheduled
from prefect.workers.process import ProcessWorker

from deployments.stack.code import steps_folder
from deployments.stack.confined import confined
from deployments.stack.slipway_worker import PULL_STEP

WORKER = Path(__file__).parents[2] / "deployments" / "stack" / "slipway_worker.py"
POOL = "locked"
BEFORE = "one-for-all"
"""The pool in which an earlier version had everything."""
FLOW = """
import os, time
from pathlib import Path
from prefect import flow

@flow
def ok(wait_s: float = 0, pid_file: str = "") -> str:
    if pid_file:
        Path(pid_file).write_text(str(os.getpid()))
    time.sleep(wait_s)
    return Path("name").read_text()
"""
TELL = "import sys, os; open(os.environ['SLIPWAY_STATE'] + '/work/told', 'a').write(sys.stdin.read() + chr(10))"


class Machine:
    """A state folder with one deployed flow, and its worker."""

    def __init__(self, folder: Path, client: SyncPrefectClient) -> None:
        self.state, self.client = folder, client
        for copy in ("c0de", "01der"):
            (folder / "code" / copy / "flows").mkdir(parents=True)
            (folder / "code" / copy / "flows" / "ok.py").write_text(FLOW)
            (folder / "code" / copy / "name").write_text(copy)
            room = folder / "code" / copy / "deployments" / "stack"
            room.mkdir(parents=True)
            (room / "refusal.py").write_text(TELL)
        steps_folder(folder / "code")
        (folder / "workers").mkdir()
        template = ProcessWorker.get_default_base_job_template()
        for name in (POOL, BEFORE):
            client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
        self.deployment = self.deploy("ok", "flows/ok.py:ok")
        known = {str(self.deployment): {"name": "ok/ok", "entrypoint": "flows/ok.py:ok", "pool": POOL}}
        (folder / "workers" / "deployed.json").write_text(json.dumps({"code": "c0de", "deployments": known}))

    def deploy(self, name: str, entrypoint: str, **given: Any) -> UUID:
        flow = self.client.create_flow_from_name(name)
        steps = [{PULL_STEP: {"directory": str(self.state / "code" / "c0de")}}]
        facts = {"pull_steps": steps, "entrypoint": entrypoint, "path": ".", "work_pool_name": POOL, **given}
        return self.client.create_deployment(flow_id=flow, name=name, **facts)

    def start(self, deployment: UUID | None = None, **given: Any) -> UUID:
        made = self.client.create_flow_run_from_deployment(deployment or self.deployment, state=Scheduled(), **given)
        return made.id

    def end(self, run: UUID) -> FlowRun:
        until(lambda: self.client.read_flow_run(run).state.is_final(), what="the end of the run")  # pyright: ignore[reportOptionalMemberAccess]
        return self.client.read_flow_run(run)

    def told(self, run: UUID) -> str:
        path = self.state / "work" / "told"
        until(lambda: path.exists() and str(run) in path.read_text(), what="the refusal")
        return next(json.loads(line)["reason"] for line in path.read_text().splitlines() if str(run) in line)


def until(question: Callable[[], object], *, what: str, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not question():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    with get_client(sync_client=True) as client:
        machine = Machine(folder, client)
        environment = {
            **os.environ,
            "SLIPWAY_STATE": str(folder),
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "PREFECT_HOME": str(folder / "prefect-general"),
            "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(folder / "prefect-general" / "storage"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        words = ["--pool", POOL, "--name", "test", "--inherits", BEFORE]
        # as the general worker runs, where this machine can do that
        (folder / "sockets").mkdir()
        command = confined(
            [sys.executable, "-P", str(folder / "code" / "steps" / WORKER.name), *words],
            state=folder,
            sockets=folder / "sockets",
        )
        log = (folder / "log").open("w")
        with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as it:
            yield machine
            it.terminate()
            it.wait(timeout=60)


def test_what_was_deployed_runs_from_the_copy_that_is_current_and_is_written_down(machine: Machine) -> None:
    run = machine.start()
    ended = machine.end(run)
    assert ended.state is not None and ended.state.is_completed(), (ended.state, (machine.state / "log").read_text())
    assert (machine.state / "code" / "runs" / str(run)).read_text() == "c0de"


def test_a_run_goes_on_with_the_copy_that_it_began_with(machine: Machine) -> None:
    run = machine.client.create_flow_run_from_deployment(machine.deployment, state=None).id
    (machine.state / "code" / "runs" / str(run)).write_text("01der")
    machine.client.set_flow_run_state(run, Scheduled(), force=True)
    ended = machine.end(run)
    assert ended.state is not None and ended.state.is_completed(), ended.state
    assert (machine.state / "code" / "runs" / str(run)).read_text() == "01der"


def test_a_run_that_waited_while_its_deployment_moved_to_this_pool_is_taken_over(machine: Machine) -> None:
    """After an upgrade from the version that had one pool for all."""
    machine.deploy("ok", "flows/ok.py:ok", work_pool_name=BEFORE)
    run = machine.client.create_flow_run_from_deployment(machine.deployment, state=None).id
    machine.deploy("ok", "flows/ok.py:ok")
    machine.client.set_flow_run_state(run, Scheduled(), force=True)
    ended = machine.end(run)
    assert ended.state is not None and ended.state.is_completed(), ended.state


def test_a_note_cannot_lead_outside_of_the_copies(machine: Machine) -> None:
    run = machine.client.create_flow_run_from_deployment(machine.deployment, state=None).id
    (machine.state / "code" / "runs" / str(run)).write_text("../../evil")
    machine.client.set_flow_run_state(run, Scheduled(), force=True)
    ended = machine.end(run)
    assert ended.state is not None and ended.state.is_crashed() and "is gone" in str(ended.state.message)


def test_own_deployments_and_own_job_variables_run_nothing(machine: Machine, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    steps = [{"prefect.deployments.steps.run_shell_script": {"script": f"touch {mark}"}}]
    own = machine.deploy("evil", f"{tmp_path}/evil.py:evil", pull_steps=steps)
    runs = {
        machine.start(own): "no deployment that `slipway up` made",
        machine.start(job_variables={"command": f"touch {mark}"}): "job variables of its own (command)",
    }
    for run, words in runs.items():
        ended = machine.end(run)
        assert ended.state is not None and (ended.state.name, words in str(ended.state.message)) == ("Refused", True)
        assert words in machine.told(run)
    assert not mark.exists()


def _process_of(run: UUID) -> psutil.Process:
    """Found by its environment: the number that it has of itself may be of a process table of its own."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == str(run) and "slipway_process" in str(
                process.cmdline()
            ):
                return process
        except psutil.Error:
            continue
    raise AssertionError(f"no process of run {run}")


def test_a_killed_process_is_a_crash_at_once(machine: Machine, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    run = machine.start(parameters={"wait_s": 300, "pid_file": str(pid_file)})
    until(lambda: pid_file.exists() and pid_file.read_text(), what="the process")
    _process_of(run).kill()
    killed = time.monotonic()
    ended = machine.end(run)
    assert ended.state is not None and ended.state.is_crashed(), ended.state
    assert time.monotonic() - killed < 10
