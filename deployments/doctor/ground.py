"""What everything stands on: Python, packages, the state folder and its secrets, the disk, the ports, isolation."""

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from cryptography.fernet import Fernet
from packaging.specifiers import SpecifierSet

from blocks.isolation import describe_isolation
from blocks.processes import stack_members
from blocks.seal import SEAL_SECRET
from deployments.doctor.case import Case, Notes
from deployments.rotation.note import read_note
from deployments.stack.code import HOME
from deployments.stack.credentials import RECIPES
from deployments.stack.layout import plan_installation
from deployments.stack.preflight import check_ports

PYTHON_MIN, PYTHON_MAX = (3, 11), (3, 13)

PINS = {"prefect": "==3.8.8", "fastapi": ">=0.139,<0.151", "sqlalchemy": ">=2.0,<2.1"}
"""Others install and look healthy, and then start nothing: docs/decisions/0002-pinned-tree.md."""

_INSTALL = "sh requirements/install.sh .venv requirements/runtime.txt"
_LOCKED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^ ;\\]+)([^\\]*)\\?$", re.MULTILINE)
_DIFFERENT_MAX = 5
_OWN_USERS_ONLY = 0o077


def look_at_python(case: Case, notes: Notes) -> None:
    found = sys.version_info[:2]
    if not PYTHON_MIN <= found <= PYTHON_MAX:
        notes.broken(
            f"Python {found[0]}.{found[1]}; 3.11 to 3.13 are supported.", "make PYTHON=/path/to/python3.11 status"
        )


def look_at_packages(case: Case, notes: Notes) -> None:
    """Exactly the lock where it is at hand; in any case the three versions that break Prefect silently."""
    wrong = [
        f"{name} {found or 'is missing'} (needs {pin})"
        for name, pin in PINS.items()
        if not (found := _version(name)) or not SpecifierSet(pin).contains(found)
    ]
    if wrong:
        notes.broken(f"{'; '.join(wrong)}.", _INSTALL)
        return
    different = list(_different(HOME / "requirements" / "runtime.txt"))
    if different:
        shown = "; ".join(different[:_DIFFERENT_MAX])
        notes.look(f"{len(different)} packages are not those of the lock: {shown}.", _INSTALL)


def _different(lock: Path) -> Iterator[str]:
    if not lock.exists():
        return
    for name, wanted, marker in _LOCKED.findall(lock.read_text()):
        found = _version(name)
        # one with a condition may be rightly absent here
        if found != wanted and not (found is None and marker.strip()):
            yield f"{name} {found or 'missing'} instead of {wanted}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def look_at_installation(case: Case, notes: Notes) -> None:
    notes.well(str(case.installation.state))


def look_at_owner(case: Case, notes: Notes) -> None:
    owner = case.state.stat().st_uid
    if owner != os.geteuid():
        notes.broken(
            f"{case.state} belongs to uid {owner}, and this is uid {os.geteuid()}.",
            f"sudo -u '#{owner}' env SLIPWAY_STATE={case.state} slipway doctor",
        )


def look_at_modes(case: Case, notes: Notes) -> None:
    """Files that hold secrets are their owner's alone."""
    for path in _secret_files(case):
        mode = path.stat().st_mode & 0o777
        if mode & _OWN_USERS_ONLY:
            notes.broken(f"{path} holds secrets and has mode {mode:04o}: others may read it.", f"chmod go= {path}")


def _secret_files(case: Case) -> Iterator[Path]:
    state = case.state
    for pattern in ("credentials.json", "s3-identities.json", "build-environment.json", "credentials.d"):
        yield from state.glob(pattern)
    for pattern in ("credentials.d/*", "supervisor/launch/*/*.json", "upgrades/*"):
        yield from (path for path in state.glob(pattern) if path.name != ".lock")


def look_at_credentials(case: Case, notes: Notes) -> None:
    """They are all there; none is being replaced by somebody who was interrupted."""
    if (note := read_note(case.state)) is not None:
        notes.broken(
            f"The rotation of {note.what} was interrupted, or is under way.", f"slipway rotate credential {note.what}"
        )
    for name in RECIPES:
        value = case.secret(name)
        if not value:
            notes.broken(f"{name} in credentials.json is empty.", f"cp BACKUP/credentials.json {case.state}/")
        elif RECIPES[name] is RECIPES[SEAL_SECRET] and not _is_fernet_key(value):
            notes.broken(f"{name} in credentials.json is no key.", f"cp BACKUP/credentials.json {case.state}/")


def _is_fernet_key(value: str) -> bool:
    try:
        Fernet(value.encode())
    except ValueError:
        return False
    return True


def look_at_disk(case: Case, notes: Notes) -> None:
    free, least = shutil.disk_usage(case.state).free, case.settings.disk_free_bytes_min
    if free < least:
        notes.broken(
            f"{_gigabytes(free)} free on the disk of {case.state}; the limit is {_gigabytes(least)}.",
            f"du -xsh {case.state}/* | sort -h    # then free some, or: SLIPWAY_DISK_FREE_MIN=500M slipway up",
        )
    elif free < 2 * least:
        notes.look(
            f"{_gigabytes(free)} free; below {_gigabytes(least)} nothing is built.", f"du -xsh {case.state}/* | sort -h"
        )
    else:
        notes.well(f"{_gigabytes(free)} free")


def look_at_ports(case: Case, notes: Notes) -> None:
    ports, _ = plan_installation(case.settings)
    own_pids = {member.pid for member in stack_members(case.state)}
    for problem in check_ports(ports, own_pids):
        port = next(iter(re.findall(r"Port (\d+)", problem)), "")
        notes.broken(problem, f"ss -ltnp 'sport = :{port}'    # stop that, then: slipway up")


def look_at_isolation(case: Case, notes: Notes) -> None:
    """As whom other people's code runs here."""
    for finding in describe_isolation(case.installation):
        notes.look(finding, "apt install bubblewrap    # or what is said before; then: slipway doctor")
    users = case.installation.users
    if not notes.findings:
        notes.well(f"in bubblewrap; builds and checks as {users.build or 'us'}, services as {users.service or 'us'}")


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 10**9:.2f} GB"
