"""Take an installation away: its processes, its state, its users, its unit; nothing elsewhere. Or keep its data first.

Called by `slipway uninstall`. What says where everything is goes last, so that a removal which was killed can be run
again.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from blocks.identity import is_root, remove_user
from blocks.installation import Installation
from blocks.postgres_copy import dump_database, list_databases
from blocks.postgres_roles import find_login_problem
from blocks.processes import stack_members
from blocks.resource_limits import find_groups, forget_all_groups
from blocks.world import open_world
from deployments.stack.code import HOME
from deployments.stack.down import take_down
from deployments.stack.layout import made_users
from deployments.stack.progress import Progress
from deployments.upgrading.copy import server_of
from domain.errors import ConfigError, InvariantError, TransientError
from domain.ledger import Entry, encode_entry

UNITS = Path("/etc/systemd/system")
_LAST = ("users-made.json", "settings.json", "installation.json")
_PAGE = 5000
_SYSTEMCTL_LIMIT_S = 240


def keep_data(installation: Installation, password: str, *, to: Path, progress: Progress) -> None:
    """Copy every database, the ledger as text, and the credentials that open them, into a new folder.

    Raises: ConfigError where the folder is not new, or inside the state; TransientError where PostgreSQL is away.
    """
    if to.is_relative_to(installation.state) or (to.exists() and any(to.iterdir())):
        raise ConfigError(f"{to} is not a new folder outside of the state. Name another one.")
    server = server_of(installation)
    if problem := find_login_problem(server.url(password)):
        raise TransientError(f"PostgreSQL does not answer ({problem}). Run `slipway up` first; nothing was removed.")
    to.mkdir(parents=True, mode=0o700, exist_ok=True)
    with progress.step(f"data kept in {to}") as notes:
        for name in list_databases(server.url(password)):
            size = dump_database(server, password, name, to / f"{name}.dump")
            notes.append(f"{name} {size / 10**6:.1f} MB")
        with (to / "ledger.jsonl").open("w", encoding="utf-8") as file:
            for entry in _entries():
                file.write(f'{{"entry":{_text(entry)},"prev_hash":"{entry.prev_hash}","hash":"{entry.hash}"}}\n')
        shutil.copyfile(installation.state / "credentials.json", to / "credentials.json")
        (to / "credentials.json").chmod(0o600)


def remove(installation: Installation, *, keep_users: bool, progress: Progress) -> list[str]:
    """Take everything of the installation away; returns what could not be, in words. May be repeated.

    Raises: InvariantError where processes remain; then no file was removed.
    """
    state = installation.state
    # The unit first: it would bring back what is taken down.
    remarks = [remark for unit in find_units(state) if (remark := _remove_unit(unit))]
    take_down(installation, progress)
    if left := stack_members(state):
        raise InvariantError(f"{left[0].describe()} still runs. End it by hand, then run this again.")
    forget_all_groups(groups=find_groups(state))
    users = [] if keep_users else made_users(state)
    with progress.step(f"{state} is removed"):
        _remove_folder(state, last=_LAST, before_last=lambda: remarks.extend(_remove_users(users)))
        shutil.rmtree(installation.sockets, ignore_errors=True)
    return remarks


def find_units(state: Path, *, folder: Path = UNITS, home: Path = HOME) -> list[Path]:
    """The systemd units that start this installation: they name its state, or this checkout and no state."""
    found: list[Path] = []
    for path in sorted(folder.glob("*slipway*.service")) if folder.is_dir() else ():
        text = path.read_text(errors="replace")
        names_state = f"SLIPWAY_STATE={state}" in text
        names_home = f"{home}/" in text and ("SLIPWAY_STATE=" not in text)
        if names_state or names_home:
            found.append(path)
    return found


def _remove_unit(unit: Path) -> str:
    """Disable and remove a unit of ours; returns what stands in the way."""
    if not os.access(unit.parent, os.W_OK):
        return f"{unit} stays: only root may remove it. Run: sudo systemctl disable --now {unit.name} && sudo rm {unit}"
    if shutil.which("systemctl"):
        for words in (["disable", "--now", unit.name], ["daemon-reload"]):
            subprocess.run(["systemctl", *words], capture_output=True, check=False, timeout=_SYSTEMCTL_LIMIT_S)
    unit.unlink(missing_ok=True)
    return ""


def _remove_users(names: list[str]) -> Iterator[str]:
    for name in names if is_root() else ():
        if problem := remove_user(name):
            yield f"User {name} stays: {problem}. Run: userdel {name}"


def _remove_folder(state: Path, *, last: tuple[str, ...], before_last: Callable[[], None]) -> None:
    """Remove everything, what is named `last` at the very end."""
    for path in state.iterdir():
        if path.name in last:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    before_last()
    for name in last:
        (state / name).unlink(missing_ok=True)
    state.rmdir()


def _entries() -> Iterator[Entry]:
    ledger, after = open_world().ledger, 0
    while page := ledger.entries(after=after, limit=_PAGE):
        yield from page
        after = page[-1].seq


def _text(entry: Entry) -> str:
    """What the hash covers, as it was hashed: whoever reads it later can verify the chain without us."""
    return encode_entry(entry.seq, entry.at, entry.event)
