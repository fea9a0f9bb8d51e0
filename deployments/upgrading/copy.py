"""The copy that an upgrade takes before it changes anything, and the way back to it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from blocks.installation import Installation, write_private
from blocks.postgres_copy import dump_database, restore_database
from blocks.postgres_server import PostgresServer
from blocks.processes import stack_members
from domain.errors import ConfigError, TransientError

FOLDER = "upgrades"
KEPT = 3
DATABASES: dict[str, str | None] = {"slipway_ledger": None, "prefect": "prefect"}
"""What is copied, and who owns it."""

_UP_LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the databases and of the code that wrote them. `head` is the ledger's newest entry in it."""

    at: str
    code: str
    prefect: str
    head: int
    size_bytes: int

    def folder(self, state: Path) -> Path:
        return state / FOLDER / self.at


def server_of(installation: Installation) -> PostgresServer:
    """The installation's PostgreSQL, as far as its clients need to know it."""
    return PostgresServer(
        bin=installation.postgres_bin,
        data=installation.state / "postgres",
        port=installation.ports["postgres"],
        user=installation.users.database,
    )


def take_copy(installation: Installation, password: str, *, code: str, prefect: str, head: int) -> Copy:
    """Copy both databases, and the code that goes with them; whole or not at all."""
    state = installation.state
    at = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    draft = state / FOLDER / f".{at}"
    for path in (state / FOLDER, draft):
        path.mkdir(mode=0o700, exist_ok=True)
    size = sum(dump_database(server_of(installation), password, name, draft / f"{name}.dump") for name in DATABASES)
    if (state / "code" / code).is_dir() and code:
        shutil.copytree(state / "code" / code, draft / "code")
    copy = Copy(at, code, prefect, head, size)
    write_private(draft / "copy.json", json.dumps(asdict(copy)))
    draft.rename(copy.folder(state))
    return copy


def list_copies(state: Path) -> list[Copy]:
    """Every whole copy, oldest first."""
    return [Copy(**json.loads(path.read_text())) for path in sorted((state / FOLDER).glob("2*/copy.json"))]


def prune_copies(state: Path) -> None:
    """Keep the newest copies, and nothing half-made."""
    for copy in list_copies(state)[:-KEPT]:
        shutil.rmtree(copy.folder(state))
    for draft in (state / FOLDER).glob(".2*"):
        shutil.rmtree(draft, ignore_errors=True)


def put_back(installation: Installation, password: str, copy: Copy) -> None:
    """Put both databases back, each swapped at once. May be repeated."""
    for name, owner in DATABASES.items():
        file = copy.folder(installation.state) / f"{name}.dump"
        restore_database(server_of(installation), password, name, file, owner=owner)


def start_code(state: Path, copy: Copy) -> None:
    """Bring the stack up with the code of a copy, which has its own `slipway up`.

    Raises: ConfigError where the copy has none; TransientError with what it said.
    """
    code = copy.folder(state) / "code"
    if not code.is_dir():
        raise ConfigError(f"The copy has no code. Check out what ran then ({copy.code or 'unknown'}) and `slipway up`.")
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "up"],
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(code), "SLIPWAY_STATE": str(state)},
        capture_output=True,
        text=True,
        check=False,
        timeout=_UP_LIMIT_S,
    )
    if done.returncode != 0:
        members = len(stack_members(state))
        raise TransientError(f"`slipway up` of the old code failed ({members} processes): {done.stderr.strip()[-500:]}")
