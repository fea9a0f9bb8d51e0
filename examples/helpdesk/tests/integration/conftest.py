"""A database of its own for these tests, and a desk that runs on it as a process."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from desk_client import DeskClient
from helpdesk.migrate import apply_migrations, read_migrations

ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class RunningDesk:
    """A desk as a process: where it listens, and its end."""

    url: str
    process: subprocess.Popen[str]

    @property
    def client(self) -> DeskClient:
        return DeskClient(self.url)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, limit_s: float = 20) -> tuple[int, str]:
        """Wait for its end; returns the exit code and everything that it wrote."""
        output, _ = self.process.communicate(timeout=limit_s)
        return self.process.returncode, output


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def run_desk(database_url: str, **environment: str) -> Iterator[RunningDesk]:
    """Start a desk and wait until it lives (which is not yet: until it is ready)."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "helpdesk", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url, "HELPDESK_DRAIN_S": "0.3", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    desk = RunningDesk(f"http://127.0.0.1:{port}", process)
    try:
        wait_live(desk)
        yield desk
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_live(desk: RunningDesk, limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            assert desk.client.get("/healthz").status == 200
            return
        except OSError:
            if desk.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the desk did not start: {desk.wait(1)[1][-2000:]}") from None
            time.sleep(0.05)


@pytest.fixture(scope="session")
def server_url() -> str:
    url = os.environ.get("DATABASE_URL", "")
    if not url:
        pytest.fail("DATABASE_URL is not set. Set it to a PostgreSQL whose user may create databases.")
    return url


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    name = f"helpdesk_test_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    with fresh_database(server_url) as url:
        with psycopg.connect(url) as connection:
            migrated = connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone()
        if migrated == (True,):
            pytest.skip("new databases are migrated already: this run tries this release on the schema of a later one")
        yield url


@pytest.fixture(scope="session")
def database(server_url: str) -> Iterator[str]:
    """A migrated database, shared by tests that only add to it."""
    with fresh_database(server_url) as url:
        list(apply_migrations(url, read_migrations()))
        yield url


@pytest.fixture(scope="session")
def running_desk(database: str) -> Iterator[RunningDesk]:
    environment = {
        "SLIPWAY_RELEASE": "ab" * 32,
        "SLIPWAY_COMMIT": "cd" * 20,
        "SLIPWAY_SETTINGS": "7",
        "HELPDESK_TITLE": "Acme support",
        "HELPDESK_SIGNING_KEY": "a key of the tests",
    }
    with run_desk(database, **environment) as desk:
        yield desk


@pytest.fixture(scope="session")
def desk(running_desk: RunningDesk) -> DeskClient:
    return running_desk.client
