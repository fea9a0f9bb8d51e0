"""The whole embedded stack for real: up, looked at, killed part by part, taken over, down with nothing left."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from running_stack import RunningStack

from blocks.installation import read_secret
from blocks.processes import stack_members

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

PARTS = [
    "postgres",
    "s3",
    "archiver",
    "prefect",
    "worker",
    "worker-production",
    "door",
    "traefik-production-alpha",
    "traefik-production-beta",
    "keeper",
]
PULL_STEP = "prefect.deployments.steps.set_working_directory"


def _until(condition: Callable[[], object], *, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.2)


def _status(stack: RunningStack) -> dict[str, dict[str, object]]:
    return {part["part"]: part for part in json.loads(stack.slipway("status", "--json").stdout)}


def _programs(stack: RunningStack) -> Counter[str]:
    """How many processes there are of each part that are nobody's child within the stack."""
    members = [one for one in stack_members(stack.state) if one.part and not one.is_flow_run and not one.is_guardian]
    pids = {one.pid for one in members}
    return Counter(one.part for one in members if one.process.ppid() not in pids)


def _wanted(stack: RunningStack) -> Counter[str]:
    """How many there should be: what supervisor keeps, itself not counted."""
    return Counter(process.group for process in stack.supervisor.processes())


def test_everything_runs_and_status_says_since_when_and_where_its_log_is(stack: RunningStack) -> None:
    done = stack.slipway("status", "--json")
    parts = {part["part"]: part for part in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert set(PARTS) | {"supervisor", "traefik-test-main"} <= set(parts)
    for part in parts.values():
        assert part["state"] == "RUNNING" and part["pid"] and part["since"] and Path(str(part["log"])).exists(), part
    table = stack.slipway("status").stdout
    assert "traefik-production-beta" in table and "logs/prefect.log" in table


def test_second_up_is_quick_and_restarts_nothing(stack: RunningStack) -> None:
    before = _pids(stack)
    began = time.monotonic()
    done = stack.slipway("up")
    assert done.returncode == 0, done.stdout + done.stderr
    crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert time.monotonic() - began < 30 * crowd
    assert _pids(stack) == before


def _pids(stack: RunningStack) -> dict[str, object]:
    """Those of the stack's own parts: instances may come and go, where a test before has pushed something."""
    places = ("development-", "test-", "staging-", "production-")
    return {name: part["pid"] for name, part in _status(stack).items() if not name.startswith(places)}


def test_everything_listens_on_loopback_only(stack: RunningStack) -> None:
    pids = {member.pid for member in stack_members(stack.state)}
    listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.pid in pids]
    assert len(listening) > 10
    assert {one.laddr.ip for one in listening} <= {"127.0.0.1", "::1"}, listening


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users to run them as")
def test_servers_run_as_unprivileged_users_when_root(stack: RunningStack) -> None:
    users = {part: psutil.Process(int(str(_status(stack)[part]["pid"]))).username() for part in ("postgres", "s3")}
    assert users == {"postgres": "slipway-db", "s3": "slipway-net"}


def test_prefect_wants_its_password_and_keeps_its_data_in_postgresql(stack: RunningStack) -> None:
    body: dict[str, object] = {}
    assert httpx.post(f"{stack.api_url}/flows/filter", json=body, trust_env=False).status_code == 401
    assert stack.prefect("POST", "/flows/filter", json=body)
    password, port = read_secret("postgres_prefect", state=stack.state), stack.installation.ports["postgres"]
    with psycopg.connect(f"postgresql://prefect:{password}@127.0.0.1:{port}/prefect") as connection:
        assert connection.execute("SELECT count(*) > 0 FROM deployment").fetchone() == (True,)
    assert not list((stack.state / "prefect").glob("*.db"))


def test_secrets_are_the_owners_alone_and_in_no_command_line_or_log(stack: RunningStack) -> None:
    secrets = json.loads((stack.state / "credentials.json").read_text())
    assert (stack.state / "credentials.json").stat().st_mode & 0o777 == 0o600
    lines = [" ".join(member.process.cmdline()) for member in stack_members(stack.state)]
    logs = [path.read_text(errors="replace") for path in (stack.state / "logs").rglob("*") if path.is_file()]
    for name, value in secrets.items():
        assert not any(value in text for text in (*lines, *logs)), name
    holders = [path for path in stack.state.rglob("*") if path.is_file() and path.suffix in (".json", ".yaml", ".conf")]
    for path in holders:
        if any(value in path.read_text(errors="replace") for value in secrets.values()):
            assert path.stat().st_mode & 0o077 == 0, path


