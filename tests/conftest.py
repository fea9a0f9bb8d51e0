"""What every layer of tests may ask for: a folder that children of other users enter, a real PostgreSQL, a stack."""

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings
from running_stack import RunningStack, copy_home, stack_environ

from blocks.identity import ensure_users, find_python
from blocks.installation import Users
from blocks.postgres_server import runnable_binaries, throwaway_server
from blocks.supervisor import Supervisor

# How long an example takes says how busy the machine is, and nothing about what is tested.
settings.register_profile("slipway", deadline=None)
settings.load_profile("slipway")


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
