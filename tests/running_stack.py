"""A whole embedded stack of a test's own, and what a test asks of it."""

import os
import random
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.installation import Installation, read_installation, read_secret
from blocks.supervisor import Supervisor
from deployments.stack.code import PREFECT_FILE, ROOMS

ROOT = Path(__file__).resolve().parent.parent


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
    shutil.copytree(ROOT / "examples", home / "examples", ignore=shutil.ignore_patterns("__pycache__", ".venv"))
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
