"""Virtual environments made from wheels at hand, without a network and without running anything of a package.

Used by `blocks/local_releases.py`. `PipPackages` fetches, for builds; this one only has what was released.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from blocks.identity import clean_environment
from domain.errors import ConfigError, TransientError
from domain.lock import Lock

_LIMIT_S = 600


@dataclass(frozen=True, slots=True)
class OfflineInstaller:
    """Installs with an interpreter that other users can run.

    `hold` is the descriptor of a lock that the commands inherit: when we are killed in the middle, they go on for a
    moment, and nobody may begin anew before they end.
    """

    python: Path
    hold: int

    def make_environment(self, folder: Path, lock: Lock, *, wheels: Path) -> None:
        """Make a virtual environment with exactly the packages of a lock.

        Raises: ConfigError where a wheel is missing or has other bytes than the lock says.
        """
        work = folder.parent / "tmp"
        work.mkdir(parents=True, exist_ok=True)
        self._run([str(self.python), "-I", "-m", "venv", "--without-pip", str(folder)], work=work)
        if lock.packages:
            requirements = folder / "slipway-lock.txt"
            requirements.write_text(lock.text)
            self._run(_pip(folder / "bin" / "python", requirements, wheels), work=work)
        shutil.rmtree(work)

    def compile(self, source: Path) -> None:
        """Compile Python sources where nobody may write later; what is no Python stays as it is."""
        command = [str(self.python), "-I", "-m", "compileall", "-q", "-q", str(source)]
        self._start(command, work=source)

    def _run(self, command: list[str], *, work: Path) -> None:
        done = self._start(command, work=work)
        if done.returncode != 0:
            words = " ".join(done.stderr.split())[-256:]
            raise ConfigError(f"The release can't be installed off-line: {words}. Lock all it needs, then push again.")

    def _start(self, command: list[str], *, work: Path) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, its temporary files in `work`."""
        try:
            return subprocess.run(
                command,
                env=clean_environment({"HOME": str(work), "TMPDIR": str(work)}),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_LIMIT_S,
                umask=0o022,
                pass_fds=(self.hold,),
            )
        except subprocess.TimeoutExpired as exc:
            raise TransientError(f"Installing a release did not end in {_LIMIT_S} s. Try again.") from exc


def _pip(python: Path, requirements: Path, wheels: Path) -> list[str]:
    """The command that installs; the new environment's own interpreter runs pip, while nothing else is in it yet."""
    command = [sys.executable, "-m", "pip", "--isolated", "--python", str(python), "install"]
    command += ["--no-index", "--find-links", str(wheels), "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--quiet", "--no-input", "--no-cache-dir", "--disable-pip-version-check"]
    return [*command, "--root-user-action", "ignore", "--no-warn-script-location", "--requirement", str(requirements)]
