"""`slipway up` on a machine that is not ready: one clear sentence each, exit code 1, and nothing started or written."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from running_stack import ROOT, stack_environ

from blocks.processes import stack_members


@pytest.fixture
def folder() -> Generator[Path]:
    place = Path(tempfile.mkdtemp(prefix="slipway-refused-", dir="/tmp"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def _up(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deployments.cli", *(words or ("up",))]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)


def _assert_refused(done: subprocess.CompletedProcess[str], state: Path, *says: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for words in says:
        assert words in done.stderr, done.stderr
    assert not state.exists() and stack_members(state) == []


def test_a_taken_port(folder: Path) -> None:
    environ = stack_environ(folder / "state")
    port = int(environ["SLIPWAY_PORT_BASE"]) + 2
    with socket.create_server(("127.0.0.1", port)):
        done = _up(environ)
    _assert_refused(done, folder / "state", f"Port {port}", "(postgres)", f"pid {os.getpid()}", "SLIPWAY_PORT_BASE")


def test_a_full_disk(folder: Path) -> None:
    done = _up(stack_environ(folder / "state", SLIPWAY_DISK_FREE_MIN="900T"))
    _assert_refused(done, folder / "state", "900000.00 GB are needed", "SLIPWAY_DISK_FREE_MIN")


def test_a_path_too_long_for_a_socket(folder: Path) -> None:
    done = _up(stack_environ(folder / "state", SLIPWAY_SOCKETS=str(folder / ("x" * 100))))
    _assert_refused(done, folder / "state", "107", "SLIPWAY_SOCKETS")


def test_every_problem_is_told_at_once(folder: Path) -> None:
    environ = stack_environ(folder / "state", SLIPWAY_DISK_FREE_MIN="900T", SLIPWAY_SOCKETS=str(folder / ("x" * 100)))
    done = _up(environ)
    assert done.stderr.count("\n  - ") == 2


def test_a_wrong_setting(folder: Path) -> None:
    done = _up(stack_environ(folder / "state", SLIPWAY_PORT_BASE="http"))
    _assert_refused(done, folder / "state", "SLIPWAY_PORT_BASE='http'")


def test_status_and_down_without_an_installation_say_what_to_do(folder: Path) -> None:
    for word in ("status", "down"):
        _assert_refused(_up(stack_environ(folder / "state"), word), folder / "state", "Run `slipway up`")
