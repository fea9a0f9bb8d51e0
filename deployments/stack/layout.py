"""Where everything of a stack is: folders, ports, users. Facts only; nothing is started here."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from blocks.capacity_file import FILE as CAPACITY_FILE
from blocks.identity import ensure_users, find_python, give, is_root, missing_users
from blocks.installation import Installation, Users, read_installation, write_private
from blocks.postgres_server import runnable_binaries
from deployments.stack.engine import choose_engine
from deployments.stack.settings import Settings
from domain.environment import Environment
from domain.errors import ConfigError

_MADE_USERS = "users-made.json"
SHIPPED_CAPACITY = Path(__file__).parent.parent / "capacity.yaml"
SHIPPED_ENVIRONMENTS = Path(__file__).parent.parent / "environments"

# Offsets from SLIPWAY_PORT_BASE. Entries and metrics of sites count up from theirs.
_FIXED = {
    "prefect": 0,
    "door": 1,
    "postgres": 2,
    "s3": 3,
    "s3-grpc": 4,
    "s3-master": 5,
    "s3-master-grpc": 6,
    "s3-volume": 7,
    "s3-volume-grpc": 8,
    "s3-filer": 9,
    "s3-filer-grpc": 50,
    "s3-tls": 51,
    "instances": 100,
}
_ENTRY_FIRST, _METRICS_FIRST, SITES_MAX = 10, 30, 20


def plan_ports(base: int, sites: Sequence[str], recorded: Sequence[str] = ()) -> dict[str, int]:
    """Give every port of the stack a number. `sites` and `recorded` are `<environment>-<site>`; recorded ones keep
    their place, so that adding an environment moves nobody.

    Raises: ConfigError where there are more sites than places.
    """
    places = [*recorded, *(site for site in sites if site not in recorded)]
    if len(places) > SITES_MAX:
        raise ConfigError(f"{len(places)} sites, but one machine has room for {SITES_MAX}. Remove an environment file.")
    ports = {name: base + offset for name, offset in _FIXED.items()}
    for place, site in enumerate(places):
        ports[f"entry-{site}"] = base + _ENTRY_FIRST + place
        ports[f"metrics-{site}"] = base + _METRICS_FIRST + place
    return ports


def read_environments(folder: Path) -> list[Environment]:
    """Read the environment files of a folder, in the order in which releases take them.

    Raises: ConfigError naming the file and what is wrong in it.
    """
    order = ("development", "test", "staging", "production")
    found: list[Environment] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            found.append(Environment.model_validate(yaml.safe_load(path.read_text())))
        except (yaml.YAMLError, ValidationError) as exc:
            raise ConfigError(f"{path} does not describe an environment: {str(exc)[:256]}. Correct it.") from exc
    return sorted(found, key=lambda one: (order.index(one.name) if one.name in order else len(order), one.name))


def ship_environments(state: Path) -> list[str]:
    """Copy the environments that come with Slipway into the state; returns the files that stay as the team has them.

    A file that somebody edited is theirs. Effect: may be repeated.
    """
    folder, shipped_before = state / "environments", state / "environments" / ".shipped"
    folder.mkdir(parents=True, exist_ok=True)
    shipped_before.mkdir(exist_ok=True)
    edited: list[str] = []
    for source in sorted(SHIPPED_ENVIRONMENTS.glob("*.yaml")):
        copy, last = folder / source.name, shipped_before / source.name
        if copy.exists() and last.exists() and copy.read_bytes() != last.read_bytes():
            edited.append(source.name)
            continue
        for place in (copy, last):
            shutil.copyfile(source, place)
    return edited


def ship_capacity(state: Path) -> None:
    """Put the settings about capacity into the state where there are none. Effect: a file that is the team's then."""
    if not (state / CAPACITY_FILE).exists():
        write_private(state / CAPACITY_FILE, SHIPPED_CAPACITY.read_text(), mode=0o644)


def site_names(environments: Sequence[Environment]) -> list[str]:
    """Name every site of every environment: `production-alpha`, …"""
    return [f"{environment.name}-{site.name}" for environment in environments for site in environment.sites]


def plan_installation(settings: Settings) -> tuple[dict[str, int], list[str]]:
    """Say which ports the stack will take, before anything is made: (ports, site names)."""
    folder = settings.state / "environments"
    sites = site_names(read_environments(folder if any(folder.glob("*.yaml")) else SHIPPED_ENVIRONMENTS))
    return plan_ports(settings.port_base, sites, _recorded_sites(settings.state)), sites


def make_installation(settings: Settings) -> Installation:
    """Make users and folders, find what they can run, and write the facts down.

    Effect: may be repeated; nothing that is there is lost.
    """
    made = missing_users()
    users = ensure_users()
    _make_folders(settings, users)
    _remember_made(settings.state, made)
    ports, _ = plan_installation(settings)
    state = settings.state
    installation = Installation(
        state=state,
        sockets=settings.sockets,
        ports=ports,
        users=users,
        python=find_python(users.build, copy_to=state / "runtime" / "python"),
        postgres_bin=runnable_binaries(users.database, copy_to=state / "runtime" / "postgres"),
        language=settings.language,
        build_variables=settings.build_variables,
        disk_free_bytes_min=settings.disk_free_bytes_min,
        backup_copy=settings.backup_copy,
        backup_copy_endpoint=settings.backup_copy_endpoint,
        backup_copy_region=settings.backup_copy_region,
        backup_keep=settings.backup_keep.as_text(),
        backup_engine=choose_engine(settings).engine,
    )
    installation.save()
    read_installation.cache_clear()
    return installation


def made_users(state: Path) -> list[str]:
    """Name the users of this machine that this installation made; others were there before."""
    path = state / _MADE_USERS
    return list(json.loads(path.read_text())) if path.exists() else []


def _remember_made(state: Path, names: Sequence[str]) -> None:
    if names:
        write_private(state / _MADE_USERS, json.dumps(sorted({*made_users(state), *names})), mode=0o644)


def _recorded_sites(state: Path) -> list[str]:
    if not (state / "installation.json").exists():
        return []
    ports = read_installation(state).ports
    entries = sorted((port, name) for name, port in ports.items() if name.startswith("entry-"))
    return [name.removeprefix("entry-") for _, name in entries]


def _make_folders(settings: Settings, users: Users) -> None:
    """Make the folders; users pass through those of ours, and own theirs."""
    state, sockets = settings.state, settings.sockets
    passable = 0o711 if is_root() else 0o700
    for folder, user, mode in (
        (state, None, passable),
        (sockets, None, passable),
        (sockets / "postgres", users.database, 0o700),
        (sockets / "s3", users.network, 0o700),
        (state / "tmp", None, passable),
        (state / "logs", None, 0o700),
        (state / "prefect", None, 0o700),
        (state / "environments", None, 0o755),
        (state / "runtime", None, 0o755),
        (state / "code", None, 0o755),
        (state / "traefik", None, 0o755),
        (state / "s3", users.network, 0o700),
        (state / "supervisor", None, 0o711),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        give(folder, user, mode=mode)
