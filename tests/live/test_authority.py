"""Attacks with Prefect's auth string, and nothing else: none runs code, approves, or touches production."""

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import cloudpickle
import httpx
import psutil
import pytest
from journey import NAME, Journey, until
from running_stack import RunningStack

from blocks.installation import read_secret
from blocks.ledger_postgres import PostgresLedger
from blocks.postgres_session import ledger_session
from deployments.stack.confined import confined
from domain.errors import InvariantError
from domain.ledger import Event

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

GENERAL, PRODUCTION = "slipway", "slipway-production"
SITES = ("alpha", "beta")
DECIDING = ("approval.granted", "rollback.authorised", "rollback.begun", "digest.unblocked", "rollout.begun")


@dataclass
class Attacker:
    """Somebody with the auth string, and a folder of their own on the machine."""

    journey: Journey
    folder: Path

    @property
    def mark(self) -> Path:
        """Is there once their code has run."""
        return self.folder / "mark"

    @property
    def flow_file(self) -> Path:
        path = self.folder / "evil.py"
        path.write_text(
            f"import pathlib\npathlib.Path({str(self.mark)!r}).write_text('ran')\n"
            "from prefect import flow\n\n@flow\ndef evil():\n    pass\n\n@flow\ndef unblock(**words):\n    pass\n"
        )
        return path

    def pickle(self) -> Path:
        """A result record, as Prefect keeps them, that runs a command when it is read."""

        class Bomb:
            def __reduce__(self) -> tuple[Any, tuple[str]]:
                return os.system, (f"touch {self_mark}",)

        self_mark = self.mark
        blob = base64.encodebytes(cloudpickle.dumps(Bomb())).decode()
        record = {"metadata": {"serializer": {"type": "pickle"}, "storage_key": "x"}, "result": blob}
        path = self.folder / "record"
        path.write_text(json.dumps(record))
        return path

    def ask(self, method: str, path: str, **given: Any) -> Any:
        return self.journey.stack.prefect(method, path, **given)

    def deployment(self, name: str) -> dict[str, Any]:
        return self.ask("GET", f"/deployments/name/{name}/{name}")

    def start(self, deployment: str, **given: Any) -> str:
        body = {"state": {"type": "SCHEDULED"}, **given}
        return self.ask("POST", f"/deployments/{deployment}/create_flow_run", json=body)["id"]

    def end(self, run: str) -> dict[str, Any]:
        return self.journey.wait_end(run, limit_s=90)

    def refused(self, run: str, words: str) -> None:
        """The run was refused with this reason, in its state and in the ledger, and nothing of theirs has run."""
        state = self.end(run)
        assert (state["type"], state["name"]) == ("FAILED", "Refused"), state
        assert words in state["message"], state["message"]
        ledger = self.journey.world.ledger
        (entry,) = until(lambda: ledger.entries(kinds=["run.refused"], run=run), limit_s=30, what="the refusal")
        assert words in entry.data["reason"]
        assert not self.mark.exists()

    @contextmanager
    def changed(self, path: str, change: dict[str, Any], *, back: dict[str, Any]) -> Generator[None]:
        """Something edited through the API, for a while."""
        self.ask("PATCH", path, json=change)
        try:
            yield
        finally:
            self.ask("PATCH", path, json=back)


@pytest.fixture(scope="module")
def journey(stack: RunningStack) -> Generator[Journey]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-authority-"))
    journey = Journey(stack, folder)
    yield journey
    journey.world.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def gate(journey: Journey) -> tuple[str, str]:
    """A release that waits at production's gate: its digest and its run."""
    release = journey.deliver("wanted")
    return release, journey.wait_gate(release)[0]


