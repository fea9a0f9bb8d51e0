"""The runner on this machine: other people's commands, as the build user, under a guard and within limits.

Called by the build and check tasks of `ci`. What passes of our environment is the installation's list of names and
nothing else; `HOME` and `TMPDIR` are a folder that is gone afterwards.
"""

import shutil
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydantic import Field

from blocks.client_settings import (
    DEFAULT_VARIABLES,
    lend_settings,
    named_paths,
    passed_variables,
    pip_configuration_files,
)
from blocks.guarded import NICENESS, Disk, Guarded, Order
from blocks.identity import give, give_all
from blocks.installed_block import InstalledBlock
from blocks.isolation import BUBBLEWRAP, Holder, find_isolation, holder
from blocks.registry_way import proxy_variables, registry_hosts, registry_way, without_proxies
from blocks.sandbox import loopback_names
from domain.isolation import Isolation
from domain.service import Outcome

GIB = 1024**3
_KEPT_S = 86_400
INSTANCES = 400
# variables that name folders which a command needs to read
_FOLDER_VARIABLES = ("VIRTUAL_ENV",)


class LocalRunner(InstalledBlock):
    """Fulfils `domain.ports.Runner`: builds and checks on this machine, as the build user when Slipway is root."""

    _block_type_name = "Slipway Local Runner"
    _block_type_slug = "slipway-local-runner"

    variables: list[str] = Field(
        default=[], description="Environment variables that pass besides the installation's; a trailing * matches all."
    )
    path: str = Field(
        default="/usr/local/bin:/usr/bin:/bin", description="Where commands are found, after what a command names."
    )
    address_space_gib: int = Field(default=16, ge=1, description="Most address space of one process.")
    file_gib: int = Field(default=4, ge=1, description="Largest file that a process may write.")
    processes_max: int = Field(default=2048, ge=16, description="Most processes of the build user, when it has one.")
    memory_ratio_max: float = Field(
        default=0.5, gt=0, le=1, description="Most of the machine's memory that a command and its children may hold."
    )
    disk_gib: float = Field(default=16, gt=0, description="Most that a command may write in all.")
    disk_free_gib: float = Field(default=1, ge=0, description="What has to stay free on its disk, or it is ended.")
    bubblewrap: str = Field(default=BUBBLEWRAP, description="Program that isolates commands; empty: none.")
    visible: list[str] = Field(default=[], description="Folders that commands may read, besides the system's.")
    registries: list[str] = Field(
        default=[], description="Hosts (name:port) that builds reach besides those of the package clients' settings."
    )

    def run(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        limit_s: float,
        log: Path | None = None,
        network: bool = False,
        servers: Path | None = None,
    ) -> Outcome:
        """Run to the end or to the limit, then end every child. A `PATH` given is searched before the runner's own."""
        user = self.installation.users.build
        held = holder(self.installation, user, program=self.bubblewrap)
        with self._home(user) as home, self._ports(held, network=network, servers=servers) as ports:
            variables = self._environment(home, environment)
            order = Order(
                command=tuple(command),
                directory=directory,
                environment=_proxied(variables) if ports else variables,
                user=user,
                limit_s=limit_s,
                log=log,
                limits=self._limits(user),
                niceness=NICENESS,
                sandbox=held.sandbox(
                    tmp=home / "tmp",
                    read_only=self._readable(variables),
                    writable=(home, directory),
                    network=network,
                    ports=ports,
                    processes_max=self.processes_max,
                ),
                disk=Disk((directory, home), int(self.disk_gib * GIB), int(self.disk_free_gib * GIB)),
                memory_bytes_max=int(self.memory_ratio_max * psutil.virtual_memory().total),
            )
            with Guarded(order) as guarded:
                return guarded.wait()

    def isolation(self) -> Isolation:
        return find_isolation(self.installation, program=self.bubblewrap)

    def hand_over(self, directory: Path) -> None:
        give_all(directory, self.installation.users.build)

    def folder(self, name: str) -> Path:
        """A folder in `work` of the state; others may pass through it, and not look around."""
        work = self.installation.folder("work")
        work.chmod(0o711)
        _remove_forgotten(work)
        folder = work / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
        return folder

    def remove_folder(self, name: str) -> None:
        shutil.rmtree(self.installation.folder("work") / name, ignore_errors=True)

    def _environment(self, home: Path, given: Mapping[str, str]) -> dict[str, str]:
        settings = lend_settings(self._settings(), home, self.installation.users.build)
        path = f"{given['PATH']}:{self.path}" if "PATH" in given else self.path
        private = {"HOME": str(home), "TMPDIR": str(home / "tmp"), "LANG": settings.get("LANG", "C.UTF-8")}
        return {**settings, **private, **given, "PATH": path}

    def _readable(self, variables: Mapping[str, str]) -> tuple[Path, ...]:
        """What a command needs to read: its packages, and files that the package clients' settings name."""
        user, state = self.installation.users.build, self.installation.state
        folders = [Path(variables[name]) for name in _FOLDER_VARIABLES if name in variables]
        named = [path for path in named_paths(variables, user) if not _overlap(path, state)]
        return (*folders, *map(Path, self.visible), *named)

    @contextmanager
    def _ports(self, held: Holder, *, network: bool, servers: Path | None) -> Generator[dict[int, Path]]:
        """Open what a command in a network of its own reaches: the package registry, and servers for it alone."""
        if held.pattern is None or network or not held.isolation.network:
            yield {}
            return
        beside = (
            {int(path.suffix[1:]): path for path in sorted(servers.glob("**/*.[0-9]*")) if path.is_socket()}
            if servers
            else {}
        )
        hosts = registry_hosts(self._settings(), pip_configuration_files(), self.registries)
        ports = self.installation.ports
        first = ports.get("instances", 0)
        never, work = {*ports.values(), *range(first, first + INSTANCES)}, self.installation.folder("work")
        with registry_way(hosts, forbidden_ports=never, folder=work, user=self.installation.users.build) as opened:
            yield opened | beside

    def _settings(self) -> dict[str, str]:
        """The settings of package clients that pass from our environment."""
        return passed_variables([*(self.installation.build_variables or DEFAULT_VARIABLES), *self.variables])

    def _limits(self, user: str | None) -> dict[str, int]:
        limits = {
            "RLIMIT_AS": self.address_space_gib * GIB,
            "RLIMIT_FSIZE": self.file_gib * GIB,
            "RLIMIT_CORE": 0,
        }
        # the kernel counts all of a user's processes: of an ordinary user, also those that are none of our business
        return {**limits, "RLIMIT_NPROC": self.processes_max} if user else limits

    @contextmanager
    def _home(self, user: str | None) -> Generator[Path]:
        work = self.installation.folder("work")
        work.chmod(0o711)
        home = Path(tempfile.mkdtemp(prefix="home-", dir=work))
        try:
            (home / "tmp").mkdir()
            give(home / "tmp", user, mode=0o700)
            give(home, user, mode=0o700)
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _overlap(path: Path, state: Path) -> bool:
    return path.is_relative_to(state) or state.is_relative_to(path)


def _proxied(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a command that reaches the package registry by way of the proxy, and nothing else."""
    return without_proxies(variables) | proxy_variables(loopback_names())


def _remove_forgotten(work: Path) -> None:
    """Remove what dead or failed runs left more than a day ago."""
    oldest = time.time() - _KEPT_S
    for left in work.iterdir():
        if left.lstat().st_mtime < oldest:
            shutil.rmtree(left, ignore_errors=True)
