"""What the locked worker objects to, and which results a run's process reads."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse

from deployments.stack.slipway_worker import PULL_STEP, Deployed, Record, find_objection, read_record

CODES = Path("/state/code")
CD = uuid4()
POOL = "slipway-production"
RECORD = Record("c0de", {CD: Deployed("cd/cd", "flows/cd.py:cd", POOL)})


def _deployment(**changed: Any) -> DeploymentResponse:
    facts: dict[str, Any] = {
        "id": CD,
        "name": "cd",
        "flow_id": uuid4(),
        "entrypoint": "flows/cd.py:cd",
        "pull_steps": [{PULL_STEP: {"directory": "/state/code/c0de"}}],
        "work_pool_name": POOL,
    }
    return DeploymentResponse(**{**facts, **changed})


def _run(deployment: UUID | None = CD, **changed: Any) -> FlowRun:
    return FlowRun(flow_id=uuid4(), deployment_id=deployment, **changed)


def _objection(run: FlowRun, deployment: DeploymentResponse | None, pool: str = POOL) -> str:
    return find_objection(run, deployment, RECORD, pool=pool, codes=CODES)


def test_a_run_of_what_was_deployed_is_not_objected_to() -> None:
    assert _objection(_run(), _deployment()) == ""


def test_after_an_upgrade_an_older_copy_of_ours_is_no_objection() -> None:
    older = [{PULL_STEP: {"directory": "/state/code/0lder"}}]
    assert _objection(_run(), _deployment(pull_steps=older)) == ""


@pytest.mark.parametrize(
    ("run", "deployment", "words"),
    [
        (_run(None), None, "no deployment that `slipway up` made"),
        (_run(uuid4()), _deployment(), "no deployment that `slipway up` made"),
        (_run(job_variables={"command": "id"}), _deployment(), "job variables of its own (command)"),
        (_run(), None, "gone from Prefect"),
        (_run(), _deployment(job_variables={"env": {"A": "b"}}), "has job variables now (env)"),
        (_run(), _deployment(entrypoint="/tmp/evil.py:cd"), "'/tmp/evil.py:cd' now, and was 'flows/cd.py:cd'"),
        (_run(), _deployment(pull_steps=None), "code from elsewhere"),
        (_run(), _deployment(pull_steps=[{PULL_STEP: {"directory": "/tmp"}}]), "code from elsewhere"),
        (
            _run(),
            _deployment(pull_steps=[{"prefect.deployments.steps.run_shell_script": {"script": "id"}}]),
            "code from elsewhere",
        ),
        (
            _run(),
            _deployment(
                pull_steps=[{PULL_STEP: {"directory": "/state/code/c0de"}}, {PULL_STEP: {"directory": "/state/code/x"}}]
            ),
            "code from elsewhere",
        ),
        (_run(), _deployment(storage_document_id=uuid4()), "code from elsewhere"),
    ],
)
def test_whatever_differs_is_refused_with_its_reason(
    run: FlowRun, deployment: DeploymentResponse | None, words: str
) -> None:
    assert words in _objection(run, deployment)


def test_a_deployment_of_another_pool_is_refused() -> None:
    assert "belongs to the work pool 'slipway-production'" in _objection(_run(), _deployment(), pool="slipway")


def test_before_anything_was_deployed_there_is_no_record(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    known = {str(CD): {"name": "cd/cd", "entrypoint": "flows/cd.py:cd", "pool": POOL}}
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "deployed.json").write_text(json.dumps({"code": "c0de", "deployments": known}))
    assert read_record(tmp_path) == RECORD


PROBE = """
import sys
import anyio
from deployments.stack.slipway_process import keep_results_here
from prefect._internal.result_records import ResultRecordMetadata
from prefect.results import ResultStore, resolve_result_storage
from prefect.serializers import JSONSerializer, PickleSerializer
from prefect.states import Completed, get_state_exception, Failed
import uuid
keep_results_here()
mark, evil, own = sys.argv[1:]
kinds = {
    "absolute": ResultRecordMetadata(storage_key=evil, serializer=PickleSerializer()),
    "climbing": ResultRecordMetadata(storage_key="../evil", serializer=PickleSerializer()),
    "block": ResultRecordMetadata(storage_key="x", serializer=PickleSerializer(), storage_block_id=uuid.uuid4()),
}
for name, metadata in kinds.items():
    for ask in (lambda: Completed(data=metadata).result(), lambda: get_state_exception(Failed(data=metadata))):
        try:
            ask()
        except Exception as exc:
            print(name, type(exc).__name__)
        else:
            print(name, "was read")
print("own", Completed(data=ResultRecordMetadata(storage_key=own, serializer=JSONSerializer())).result())
"""


def test_a_state_that_names_a_result_elsewhere_is_not_read_and_ours_is(tmp_path: Path) -> None:
    """A swapped result: the file is a real record of a pickle that leaves a mark when it is read."""
    import os
    import subprocess
    import sys

    from prefect.filesystems import LocalFileSystem
    from prefect.results import ResultStore

    storage, mark = tmp_path / "storage", tmp_path / "mark"
    storage.mkdir()

    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {mark}",)

    def write(folder: Path, key: str, value: Any) -> None:
        store = ResultStore(result_storage=LocalFileSystem(basepath=str(folder)))
        anyio.run(lambda: store.awrite(value, key=key))

    write(tmp_path, "evil", Bomb())
    write(storage, "own", {"outcome": "completed"})
    environment = {**os.environ, "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(storage), "PREFECT_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(mark), str(tmp_path / "evil"), "own"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "was read" not in done.stdout and done.stdout.count("\n") == 7, done.stdout
    assert "own {'outcome': 'completed'}" in done.stdout and not mark.exists()
