"""This installation: where its state lives, which ports and users it has, where its credentials are.

Written by `slipway up` (`deployments/stack/`), read by every adapter and process. Two files in the state folder:
`installation.json` (facts, readable) and `credentials.json` (secrets, owner only). Blocks hold the *names* of secrets.
"""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, cast

from domain.catalogue import Language
from domain.errors import ConfigError

STATE_VARIABLE = "SLIPWAY_STATE"
MORE_FILE = "installation-more.json"
"""The facts that the first version did not know."""

_FIRST_KEYS = ("state", "sockets", "ports", "users", "python", "postgres_bin", "language", "build_variables")
ROLE_VARIABLE = "SLIPWAY_ROLE"
WORKERS_FOLDER = "workers"
"""The folder of the state with what both workers read: all of `GENERAL` that is no code."""
GENERAL, PRODUCTION = "general", "production"
"""What a worker's processes are: those that build, and those that may touch production. An operator's are neither."""
DRILL = "drill"
"""Names a file of secrets beside the workers' own: what only drills and restores read (`blocks/backup_keys.py`)."""


@dataclass(frozen=True, slots=True)
class Users:
    """The unprivileged users of an installation that runs as root; all None when it does not."""

    database: str | None = None
    build: str | None = None
    service: str | None = None
    network: str | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """The facts of one installation.

    Attributes:
        state: the folder that holds everything which must survive.
        sockets: a short private folder for UNIX sockets (PostgreSQL, supervisor).
        ports: TCP ports on 127.0.0.1 by name: `prefect`, `door`, `postgres`, `s3`, and for each site
            `entry-<environment>-<site>` and `metrics-<environment>-<site>`; `instances` is the first of a range of 400.
        users: whom children run as, when root.
        python: an interpreter that those users can run; builds and releases use it.
        postgres_bin: the folder with `postgres`, `psql`, `initdb`; those users can run it.
        language: of everything that people read.
        disk_free_bytes_min: how much of the state's disk has to stay free.
        backup_copy: where second copies of backups go: a folder on another disk or machine, or `s3://bucket/prefix`
            of another S3 server at `backup_copy_endpoint`, in `backup_copy_region`; empty: nowhere.
        backup_keep: the rules of retention, as `domain.backup_retention.read_retention` reads them.
        backup_engine: `barman-cloud` or `pgbackrest`.
        build_variables: names (a trailing `*` matches the rest) of environment variables that builds and checks keep.
    """

    state: Path
    sockets: Path
    ports: dict[str, int]
    users: Users
    python: Path
    postgres_bin: Path
    language: Language = "en"
    build_variables: tuple[str, ...] = field(default=())
    disk_free_bytes_min: int = 2_000_000_000
    backup_copy: str = ""
    backup_copy_endpoint: str = ""
    backup_copy_region: str = "us-east-1"
    backup_keep: str = ""
    backup_engine: str = "barman-cloud"

    @property
    def prefect_api_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['prefect']}/api"

    @property
    def prefect_ui_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['prefect']}"

    def folder(self, name: str) -> Path:
        """A folder of the state by name (`logs`, `mirrors`, `releases`, `work`, ...); made where it is missing."""
        path = self.state / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def save(self) -> None:
        """Write `installation.json` whole or not at all."""
        value = asdict(self)
        for key in ("state", "sockets", "python", "postgres_bin"):
            value[key] = str(value[key])
        # Runs that wait since an earlier version read this file with its code, which knows no other key.
        more = {key: value.pop(key) for key in list(value) if key not in _FIRST_KEYS}
        write_private(self.state / MORE_FILE, json.dumps(more, indent=2), mode=0o644)
        write_private(self.state / "installation.json", json.dumps(value, indent=2), mode=0o644)


def state_folder() -> Path:
    """Where the state is: `SLIPWAY_STATE`, else the place that suits the user."""
    if given := os.environ.get(STATE_VARIABLE):
        return Path(given).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/slipway")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "slipway"


@cache
def read_installation(state: Path | None = None) -> Installation:
    """Read the installation in `state`, by default the one that `state_folder` names.

    Raises:
        ConfigError: where there is none yet.
    """
    folder = state or state_folder()
    try:
        value = json.loads((folder / "installation.json").read_text())
        more = folder / MORE_FILE
        value |= json.loads(more.read_text()) if more.exists() else {}
    except FileNotFoundError as exc:
        raise ConfigError(f"No Slipway installation in {folder}. Run `slipway up`, or set {STATE_VARIABLE}.") from exc
    for key in ("state", "sockets", "python", "postgres_bin"):
        value[key] = Path(value[key])
    value["users"] = Users(**value["users"])
    value["build_variables"] = tuple(value["build_variables"])
    # runs that wait since an earlier version read what a later one wrote
    known = {one.name for one in fields(Installation)}
    return Installation(**{key: one for key, one in value.items() if key in known})


def process_role() -> str:
    """What this process is: `GENERAL`, `PRODUCTION`, or empty for an operator's and the door's."""
    return os.environ.get(ROLE_VARIABLE, "")


def credentials_path(state: Path, role: str) -> Path:
    """The file with the secrets of a role; the operator's (empty) holds all."""
    folder = state / WORKERS_FOLDER if role == GENERAL else state
    return folder / (f"credentials.{role}.json" if role else "credentials.json")


def read_secret(name: str, *, state: Path | None = None) -> str:
    """Read one secret by its name, from the file of this process's role.

    Raises:
        ConfigError: where the name is unknown; the message never holds a value.
    """
    path = credentials_path(state or state_folder(), process_role())
    try:
        secrets = cast(dict[str, Any], json.loads(path.read_text()))
        return str(secrets[name])
    except (FileNotFoundError, PermissionError) as exc:
        raise ConfigError(f"Cannot read {path} as this user. Run as its owner, after `slipway up`.") from exc
    except KeyError as exc:
        raise ConfigError(f"No secret named '{name}' in {path}. Run `slipway up`.") from exc


def write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace a file whole, with the given mode from its first byte on."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
