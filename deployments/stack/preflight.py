"""What would stop the stack half-way, found before anything starts: ports, space, paths, owners.

Each problem is a sentence with the figure found and the setting that changes it. Nothing is changed here.
"""

import os
import shutil
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import psutil

from blocks.identity import is_root
from blocks.processes import listener_on
from deployments.stack.engine import choose_engine
from deployments.stack.settings import Settings

SOCKET_PATH_BYTES_MAX = 107
"""Room in `sockaddr_un`, without its closing zero. Source: unix(7)."""

_LONGEST_SOCKET = "/postgres/.s.PGSQL.65535.lock"
_OWN_FILES = ("settings.json", "installation.json", "credentials.json", "up.lock")


def find_problems(settings: Settings, *, ports: Mapping[str, int], own_pids: Collection[int]) -> list[str]:
    """List everything that stands in the way, in words for the operator; empty when nothing does.

    Args:
        ports: every port of the stack by name.
        own_pids: processes of this very stack; what they hold is not taken.
    """
    return [
        *_check_state(settings.state),
        *_check_sockets(settings.sockets),
        *_check_disk(settings.state, settings.disk_free_bytes_min),
        *check_ports(ports, own_pids),
        *([problem] if (problem := choose_engine(settings).problem) else []),
    ]


def _check_state(state: Path) -> Iterator[str]:
    existing = _first_existing(state)
    if not existing.is_dir():
        yield f"{existing} is not a folder. Set SLIPWAY_STATE to a folder."
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield f"{existing} is not writable for uid {os.geteuid()}. Set SLIPWAY_STATE to a folder of yours."
    elif existing == state and state.stat().st_uid != os.geteuid():
        owner = state.stat().st_uid
        yield f"{state} belongs to uid {owner}, and this is uid {os.geteuid()}. Run as its owner, or set SLIPWAY_STATE."
    elif existing == state and any(state.iterdir()) and not any((state / name).exists() for name in _OWN_FILES):
        yield f"{state} holds other files and no Slipway installation. Set SLIPWAY_STATE to an empty or new folder."
    elif is_root():
        yield from _check_way(existing if existing != state else state.parent)


def _check_way(folder: Path) -> Iterator[str]:
    """Whether the unprivileged users get as far as the state folder; they are in no group but their own."""
    for place in (*reversed(folder.parents), folder):
        mode = place.stat().st_mode & 0o777
        if not mode & 0o001:
            yield (
                f"Users other than root cannot enter {place} (mode {mode:04o}), and PostgreSQL does not run as root. "
                "Set SLIPWAY_STATE to a folder that every user can reach, for example /var/lib/slipway."
            )
            return


def _check_sockets(sockets: Path) -> Iterator[str]:
    length = len(os.fsencode(f"{sockets}{_LONGEST_SOCKET}"))
    if length > SOCKET_PATH_BYTES_MAX:
        yield (
            f"Sockets below {sockets} would have paths of {length} bytes; the system allows {SOCKET_PATH_BYTES_MAX}. "
            f"Set SLIPWAY_SOCKETS to a folder at least {length - SOCKET_PATH_BYTES_MAX} bytes shorter, "
            "for example /run/slipway or /tmp/slipway."
        )
    existing = _first_existing(sockets)
    if existing == sockets and (sockets.stat().st_uid != os.geteuid() or sockets.stat().st_mode & 0o022):
        yield f"{sockets} is somebody else's, or others may write to it. Set SLIPWAY_SOCKETS to a folder of your own."
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield f"{existing} is not writable for uid {os.geteuid()}. Set SLIPWAY_SOCKETS to a short folder of yours."


def _check_disk(state: Path, free_bytes_min: int) -> Iterator[str]:
    existing = _first_existing(state)
    free = shutil.disk_usage(existing).free
    if free < free_bytes_min:
        yield (
            f"{_gigabytes(free)} free on the disk of {existing}; {_gigabytes(free_bytes_min)} are needed. "
            "Free some space, set SLIPWAY_STATE to another disk, or lower SLIPWAY_DISK_FREE_MIN (for example 500M)."
        )


def check_ports(ports: Mapping[str, int], own_pids: Collection[int]) -> Iterator[str]:
    """Name each port of the stack that somebody else listens on."""
    taken = [name for name, port in ports.items() if name != "instances" and not _is_free(port)]
    for name in taken:
        holder = listener_on(ports[name])
        if holder is None or holder.pid not in own_pids:
            yield (
                f"Port {ports[name]} on 127.0.0.1 ({name}) is taken by {_describe(holder)}. "
                "Stop that, or set SLIPWAY_PORT_BASE to another number."
            )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection that lingers from before is no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _describe(holder: psutil.Process | None) -> str:
    if holder is None:
        return "a process that this user may not see"
    try:
        return f"pid {holder.pid} ({holder.name()}, user {holder.username()})"
    except psutil.Error:
        return f"pid {holder.pid}"


def _first_existing(path: Path) -> Path:
    return next(folder for folder in _upwards(path) if folder.exists())


def _upwards(path: Path) -> Iterable[Path]:
    return (path, *path.parents)


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 10**9:.2f} GB"
