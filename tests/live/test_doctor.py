"""`slipway doctor` on a stack that is really broken: it names the first broken thing, and its command mends it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from running_stack import RunningStack

from blocks.installation import read_secret

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

ZOMBIES = "slipway: a silent run is crashed"


def _doctor(stack: RunningStack, **environ: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and what it found that is not well."""
    command = [sys.executable, "-m", "deployments.cli", "doctor", "--json"]
    done = subprocess.run(
        command,
        cwd=stack.home,
        env={**stack.environ, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.startswith("["), done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def _broken(stack: RunningStack, **environ: str) -> dict[str, Any]:
    code, found = _doctor(stack, **environ)
    broken = [one for one in found if one["state"] == "broken"]
    assert code == 1 and len(broken) == 1, found
    return broken[0]


def _run(stack: RunningStack, command: str, folder: Path) -> None:
    """Run what the doctor printed, as an operator's shell would."""
    shim = folder / "slipway"
    shim.write_text(f'#!/bin/sh\ncd {stack.home} && exec {sys.executable} -m deployments.cli "$@"\n')
    shim.chmod(0o755)
    environ = {**stack.environ, "PATH": f"{folder}:{stack.environ['PATH']}"}
    subprocess.run(["sh", "-c", command], env=environ, capture_output=True, timeout=240, check=False)


def _is_well(stack: RunningStack) -> bool:
    return _doctor(stack)[0] == 0


def _automation(stack: RunningStack) -> str:
    found = stack.prefect("POST", "/automations/filter", json={})
    return next(one["id"] for one in found if one["name"] == ZOMBIES)


def _pause_schedule(stack: RunningStack) -> None:
    deployment = stack.prefect("GET", "/deployments/name/reconcile/reconcile")
    for schedule in deployment["schedules"]:
        path = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
        stack.prefect("PATCH", path, json={"active": False})


def _hang(stack: RunningStack) -> None:
    (door,) = [one.pid for one in stack.supervisor.processes("door")]
    os.kill(int(str(door)), signal.SIGSTOP)


def _forget_password(stack: RunningStack) -> None:
    password, port = read_secret("postgres_superuser", state=stack.state), stack.installation.ports["postgres"]
    with psycopg.connect(f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres", autocommit=True) as connection:
        connection.execute("ALTER ROLE slipway PASSWORD 'somebody-elses'")


def test_nothing_is_broken_on_a_stack_that_is_up(stack: RunningStack) -> None:
    done = stack.slipway("doctor")
    assert done.returncode == 0 and "Nothing is broken" in done.stdout, done.stdout + done.stderr
    everything = stack.slipway("doctor", "--all")
    assert everything.returncode == 0 and "parts run and answer" in everything.stdout, everything.stdout


@pytest.mark.parametrize(
    ("check", "says", "break_it"),
    [
        ("modes", "credentials.json", lambda stack: (stack.state / "credentials.json").chmod(0o644)),
        ("parts", "door runs", _hang),
        ("pools", "is paused", lambda stack: stack.prefect("PATCH", "/work_pools/slipway", json={"is_paused": True})),
        ("schedules", "reconcile", _pause_schedule),
        (
            "automations",
            ZOMBIES,
            lambda stack: stack.prefect("PATCH", f"/automations/{_automation(stack)}", json={"enabled": False}),
        ),
    ],
)
def test_the_command_it_names_mends_what_is_broken(
    stack: RunningStack, tmp_path: Path, check: str, says: str, break_it: Callable[[RunningStack], object]
) -> None:
    break_it(stack)
    found = _broken(stack)
    assert found["check"] == check and says in found["found"], found
    _run(stack, found["command"], tmp_path)
    deadline = time.monotonic() + 60  # a part that was ended takes a moment to start
    while not _is_well(stack):
        assert time.monotonic() < deadline, _doctor(stack)


def test_too_little_disk_is_told_with_the_figure(stack: RunningStack) -> None:
    found = _broken(stack, SLIPWAY_DISK_FREE_MIN="900T")
    assert found["check"] == "disk" and "900000.00 GB" in found["found"] and "du -xsh" in found["command"]


def test_many_broken_things_are_named_from_the_ground_up_and_mended_one_after_another(
    stack: RunningStack, tmp_path: Path
) -> None:
    stack.prefect("DELETE", f"/deployments/{stack.prefect('GET', '/deployments/name/unblock/unblock')['id']}")
    (stack.state / "credentials.json").chmod(0o640)
    stack.supervisor.stop("traefik-test-main")
    named: list[str] = []
    while len(named) < 6 and not _is_well(stack):
        found = _broken(stack)
        named.append(found["check"])
        if found["check"] == "parts":
            _forget_password(stack)
            assert found["found"] == "traefik-test-main is STOPPED." and found["command"] == "slipway up"
            stack.supervisor.start("traefik-test-main")
            continue
        _run(stack, found["command"], tmp_path)
    assert named == ["modes", "parts", "postgresql"], "the last `slipway up` brings the deployment back as well"
    assert stack.prefect("GET", "/deployments/name/unblock/unblock")["id"]