def test_every_deployment_is_there_from_an_immutable_copy_and_schedules_runs(stack: RunningStack) -> None:
    deployments = {one["name"]: one for one in stack.prefect("POST", "/deployments/filter", json={})}
    assert {"cd", "rollback", "unblock", "reconcile"} <= set(deployments)
    for one in deployments.values():
        (step,) = one["pull_steps"]
        place = Path(step[PULL_STEP]["directory"])
        assert (place / "flows" / f"{one['name']}.py").is_file() and one["enforce_parameter_schema"]
    scheduled = stack.prefect(
        "POST",
        "/flow_runs/filter",
        json={
            "deployments": {"name": {"any_": ["reconcile"]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        },
    )
    assert len(scheduled) >= 2


def test_automations_are_there_and_a_waiting_approval_is_no_zombie(stack: RunningStack) -> None:
    automations = {one["name"]: one for one in stack.prefect("POST", "/automations/filter", json={})}
    zombie = automations["slipway: a silent run is crashed"]["trigger"]
    assert {"prefect.flow-run.Suspended", "prefect.flow-run.Paused"} <= set(zombie["expect"])
    assert "slipway: reconcile after a bad end" in automations


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_is_restarted(stack: RunningStack, part: str) -> None:
    (before,) = [one.pid for one in stack.supervisor.processes(part)]
    assert before is not None
    os.kill(before, signal.SIGKILL)
    _until(lambda: [one.pid for one in stack.supervisor.processes(part) if one.is_running] not in ([], [before]))
    _until(lambda: stack.slipway("status").returncode == 0)
    assert _programs(stack)[part] == 1


def test_a_killed_supervisor_is_replaced_and_no_program_notices(stack: RunningStack) -> None:
    before, pids = stack.supervisor.pid(), _pids(stack)
    os.kill(before, signal.SIGKILL)
    _until(lambda: not stack.supervisor.is_up())
    down = stack.slipway("status", "--json")
    assert down.returncode == 1 and "ORPHANED" in down.stdout
    _until(lambda: stack.supervisor.is_up() and stack.slipway("status").returncode == 0, limit_s=120)
    assert stack.supervisor.pid() != before
    _until(lambda: _programs(stack) == _wanted(stack), limit_s=30)
    assert _pids(stack) == pids


def test_supervisor_and_keeper_killed_together_are_taken_over_by_up(stack: RunningStack) -> None:
    pids = _pids(stack)
    (keeper,) = [one.pid for one in stack.supervisor.processes("keeper")]
    supervisor = stack.supervisor.pid()
    os.kill(supervisor, signal.SIGSTOP)  # or it would restart the keeper in between
    os.kill(int(str(keeper)), signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    _until(lambda: not stack.supervisor.is_up())
    with subprocess.Popen(["/bin/sleep", "300"]) as bystander:
        done = stack.slipway("up")
        survived = bystander.poll() is None
        bystander.kill()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "what a dead supervisor left was adopted" in done.stdout and survived
    assert _programs(stack) == _wanted(stack) and stack.slipway("status").returncode == 0
    assert _pids(stack) == pids


def test_an_adopted_part_that_is_killed_is_started_again(stack: RunningStack) -> None:
    (before,) = [one.pid for one in stack.supervisor.processes("traefik-test-main")]
    assert before is not None
    os.kill(before, signal.SIGKILL)
    _until(lambda: [one.pid for one in stack.supervisor.processes("traefik-test-main")] not in ([], [None], [before]))
    _until(lambda: stack.slipway("status").returncode == 0)
    assert _programs(stack)["traefik-test-main"] == 1


def _pids(stack: RunningStack) -> dict[str, int | None]:
    """Who runs, but for the keeper, whose turn is over when it has brought supervisor back, and for what is in
    bubblewrap, which ends with its parent: released services and the general worker."""
    others = ("development-", "test-", "staging-", "production-", "keeper", "worker")
    parts = [one for one in stack.supervisor.processes() if not one.group.startswith(others)]
    parts += stack.supervisor.processes("worker-production")
    return {f"{one.group}:{one.name}": one.pid for one in parts}


def test_a_run_that_resumes_finds_the_code_it_began_with(stack: RunningStack) -> None:
    """`up` after a change leaves a copy that an unfinished run began with, and takes away one that nobody needs."""
    codes = stack.state / "code"
    runs = stack.prefect(
        "POST",
        "/flow_runs/filter",
        json={"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "sort": "EXPECTED_START_TIME_DESC"},
    )
    for name in ("0000000000000001", "0000000000000002"):
        (codes / name).mkdir()
    (codes / "runs" / runs[0]["id"]).write_text("0000000000000001")
    (codes / "runs" / "00000000-0000-0000-0000-000000000000").write_text("0000000000000002")
    assert stack.slipway("up").returncode == 0
    assert (codes / "0000000000000001").exists() and not (codes / "0000000000000002").exists()
    assert not (codes / "runs" / "00000000-0000-0000-0000-000000000000").exists()
    (codes / "runs" / runs[0]["id"]).unlink()


def test_a_flow_run_of_the_schedule_completes(stack: RunningStack) -> None:
    deployment = stack.prefect("GET", "/deployments/name/reconcile/reconcile")["id"]
    run = stack.prefect("POST", f"/deployments/{deployment}/create_flow_run", json={"state": {"type": "SCHEDULED"}})
    ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    _until(lambda: stack.prefect("GET", f"/flow_runs/{run['id']}")["state"]["type"] in ended, limit_s=90)
    assert stack.prefect("GET", f"/flow_runs/{run['id']}")["state"]["type"] == "COMPLETED"
    assert (stack.state / "code" / (stack.state / "code" / "runs" / run["id"]).read_text()).is_dir()


def test_a_run_that_fails_starts_reconcile_with_its_id(stack: RunningStack) -> None:
    deployment = stack.prefect("GET", "/deployments/name/cd/cd")["id"]
    later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}}
    parameters = {"application": "none", "release": "0" * 64}
    run = stack.prefect(
        "POST", f"/deployments/{deployment}/create_flow_run", json={"state": later, "parameters": parameters}
    )
    stack.prefect("POST", f"/flow_runs/{run['id']}/set_state", json={"state": {"type": "FAILED"}, "force": True})
    wanted = {"deployments": {"name": {"any_": ["reconcile"]}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 200}
    _until(
        lambda: (
            run["id"]
            in [one["parameters"].get("run") for one in stack.prefect("POST", "/flow_runs/filter", json=wanted)]
        )
    )


def test_prefects_own_command_deploys_the_same(stack: RunningStack) -> None:
    """What `up` deploys in its own process is what `prefect deploy --all` makes of the same file."""
    ours = _deployments(stack)
    code = Path(ours["cd"]["pull_steps"][0][PULL_STEP]["directory"])
    environ = {
        **stack.environ,
        "PREFECT_API_URL": stack.api_url,
        "PREFECT_API_AUTH_STRING": stack.auth,
        "PREFECT_HOME": str(stack.state / "prefect"),
    }
    command = [
        sys.executable,
        "-m",
        "prefect",
        "--no-prompt",
        "deploy",
        "--all",
        "--prefect-file=prefect.rendered.yaml",
    ]
    done = subprocess.run(command, cwd=code, env=environ, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = _deployments(stack)
    for name, deployment in ours.items():
        different = {key: (value, theirs[name][key]) for key, value in deployment.items() if value != theirs[name][key]}
        assert not different, name


def _deployments(stack: RunningStack) -> dict[str, dict[str, Any]]:
    own = ("id", "updated", "version", "version_id", "version_info", "branch", "base", "root", "status", "last_polled")
    found = stack.prefect("POST", "/deployments/filter", json={})
    for one in found:
        for key in own[1:]:
            one.pop(key, None)
        one["parameter_openapi_schema"].setdefault("definitions", {})
        if one.get("global_concurrency_limit"):
            one["global_concurrency_limit"] = one["global_concurrency_limit"]["limit"]
        one["schedules"].sort(key=lambda schedule: str(schedule.get("slug")))
        for schedule in one["schedules"]:
            for key in ("id", "created", "updated"):
                schedule.pop(key)
    return {one["name"]: one for one in found}


def test_credentials_are_kept_and_printed_on_a_terminal_only(stack: RunningStack) -> None:
    before = (stack.state / "credentials.json").read_text()
    assert stack.slipway("up").returncode == 0
    assert (stack.state / "credentials.json").read_text() == before
    refused = stack.slipway("credentials", "prefect_auth")
    assert refused.returncode == 1 and stack.auth not in refused.stdout + refused.stderr
    assert stack.slipway("credentials", "prefect_auth", "--force").stdout.strip() == stack.auth


def test_down_leaves_no_process_and_up_brings_everything_back_after_a_reboot(stack: RunningStack) -> None:
    before = _status(stack)
    done = stack.slipway("down")
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack_members(stack.state) == []
    cmdlines = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
    assert not [line for line in cmdlines if re.search(rf"{stack.state}/", line)]
    assert stack.slipway("status").returncode == 1
    assert not stack.installation.sockets.exists()
    # After a reboot PostgreSQL's number may belong to somebody else.
    (stack.state / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{stack.state}/postgres\n1000000000\n")
    began = time.monotonic()
    done = stack.slipway("up")
    assert done.returncode == 0, done.stdout + done.stderr
    crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # the promise is for a machine of our own
    assert time.monotonic() - began < 60 * crowd
    assert set(_status(stack)) == set(before) and stack.slipway("status").returncode == 0
    assert len(stack.prefect("POST", "/deployments/filter", json={})) >= 4
