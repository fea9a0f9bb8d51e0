"""Who our children run as, and which interpreter they can run.

As root, other people's code and the servers that face data run as four unprivileged users; as an ordinary user
everything runs as that user. Called by the embedded stack and by every adapter that starts processes. It never changes
the permissions of a folder that is not ours.
"""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from blocks.installation import Users
from domain.errors import ConfigError

USERS = Users(database="slipway-db", build="slipway-build", service="slipway-run", network="slipway-net")
PYTHON_VERSIONS = ("3.13", "3.12", "3.11")
_PROBE_LIMIT_S = 30
_PROBE_MODULES = "import sys, ssl, ctypes, venv, sqlite3, zlib, hashlib; assert sys.version_info >= (3, 11)"


class Demotion(TypedDict, total=False):
    """The arguments of `subprocess.Popen` that make a child somebody else; empty when we are not root."""

    user: int
    group: int
    extra_groups: list[int]


def is_root() -> bool:
    """Whether this process may become other users."""
    return os.geteuid() == 0


def as_user(user: str | None) -> Demotion:
    """Say how to start a child as `user`; None means as ourselves.

    Raises:
        ConfigError: where this machine has no such user.
    """
    if user is None or not is_root():
        return {}
    entry = _entry(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def ensure_users() -> Users:
    """Make the unprivileged users that are missing, when root.

    Effect: system users without a home or a shell; may be repeated.
    Raises: ConfigError where they can't be made, with the command to run by hand.
    """
    if not is_root():
        return Users()
    for name in (USERS.database, USERS.build, USERS.service, USERS.network):
        _ensure_user(str(name))
    return USERS


def missing_users() -> list[str]:
    """Name those of our users that this machine does not have; none where we are not root, and need none."""
    names = (USERS.database, USERS.build, USERS.service, USERS.network)
    known = {entry.pw_name for entry in pwd.getpwall()}
    return [name for name in names if name is not None and name not in known] if is_root() else []


def remove_user(name: str) -> str:
    """Take a user away, with its group; returns what stands in the way, empty where it is gone.

    Effect: may be repeated. A user of whom a process runs stays.
    """
    if name not in {entry.pw_name for entry in pwd.getpwall()}:
        return ""
    try:
        done = subprocess.run(["userdel", name], capture_output=True, text=True, check=False, timeout=_PROBE_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return str(exc)[:256]
    return "" if done.returncode == 0 else done.stderr.strip()[:256]


def give(path: Path, user: str | None, *, mode: int | None = None) -> None:
    """Make one file or folder `user`'s own (not what is in it), with this mode."""
    if user is not None and is_root():
        entry = _entry(user)
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    if mode is not None:
        path.chmod(mode)


def give_all(folder: Path, user: str | None) -> None:
    """Make a folder and everything in it `user`'s own; symbolic links are not followed."""
    if user is None or not is_root():
        return
    entry = _entry(user)
    os.chown(folder, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(root) / name, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def can_run(command: Sequence[str], user: str | None) -> bool:
    """Try a command as `user`; True when it starts and ends with 0."""
    return _runs(command, user)


def find_python(user: str | None, *, copy_to: Path) -> Path:
    """Find an interpreter that `user` can run: ours, else the machine's, else a copy of ours in `copy_to`.

    Effect: makes the copy (tens of MB, without tests and installed packages) only when nothing else runs.
    Raises: ConfigError where even the copy does not run.
    """
    for candidate in _pythons():
        if candidate.exists() and _is_python(candidate, user):
            return candidate
    copied = copy_to / "bin" / f"python3.{sys.version_info.minor}"
    if not (copied.exists() and _is_python(copied, user)):
        _copy_python(copy_to)
    if not _is_python(copied, user):
        raise ConfigError(
            f"No Python 3.11 or newer that user '{user}' can run: {sys.base_prefix} is closed to it, and a copy in "
            f"{copy_to} does not start. Install a system-wide Python (for example `apt install python3`)."
        )
    return copied


def clean_environment(extra: Mapping[str, str] = {}) -> dict[str, str]:
    """The least environment in which a child works: a path, a locale, and what is given."""
    path = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return {"PATH": path, "LC_ALL": "C.UTF-8", **extra}


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError as exc:
        raise ConfigError(f"No user '{user}' on this machine. Run `slipway up` as root; it makes it.") from exc


def _ensure_user(name: str) -> None:
    try:
        pwd.getpwnam(name)
        return
    except KeyError:
        pass
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    command += ["--shell", "/usr/sbin/nologin", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PROBE_LIMIT_S)
    except OSError as exc:
        raise ConfigError(f"Cannot make user '{name}': {exc}. Make it by hand: {' '.join(command)}") from exc
    if done.returncode not in (0, 9):  # 9: somebody made it at the same time
        raise ConfigError(f"Cannot make user '{name}': {done.stderr.strip()[:256]}. Try: {' '.join(command)}")


def _runs(command: Sequence[str], user: str | None) -> bool:
    try:
        done = subprocess.run(
            command,
            cwd="/",
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_PROBE_LIMIT_S,
            **as_user(user),
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _is_python(path: Path, user: str | None) -> bool:
    return _runs([str(path), "-I", "-c", _PROBE_MODULES], user)


def _pythons() -> Iterator[Path]:
    """Candidates, best first; the base interpreter, since a venv's needs the base as well."""
    own = f"python3.{sys.version_info.minor}"
    yield Path(sys.base_prefix) / "bin" / own
    for folder in ("/usr/local/bin", "/usr/bin"):
        yield Path(folder) / own
    for folder in ("/usr/local/bin", "/usr/bin"):
        for version in PYTHON_VERSIONS:
            yield Path(folder) / f"python{version}"


def _copy_python(destination: Path) -> None:
    name = f"python3.{sys.version_info.minor}"
    source = Path(sys.base_prefix)
    draft = destination.with_name(f".{destination.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "bin").mkdir(parents=True, mode=0o755)
    shutil.copy2(source / "bin" / name, draft / "bin" / name)
    skip = shutil.ignore_patterns("site-packages", "dist-packages", "test", "tests", "idlelib", "__pycache__", "*.a")
    shutil.copytree(source / "lib" / name, draft / "lib" / name, ignore=skip)
    for library in source.glob("lib/libpython3*.so*"):
        shutil.copy2(library, draft / "lib" / library.name, follow_symlinks=False)
    _look_beside_itself(draft / "bin" / name, source / "lib")
    shutil.rmtree(destination, ignore_errors=True)
    draft.rename(destination)


def _look_beside_itself(binary: Path, libraries: Path) -> None:
    """Make a copied interpreter load its own libpython.

    One built with --enable-shared names the old library folder in its ELF run path; out of reach, the loader would
    take the system's libpython of another patch level, which half works. The new path is never longer than the old.
    """
    old, new = b"\0" + bytes(libraries) + b"\0", b"\0$ORIGIN/../lib\0"
    content = binary.read_bytes()
    if old in content and len(new) <= len(old):
        binary.write_bytes(content.replace(old, new.ljust(len(old), b"\0")))
