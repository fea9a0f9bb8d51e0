"""A forge of one's own on this machine: a bare repository whose hook sends what a Gitea server would, and a place to
write commits.

Used by the demo and by tests that need a real push without a server. It holds no policy; the hook's file is handed in.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blocks.identity import clean_environment
from blocks.installation import write_private
from domain.errors import ConfigError

_LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class LocalForge:
    """One repository: bare in `bare`, its commits made in `work`. Branch `main`."""

    bare: Path
    work: Path

    def ensure(self) -> None:
        """Make both where they are missing. What an interrupted commit left in `work` is thrown away.

        Effect: may be repeated; what was pushed stays.
        """
        if not (self.bare / "HEAD").exists():
            shutil.rmtree(self.bare, ignore_errors=True)
            self.bare.parent.mkdir(parents=True, exist_ok=True)
            _git(self.bare.parent, "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        shutil.rmtree(self.work, ignore_errors=True)
        _git(self.bare.parent, "clone", "--quiet", str(self.bare), str(self.work))
        _git(self.work, "symbolic-ref", "HEAD", "refs/heads/main")

    def install_hook(self, script: Path, *, url: str, secret: str, repository: str) -> None:
        """Make the bare repository tell `url` about each push, signed with `secret`, in the name of `owner/name`."""
        settings = {"url": url, "secret": secret, "repository": repository}
        write_private(self.bare / "hook.json", json.dumps(settings))
        hook = self.bare / "hooks" / "post-receive"
        hook.parent.mkdir(exist_ok=True)
        write_private(hook, f"#!{sys.executable} -I\n{script.read_text(encoding='utf-8')}", mode=0o700)

    def has_commits(self) -> bool:
        return _git(self.bare, "for-each-ref", "refs/heads/main").strip() != ""

    def replace_files(self, source: Path, *, keep: str = "") -> bool:
        """Make the work tree equal to the files of the folder `source`; files matching `keep` stay.

        Files that Git ignores there (caches, virtual environments) are left out. Returns whether anything changed.
        """
        for path in _listed(self.work):
            if not (keep and path.match(keep)):
                (self.work / path).unlink(missing_ok=True)
        for path in _listed(source):
            target = self.work / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, target)
        return _git(self.work, "status", "--porcelain").strip() != ""

    def write(self, files: Mapping[str, str]) -> None:
        """Write text files, by path within the repository."""
        for path, text in files.items():
            target = self.work / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")

    def apply(self, patch: Path) -> None:
        """Apply a patch to the work tree. Raises: ConfigError where it does not fit."""
        _git(self.work, "apply", "--whitespace=nowarn", str(patch))

    def commit(self, message: str, *, author: str, email: str) -> str:
        """Commit everything in the work tree; returns the commit's SHA."""
        person = ("-c", f"user.name={author}", "-c", f"user.email={email}", "-c", "commit.gpgsign=false")
        _git(self.work, "add", "--all")
        _git(self.work, *person, "commit", "--quiet", "--allow-empty", "--message", message)
        return _git(self.work, "rev-parse", "HEAD").strip()

    def push(self, *, pusher: str) -> str:
        """Push `main` as `pusher`; returns what the hook said. Raises: ConfigError where Git refused."""
        return _git(self.work, "push", "origin", "HEAD:refs/heads/main", pusher=pusher)


def _listed(folder: Path) -> list[Path]:
    """Name the files of a folder that Git has or would add; all of them where the folder is in no repository."""
    try:
        text = _git(folder, "ls-files", "--cached", "--others", "--exclude-standard", "-z", ".")
    except ConfigError:
        return [path.relative_to(folder) for path in sorted(folder.rglob("*")) if _is_source(path)]
    return [path for name in text.split("\0") if name and (folder / (path := Path(name))).is_file()]


def _is_source(path: Path) -> bool:
    return path.is_file() and not {"__pycache__", ".venv", ".pytest_cache"} & set(path.parts)


def _git(folder: Path, *arguments: str, pusher: str = "") -> str:
    environment = {
        **clean_environment(),
        "HOME": os.environ.get("HOME", "/"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
    if pusher:
        environment["FORGE_PUSHER"] = pusher
    # The work copy may belong to whoever unpacked the project: that is no danger to ourselves.
    command = ["git", "-c", "safe.directory=*", *arguments]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=_LIMIT_S
        )
    except FileNotFoundError as exc:
        raise ConfigError("The command git was not found. Install git.") from exc
    except subprocess.TimeoutExpired as exc:
        raise ConfigError(
            f"git {arguments[0]} in {folder} did not end within {_LIMIT_S} s. Look at that folder."
        ) from exc
    if done.returncode != 0:
        raise ConfigError(f"git {arguments[0]} in {folder} failed: {done.stderr.strip()[-256:]}")
    return done.stdout + (done.stderr if pusher else "")
