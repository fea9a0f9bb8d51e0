"""Locked Python packages by pip: wheels in a folder, virtual environments made from them, both kept by content.

Called by `ci`. Only wheels are taken and every byte has a hash in the lock, so nothing of a package runs on the way;
that is why this may run as ourselves, with our pip configuration, and why what it keeps is out of a build's reach.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from blocks.client_settings import DEFAULT_VARIABLES, passed_variables
from blocks.identity import clean_environment
from blocks.installation import Installation
from domain.canonical import digest_of
from domain.errors import ConfigError, TransientError
from domain.lock import Lock

_LIMIT_S = 900
_COMPLETE = ".complete"
_UNUSED_DAYS_MAX = 30
# pip's words when the answer will be the same next time; anything else (network, registry) is worth asking again
_FINAL_WORDS = ("No matching distribution", "DO NOT MATCH", "Could not find a version", "not a supported wheel")
# Settings of a person's pip that would change what is installed, or where.
_OURS_TO_SAY = {
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_PYTHON",
    "PIP_CONSTRAINT",
    "PIP_REQUIREMENT",
    "PIP_NO_BINARY",
    "PIP_NO_DEPS",
    "PIP_DRY_RUN",
}
_TAG_OF = (
    "import sys, sysconfig, platform; print(platform.python_implementation(), sys.version, sysconfig.get_platform())"
)


@dataclass(frozen=True)
class PipPackages:
    """Fulfils `domain.ports.Packages`.

    Attributes:
        folder: where wheels and environments are kept; other users must be able to enter it.
        python: the interpreter that the packages are for; builds can run it.
        variables: of our environment, what pip needs to reach its registry.
    """

    folder: Path
    python: Path
    variables: Mapping[str, str]

    @classmethod
    def of(cls, installation: Installation) -> "PipPackages":
        """The packages of an installation, kept in `cache` of its state."""
        variables = passed_variables(installation.build_variables or DEFAULT_VARIABLES)
        folder = installation.folder("cache")
        folder.chmod(0o755)
        return cls(folder=folder, python=installation.python, variables=variables)

    def wheels(self, lock: Lock) -> list[Path]:
        if not lock.packages:
            return []
        with self._kept("wheels", lock) as (folder, is_complete):
            if not is_complete:
                self._download(lock, folder)
        return sorted(folder.glob("*.whl"))

    def environment(self, lock: Lock) -> Path:
        wheels = self.wheels(lock)
        with self._kept("environments", lock) as (folder, is_complete):
            if not is_complete:
                self._make_environment(lock, folder, wheels)
        return folder

    def _download(self, lock: Lock, folder: Path) -> None:
        folder.mkdir(parents=True)
        arguments = ["download", "--dest", str(folder), "--cache-dir", str(self.folder / "pip")]
        self._pip(self.python, lock, arguments)

    def _make_environment(self, lock: Lock, folder: Path, wheels: list[Path]) -> None:
        done = subprocess.run(
            [str(self.python), "-m", "venv", "--without-pip", str(folder)],
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
            umask=0o022,
        )
        if done.returncode != 0:
            raise ConfigError(f"{self.python} could not make a virtual environment: {done.stderr.strip()[-256:]}.")
        if wheels:
            # the environment's own python runs pip, and nothing has been installed yet that could run with it
            arguments = ["install", "--no-index", "--find-links", str(wheels[0].parent), "--no-warn-script-location"]
            self._pip(folder / "bin" / "python", lock, arguments)

    def _pip(self, python: Path, lock: Lock, arguments: list[str]) -> None:
        """Run one pip command for a lock; only wheels, only locked bytes, no dependency that the lock does not name."""
        with tempfile.TemporaryDirectory(prefix="slipway-lock-") as folder:
            requirements = Path(folder) / "lock.txt"
            requirements.write_text(lock.text)
            # as the builds themselves: what serves on the same machine comes first
            command = ["nice", "-n", "10", sys.executable, "-m", "pip", "--python", str(python), *arguments]
            command += ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
            command += ["--requirement", str(requirements)]
            try:
                done = subprocess.run(
                    command,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=_LIMIT_S,
                    umask=0o022,
                )
            except subprocess.TimeoutExpired as exc:
                raise TransientError(f"pip {arguments[0]} did not end in {_LIMIT_S} s. Check the registry.") from exc
        if done.returncode != 0:
            raise _explain(arguments[0], done.stderr)

    def _environment(self) -> dict[str, str]:
        ours = {name: os.environ[name] for name in ("HOME", "XDG_CONFIG_HOME") if name in os.environ}
        quiet = {
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            "PIP_REQUIRE_VIRTUALENV": "0",
            "PIP_USER": "0",
        }
        passed = {name: value for name, value in self.variables.items() if name not in _OURS_TO_SAY}
        return clean_environment({**passed, **ours, **quiet})

    @contextmanager
    def _kept(self, kind: str, lock: Lock) -> Generator[tuple[Path, bool]]:
        """Lend the folder of a lock, to be filled in place unless it is complete; one at a time.

        In place, because a virtual environment can't be moved. What a crash or an error left is removed first.
        """
        folder = self.folder / kind / digest_of([lock.text, self._tag])[:32]
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.parent.chmod(0o755)
        with folder.with_suffix(".lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            is_complete = (folder / _COMPLETE).is_file()
            if not is_complete:
                shutil.rmtree(folder, ignore_errors=True)
            yield folder, is_complete
            (folder / _COMPLETE).write_text(f"{self._tag}\n")  # anew each time: its age says when it was last used
            (folder / _COMPLETE).chmod(0o644)
            if not is_complete:
                folder.chmod(0o755)
                _remove_unused(folder.parent)

    @cached_property
    def _tag(self) -> str:
        """What tells one interpreter from another, as far as wheels and environments care."""
        command = [str(self.python), "-I", "-c", _TAG_OF]
        try:
            done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as exc:
            raise ConfigError(
                f"{self.python} does not run: {exc}. Run `slipway up`, which finds one that does."
            ) from exc
        return f"{self.python} {done.stdout.strip()}"


def _remove_unused(folders: Path) -> None:
    """Remove what no build has used for a month, so that the cache stays bounded."""
    oldest = time.time() - _UNUSED_DAYS_MAX * 86_400
    for mark in folders.glob(f"*/{_COMPLETE}"):
        if mark.stat().st_mtime < oldest:
            shutil.rmtree(mark.parent, ignore_errors=True)


def _explain(command: str, words: str) -> ConfigError | TransientError:
    errors = [line.removeprefix("ERROR: ") for line in words.splitlines() if line.startswith("ERROR")]
    said = " ".join(errors or words.strip().splitlines()[-3:])[:400]
    if any(word in words for word in _FINAL_WORDS):
        return ConfigError(
            f"pip {command}: {said} Every locked package needs a wheel for this Python that the registry has; "
            "correct the lock file or the registry (PIP_INDEX_URL)."
        )
    return TransientError(f"pip {command} failed: {said}")
