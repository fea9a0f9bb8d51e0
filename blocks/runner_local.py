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

from pydantic import Field

from blocks.client_settings import DEFAULT_VARIABLES, lend_settings, passed_variables
from blocks.guarded import NICENESS, Guarded, Order
from blocks.identity import give, give_all
from blocks.installed_block import InstalledBlock
from domain.service import Outcome

GIB = 1024**3
_KEPT_S = 86_400


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

    def run(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        limit_s: float,
        log: Path | None = None,
    ) -> Outcome:
        """Run to the end or to the limit, then end every child. A `PATH` given is searched before the runner's own."""
        user = self.installation.users.build
        with self._home(user) as home:
            order = Order(
                command=tuple(command),
                directory=directory,
                environment=self._environment(home, environment),
                user=user,
                limit_s=limit_s,
                log=log,
                limits=self._limits(user),
                niceness=NICENESS,
            )
            with Guarded(order) as guarded:
                return guarded.wait()

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
        installation = self.installation
        passed = passed_variables([*(installation.build_variables or DEFAULT_VARIABLES), *self.variables])
        settings = lend_settings(passed, home, installation.users.build)
        path = f"{given['PATH']}:{self.path}" if "PATH" in given else self.path
        private = {"HOME": str(home), "TMPDIR": str(home / "tmp"), "LANG": settings.get("LANG", "C.UTF-8")}
        return {**settings, **private, **given, "PATH": path}

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


def _remove_forgotten(work: Path) -> None:
    """Remove what dead or failed runs left more than a day ago."""
    oldest = time.time() - _KEPT_S
    for left in work.iterdir():
        if left.lstat().st_mtime < oldest:
            shutil.rmtree(left, ignore_errors=True)
