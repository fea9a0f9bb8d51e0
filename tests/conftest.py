"""What every layer of tests may ask for: a folder that children of other users enter, a real PostgreSQL, a stack."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from blocks.identity import ensure_users, find_python
from blocks.installation import Installation, Users, read_installation, read_secret
from blocks.postgres_server import runnable_binaries, throwaway_server
from blocks.supervisor import Supervisor
from deployments.stack.code import PREFECT_FILE, ROOMS

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def users() -> Users:
    """The unprivileged users when root (made if missing), all None otherwise."""
    return ensure_users()


@pytest.fixture(scope="session")
def open_tmp_root() -> Generator[Path]:
    """A short folder for the session that unprivileged users can enter; pytest's own is closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def open_tmp(open_tmp_root: Path) -> Path:
    """A fresh folder that unprivileged users can enter, short enough for UNIX sockets."""
    folder = Path(tempfile.mkdtemp(dir=open_tmp_root))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def postgres_bin(users: Users, open_tmp_root: Path) -> Path:
    """The folder with PostgreSQL's binaries, runnable by `users.database`."""
    return runnable_binaries(users.database, copy_to=open_tmp_root / "binaries")


@pytest.fixture(scope="session")
def postgres(users: Users, postgres_bin: Path, open_tmp_root: Path) -> Generator[str]:
    """The superuser URL of a real, throw-away PostgreSQL. One for the session: make a database of your own in it."""
    folder = open_tmp_root / "postgres"
    folder.mkdir()
    with throwaway_server(folder, bin=postgres_bin, user=users.database) as url:
        yield url


@pytest.fixture
def supervisor(users: Users, open_tmp: Path, open_tmp_root: Path) -> Generator[Supervisor]:
    """A real supervisor of its own; everything under it ends with the test."""
    python = find_python(users.service, copy_to=open_tmp_root / "python")
    supervisor = Supervisor(socket=open_tmp / "s.sock", folder=open_tmp / "supervisor", python=python)
    supervisor.boot()
    pid = supervisor.pid()
    yield supervisor
    supervisor.shutdown()
    psutil.Process(pid).wait(timeout=60) if psutil.pid_exists(pid) else None


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A whole embedded stack of its own: for tests that need the real thing end to end."""

    home: Path
    state: Path
    environ: dict[str, str]

    @property
    def installation(self) -> Installation:
        read_installation.cache_clear()
        return read_installation(self.state)

    @property
    def api_url(self) -> str:
        return self.installation.prefect_api_url

    @property
    def auth(self) -> str:
        return read_secret("prefect_auth", state=self.state)

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor.of(self.installation)

    def slipway(self, *words: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run the command line as an operator would; the exit code is the caller's to judge."""
        command = [sys.executable, "-m", "deployments.cli", *words]
        return subprocess.run(
            command, cwd=self.home, env=self.environ, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def prefect(self, method: str, path: str, **arguments: object) -> Any:
        """Ask Prefect's API; returns the decoded answer."""
        user, _, password = self.auth.partition(":")
        answer = httpx.request(
            method, f"{self.api_url}{path}", auth=(user, password), timeout=30, trust_env=False, **arguments
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None


def copy_home(folder: Path) -> Path:
    """A copy of the rooms to run from, so that an edit during the tests changes nothing under them."""
    home = folder / "home"
    for room in ROOMS:
        shutil.copytree(ROOT / room, home / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / PREFECT_FILE, home / PREFECT_FILE)
    return home


def stack_environ(state: Path, **extra: str) -> dict[str, str]:
    """The environment of an operator's shell for a stack in `state`, on ports that are free now."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "PREFECT_"))}
    return {**kept, "SLIPWAY_STATE": str(state), "SLIPWAY_PORT_BASE": str(free_port_base()), **extra}


def free_port_base() -> int:
    """A base whose fixed ports are free; below the range from which the system takes ports of its own."""
    for base in random.Random(os.getpid()).sample(range(10_000, 31_000, 500), 42):
        if all(_is_free(base + offset) for offset in range(60)):
            return base
    pytest.fail("no free range of ports on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def stack() -> Generator[RunningStack]:
    """One embedded stack for the session, up; everything of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-live-", dir="/tmp"))
    folder.chmod(0o755)
    running = RunningStack(home=copy_home(folder), state=folder / "state", environ=stack_environ(folder / "state"))
    done = running.slipway("up")
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield running
    finally:
        running.slipway("down")
        shutil.rmtree(folder, ignore_errors=True)
