"""The command line that puts a command into bubblewrap: what it sees, what it may write, which network it has.

Used by the runner of builds and checks, by targets for released services and their commands, and by the probe
(`blocks/isolation.py`). Nothing is started here. bubblewrap runs as the command's own user, so that no step of the
set-up has a right that the command has not.
"""

import json
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blocks import sandbox_entry

SYSTEM = ("/usr", "/opt", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/sys/devices/system")
"""What every command sees of this machine, read-only. Not among it: /home, /root, /run, /srv, /tmp, /var."""

SHARED_MEMORY_BYTES_MAX = 1 << 30
SERVERS = "/run/slipway"
_PRELOADED = ("bin", "lib", "lib64", "include", "share")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What one command sees. Paths are where they are outside.

    Attributes:
        bwrap: the program.
        hidden: folders that stay out of sight even where they lie in something that is seen.
        read_only: what it may read besides the system.
        writable: what it may change; folders for its temporary files among it.
        tmp: its `/tmp` and `/var/tmp`.
        network: True: this machine's; False: its own, in which nothing answers but itself and `ports`.
        ports: TCP ports of 127.0.0.1 that it reaches, and the UNIX socket behind each.
        processes_max: most processes and threads in it, where the kernel counts them apart; None: no limit.
        python: an interpreter that it can run; needed for `ports`.
        options: more of bubblewrap's options, such as `--disable-userns`.
    """

    bwrap: Path
    tmp: Path
    hidden: tuple[Path, ...] = ()
    read_only: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    network: bool = False
    ports: Mapping[int, Path] = field(default_factory=dict[int, Path])
    processes_max: int | None = None
    python: Path | None = None
    options: tuple[str, ...] = ()

    def wrap(self, command: Sequence[str], *, directory: Path) -> list[str]:
        """Return the command that runs `command` in here, beginning in `directory`. It holds no secret."""
        return [str(self.bwrap), *self._arguments(directory), "--", *self._entry(), *self._limit(), *command]

    def _arguments(self, directory: Path) -> Iterator[str]:
        yield from ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
        yield from (*self.options, "--die-with-parent")
        yield from () if self.network else ("--unshare-net",)
        yield from _system()
        yield from ("--proc", "/proc", "--dev", "/dev")
        yield from ("--size", str(SHARED_MEMORY_BYTES_MAX), "--tmpfs", "/dev/shm", "--remount-ro", "/dev")
        yield from ("--bind", str(self.tmp), "/tmp", "--bind", str(self.tmp), "/var/tmp")
        hidden = [folder for folder in self.hidden if folder.exists() and self._is_seen(folder)]
        places = [*((folder, ("--tmpfs", str(folder))) for folder in hidden), *self._own()]
        # what lies in another folder comes after it: a hidden one covers what is around it, and own places cover that
        for _, words in sorted(places, key=lambda place: len(place[0].parts)):
            yield from words
        for port, path in self.ports.items():
            yield from ("--bind", str(path), f"{SERVERS}/{port}")
        for folder in (*hidden, "/"):
            yield from ("--remount-ro", str(folder))
        yield from ("--chdir", str(directory))

    def _is_seen(self, folder: Path) -> bool:
        """Whether a folder lies in something that the command sees, its `/tmp` among it."""
        return any(
            folder.is_relative_to(place) for place in (*SYSTEM, "/tmp", "/var/tmp", *self.read_only, *self.writable)
        )

    def _own(self) -> Iterator[tuple[Path, tuple[str, ...]]]:
        """The same path is bound once, writable if at all; what the system shows anyway is not bound again."""
        options = {path: "--ro-bind" for path in self.read_only} | {path: "--bind" for path in self.writable}
        for path, option in options.items():
            is_hidden = any(path.is_relative_to(folder) for folder in self.hidden)
            if option == "--bind" or is_hidden or not _is_in_system(path):
                yield path, (option, str(path), str(path))

    def _entry(self) -> Iterator[str]:
        if not self.ports:
            return
        assert self.python is not None, "ports need an interpreter"
        ports = json.dumps({str(port): f"{SERVERS}/{port}" for port in self.ports})
        text = Path(sandbox_entry.__file__).read_text()
        yield from (str(self.python), "-I", "-S", "-c", text, ports)

    def _limit(self) -> Iterator[str]:
        """A limit of the inside only: outside, the kernel would count all else that this user does."""
        # also the one that answers 127, as a shell does, where a command does not exist
        limit = [f"--nproc={self.processes_max}"] if self.processes_max else ["--core=0"]
        yield from ("prlimit", *limit, "--")


def _system() -> Iterator[str]:
    for place in map(Path, SYSTEM):
        if place.is_symlink():
            yield from ("--symlink", str(place.readlink()), str(place))
        elif place.exists():
            yield from ("--ro-bind", str(place), str(place))
    names = Path("/etc/resolv.conf").resolve()
    if names.exists() and not names.is_relative_to("/etc"):
        yield from ("--ro-bind", str(names), str(names))


def _is_in_system(path: Path) -> bool:
    return any(path.is_relative_to(place) for place in SYSTEM)


def interpreter_folders(python: Path) -> tuple[Path, ...]:
    """What an interpreter needs to see of its own installation."""
    prefixes = dict.fromkeys((python.parent.parent, python.resolve().parent.parent))
    return tuple(prefix / name for prefix in prefixes for name in _PRELOADED if (prefix / name).exists())


def existing(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Those paths that are there, each once; what is mounted has to exist."""
    return tuple(path for path in dict.fromkeys(paths) if path.exists())


def loopback_names() -> str:
    """The names of the machine itself, for `NO_PROXY`."""
    return f"localhost,127.0.0.1,::1,{socket.gethostname()}"