@pytest.fixture
def attacker(journey: Journey, gate: tuple[str, str]) -> Generator[Attacker]:
    """Whatever they do: production stays as it is, and no entry that decides is written."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-attacker-"))
    folder.chmod(0o755)
    before = _production(journey)
    one = Attacker(journey, folder)
    yield one
    assert _production(journey) == before
    assert not one.mark.exists()
    shutil.rmtree(folder)


def _production(journey: Journey) -> tuple[Any, ...]:
    deciding = [entry.seq for entry in journey.entries(*DECIDING, environment="production")]
    unblocked = [entry.seq for entry in journey.entries("digest.unblocked")]
    return *(journey.serving(site) for site in SITES), deciding, unblocked


@pytest.mark.parametrize("pool", [GENERAL, PRODUCTION])
def test_a_deployment_of_their_own_with_their_own_entrypoint_runs_in_neither_pool(
    attacker: Attacker, pool: str
) -> None:
    path = attacker.flow_file
    flow = attacker.ask("POST", "/flows/", json={"name": "evil"})["id"]
    given = {"name": f"evil-{pool}", "flow_id": flow, "entrypoint": f"{path}:evil", "work_pool_name": pool}
    steps = [{"prefect.deployments.steps.run_shell_script": {"script": f"touch {attacker.mark}"}}]
    made = attacker.ask("POST", "/deployments/", json={**given, "path": str(path.parent), "pull_steps": steps})["id"]
    run = attacker.start(made)
    attacker.refused(run, "no deployment that `slipway up` made")
    attacker.ask("DELETE", f"/deployments/{made}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"entrypoint": "/tmp/evil.py:unblock"}, "the entrypoint of 'unblock/unblock' is '/tmp/evil.py:unblock' now"),
        (
            {"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "touch /tmp/evil"}}]},
            "'unblock/unblock' would get its code from elsewhere now",
        ),
        ({"job_variables": {"command": "touch /tmp/evil"}}, "has job variables now (command)"),
    ],
    ids=["entrypoint", "pull-steps", "job-variables"],
)
def test_a_deployment_of_ours_that_was_edited_is_refused(
    attacker: Attacker, change: dict[str, Any], words: str
) -> None:
    deployment = attacker.deployment("unblock")
    parameters = {"application": NAME, "release": "0" * 64, "reason": "x", "administrator": "ann", "code": "000000"}
    with attacker.changed(f"/deployments/{deployment['id']}", change, back={key: deployment[key] for key in change}):
        attacker.refused(attacker.start(deployment["id"], parameters=parameters), words)


def test_job_variables_of_a_run_are_refused(attacker: Attacker) -> None:
    own = {"command": f"touch {attacker.mark}", "working_dir": str(attacker.folder), "env": {"PYTHONPATH": "/tmp"}}
    run = attacker.start(attacker.deployment("reconcile")["id"], job_variables=own)
    attacker.refused(run, "job variables of its own (command, env, working_dir)")


def test_a_work_pools_edited_template_changes_nothing(attacker: Attacker) -> None:
    path = f"/work_pools/{PRODUCTION}"
    before = attacker.ask("GET", path)["base_job_template"]
    evil = {"command": f"touch {attacker.mark}", "working_dir": str(attacker.folder), "env": {"SLIPWAY_STATE": "/tmp"}}
    edited = {"base_job_template": {"job_configuration": evil, "variables": {"type": "object", "properties": {}}}}
    with attacker.changed(path, edited, back={"base_job_template": before}):
        state = attacker.end(attacker.start(attacker.deployment("reconcile")["id"]))
    assert state["type"] == "COMPLETED", state


def test_a_run_put_directly_into_productions_pool_is_refused(attacker: Attacker) -> None:
    flow = attacker.ask("POST", "/flows/", json={"name": "rollout-canary"})["id"]
    body = {"flow_id": flow, "state": {"type": "SCHEDULED"}, "work_pool_name": PRODUCTION}
    run = attacker.ask("POST", "/flow_runs/", json=body)["id"]
    attacker.refused(run, "no deployment that `slipway up` made")


def test_parameters_of_their_own_start_no_rollback_no_unblocking_and_no_delivery(
    attacker: Attacker, gate: tuple[str, str]
) -> None:
    person = {"administrator": "ann", "code": "000000", "reason": "because"}
    asked = {
        "rollback": {**person, "application": NAME, "environment": "production", "release": gate[0], "block": True},
        "unblock": {**person, "application": NAME, "release": gate[0]},
        "cd": {"application": NAME, "release": "f" * 64, "requester": "nobody"},
        "reconcile": {"run": gate[1]},
    }
    runs = {name: attacker.start(attacker.deployment(name)["id"], parameters=given) for name, given in asked.items()}
    ended = {name: attacker.end(run) for name, run in runs.items()}
    assert "rollback is refused" in ended["rollback"]["message"], ended["rollback"]
    assert "is not blocked" in ended["unblock"]["message"] or "refused" in ended["unblock"]["message"]
    assert "No release ffffffffffff" in ended["cd"]["message"], ended["cd"]
    assert ended["reconcile"]["type"] == "COMPLETED", "it settles what is unsettled, whoever starts it"
    assert attacker.ask("GET", f"/flow_runs/{gate[1]}")["state"]["type"] == "PAUSED", "a waiting gate is not touched"


def test_an_input_written_by_hand_and_a_state_set_by_hand_are_no_approval(
    attacker: Attacker, gate: tuple[str, str]
) -> None:
    release, run = gate
    _, key = attacker.journey.wait_gate(release)
    state = attacker.ask("GET", f"/flow_runs/{run}")["state"]
    keyset = state["state_details"]["run_input_keyset"]
    forged = {"decision": "approve", "approver": "ann", "code": "123456", "comment": ""}
    attacker.ask("POST", f"/flow_runs/{run}/input", json={"key": keyset["response"], "value": json.dumps(forged)})
    resuming = {"state": {"type": "SCHEDULED", "name": "Resuming"}, "force": True}
    attacker.ask("POST", f"/flow_runs/{run}/set_state", json=resuming)
    attacker.journey.wait_gate(release, after=key)
    # a state that is forced makes a new attempt of the run, which asks anew and never looks at the old answer
    assert not attacker.journey.entries("approval.granted", run=run)


def test_a_run_set_to_completed_by_hand_completes_nothing(attacker: Attacker, gate: tuple[str, str]) -> None:
    flow = attacker.deployment("rollback")["flow_id"]
    run = attacker.ask("POST", "/flow_runs/", json={"flow_id": flow, "state": {"type": "COMPLETED"}})["id"]
    assert attacker.ask("GET", f"/flow_runs/{run}")["state"]["type"] == "COMPLETED"
    assert attacker.journey.world.ledger.entries(run=run) == []


def test_a_block_edited_in_prefect_is_refused_until_it_is_accepted_here(
    attacker: Attacker, gate: tuple[str, str]
) -> None:
    name = "slipway-local-target/test-main"
    slug, _, document_name = name.partition("/")
    path = f"/block_types/slug/{slug}/block_documents/name/{document_name}"
    document = attacker.ask("GET", path)
    there = f"/block_documents/{document['id']}"
    edited = {"data": {**document["data"], "state": str(attacker.folder)}, "merge_existing_data": False}
    back = {"data": document["data"], "merge_existing_data": False}
    with attacker.changed(there, edited, back=back):
        state = attacker.end(attacker.journey.start_cd(gate[0]))
        shown = attacker.journey.stack.slipway("block", "list")
    assert state["type"] == "FAILED" and f"slipway block accept {name}" in state["message"], state
    assert "edited, not accepted" in shown.stdout
    assert attacker.journey.stack.slipway("block", "accept", name).stdout.strip().endswith("accepted as it is.")


def test_the_general_workers_database_role_writes_no_approval(attacker: Attacker, gate: tuple[str, str]) -> None:
    release, run = gate
    state = attacker.journey.stack.state
    known = set(json.loads((state / "workers" / "credentials.general.json").read_text()))
    assert known == {"prefect_auth", "postgres_general", "s3_access_key", "s3_secret_key"}
    with _as_role("general"):
        session = ledger_session(attacker.journey.stack.installation)
        facts = {"application": NAME, "environment": "production", "release": release, "run": run, "actor": "ann"}
        event = Event("approval.granted", **facts, key=f"approval.granted:{run}", data={"decision": "approve"})
        with pytest.raises(InvariantError, match=r"may not write approval\.granted"):
            PostgresLedger(session).append(event)
        with pytest.raises(InvariantError, match="permission denied"):
            session.rows("SELECT seed FROM desk.approver")
        session.close()


def test_the_general_worker_sees_no_credential_nor_process_of_production(
    attacker: Attacker, gate: tuple[str, str]
) -> None:
    """Looked at from outside, through the root folder and the process table that its processes have."""
    installation = attacker.journey.stack.installation
    state = installation.state
    if confined(["true"], state=state, sockets=installation.sockets) == ("true",):
        pytest.skip("bubblewrap does not work here")
    (worker,) = [
        process
        for process in psutil.process_iter()
        if process.name().startswith("python") and _environ(process).get("SLIPWAY_ROLE") == "general"
        if "slipway_worker.py" in " ".join(process.cmdline()) and _environ(process).get("SLIPWAY_STATE") == str(state)
        if not Path(process.exe()).name.startswith("bwrap")
    ]
    root = Path(f"/proc/{worker.pid}/root")
    seen = sorted(path.name for path in (root / state.relative_to("/")).iterdir())
    assert not {"credentials.json", "credentials.production.json", "credentials.d", "prefect", "traefik"} & set(seen)
    assert not {"postgres", "supervisor", "s3-identities.json", "break-glass"} & set(seen), seen
    assert "workers" in seen and list((root / installation.sockets.relative_to("/")).iterdir()) == []
    assert not os.access(root / "etc", os.W_OK) or os.statvfs(root / "etc").f_flag & os.ST_RDONLY
    assert len([path for path in (root / "proc").iterdir() if path.name.isdigit()]) < 10, "other processes are seen"


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


@contextmanager
def _as_role(role: str) -> Generator[None]:
    os.environ["SLIPWAY_ROLE"] = role
    try:
        yield
    finally:
        del os.environ["SLIPWAY_ROLE"]


def test_no_seed_and_no_credential_of_ours_can_be_had_through_prefects_api(
    attacker: Attacker, gate: tuple[str, str]
) -> None:
    """Everything that the API gives, secrets in clear text: blocks, variables, inputs, parameters, logs, events."""
    journey, pages = attacker.journey, {"limit": 200}
    bodies: dict[str, dict[str, Any]] = {
        "/block_documents/filter": {"include_secrets": True, **pages},
        "/variables/filter": pages,
        "/flow_runs/filter": pages,
        "/task_runs/filter": pages,
        "/artifacts/filter": pages,
        "/logs/filter": pages,
        "/deployments/filter": pages,
        "/work_pools/filter": pages,
        "/automations/filter": pages,
        "/events/filter": {"limit": 50},
    }
    answers = {path: json.dumps(attacker.ask("POST", path, json=body)) for path, body in bodies.items()}
    assert all(len(text) > 2 for path, text in answers.items() if path != "/variables/filter"), "each was really read"
    run = gate[1]
    keyset = attacker.ask("GET", f"/flow_runs/{run}")["state"]["state_details"]["run_input_keyset"]
    found = attacker.ask("POST", f"/flow_runs/{run}/input/filter", json={"prefix": "", "limit": 200})
    answers["inputs"] = json.dumps(found) + json.dumps(keyset)
    assert "decision" in answers["inputs"]
    credentials = json.loads((journey.stack.state / "credentials.json").read_text())
    secrets = {f"seed of {name}": seed for name, seed in journey._seeds.items()}
    secrets |= {name: value for name, value in credentials.items() if name != "prefect_auth"}
    for what, value in secrets.items():
        for path, text in answers.items():
            assert value not in text, f"{what} in {path}"


def test_the_servers_default_storage_for_results_is_not_asked(attacker: Attacker) -> None:
    """A default that points to their folder would have our runs read their pickles."""
    slug = attacker.ask("GET", "/block_types/slug/local-file-system")
    schema = attacker.ask(
        "POST", "/block_schemas/filter", json={"block_schemas": {"block_type_id": {"any_": [slug["id"]]}}}
    )[0]
    given = {
        "name": f"evil-{uuid4().hex[:6]}",
        "data": {"basepath": str(attacker.folder)},
        "block_type_id": slug["id"],
        "block_schema_id": schema["id"],
    }
    block = attacker.ask("POST", "/block_documents/", json=given)["id"]
    attacker.ask("PUT", "/admin/storage", json={"default_result_storage_block_id": block})
    try:
        state = attacker.end(attacker.start(attacker.deployment("reconcile")["id"]))
    finally:
        attacker.ask("DELETE", "/admin/storage")
    assert state["type"] == "COMPLETED", state
    assert list(attacker.folder.iterdir()) == [], "a result was written to their folder"


def test_a_result_swapped_for_a_pickle_of_theirs_is_never_read(attacker: Attacker, gate: tuple[str, str]) -> None:
    """Last, since the run does not survive it: the state of a subflow of the waiting `cd` names their file."""
    run = gate[1]
    tasks = attacker.ask("POST", "/task_runs/filter", json={"flow_runs": {"id": {"any_": [run]}}, "limit": 200})
    parents = [one["id"] for one in tasks if "rollout-direct" in one["name"]]
    subflows = attacker.ask(
        "POST", "/flow_runs/filter", json={"flow_runs": {"parent_task_run_id": {"any_": parents}}, "limit": 50}
    )
    assert subflows, "cd has subflows with states to set"
    reference = {
        "type": "reference",
        "serializer": {"type": "pickle"},
        "storage_key": str(attacker.pickle()),
        "storage_block_id": None,
        "expiration": None,
    }
    for one in subflows:
        swapped = {"state": {"type": "COMPLETED", "data": reference}, "force": True}
        attacker.ask("POST", f"/flow_runs/{one['id']}/set_state", json=swapped)
    assert attacker.journey.answer(run, decision="reject", code=attacker.journey.code("ann"))["status"] == "ACCEPT"
    state = attacker.end(run)
    assert not attacker.mark.exists()
    assert state["type"] in ("FAILED", "CRASHED", "COMPLETED"), state
    assert "ForeignResultError" in state["message"] or "result outside of" in state["message"], state


def test_without_the_auth_string_there_is_no_answer_at_all(journey: Journey) -> None:
    for path in ("/block_documents/filter", "/deployments/filter", "/flow_runs/filter"):
        assert httpx.post(f"{journey.stack.api_url}{path}", json={}, trust_env=False).status_code == 401
    assert read_secret("prefect_auth", state=journey.stack.state)
