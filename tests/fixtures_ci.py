"""What tests of the way from a push to a release share: an installation in a folder, Git repositories, a bare world."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blocks.identity import find_python
from blocks.installation import Installation, Users
from blocks.postgres_server import runnable_binaries

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
    "GIT_AUTHOR_DATE": "2026-01-31T12:00:00+00:00",
    "GIT_COMMITTER_DATE": "2026-01-31T12:00:00+00:00",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def make_installation(state: Path, users: Users, binaries: Path) -> Installation:
    """An installation with users, interpreter and PostgreSQL's programs, but without anything that runs."""
    installation = Installation(
        state=state,
        sockets=state,
        ports={},
        users=users,
        python=find_python(users.build, copy_to=binaries / "python"),
        postgres_bin=runnable_binaries(users.build, copy_to=binaries),
    )
    installation.save()
    return installation


@dataclass(frozen=True)
class Repository:
    """A Git repository with a work tree, for tests to commit to."""

    path: Path

    @classmethod
    def make(cls, path: Path, files: Mapping[str, str | bytes]) -> "Repository":
        path.mkdir(parents=True)
        repository = cls(path)
        repository.git("init", "--quiet", "--initial-branch=main")
        repository.commit(files)
        return repository

    @property
    def url(self) -> str:
        return str(self.path)

    def git(self, *arguments: str, stdin: bytes | None = None) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env={**kept, **IDENTITY}, input=stdin, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    def commit(self, files: Mapping[str, str | bytes], message: str = "change", *, author: str = "") -> str:
        """Write files and commit everything; the commit's SHA."""
        for name, content in files.items():
            place = self.path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all", "--force")
        by = [f"--author={author}"] if author else []
        self.git("commit", "--quiet", "--allow-empty", "--message", message, *by)
        return self.git("rev-parse", "HEAD")

    def commit_tree(self, lines: str) -> str:
        """Commit a tree as `git mktree` reads it, however strange; the commit's SHA, on a branch of its own."""
        tree = self.git("mktree", "--missing", stdin=lines.encode())
        commit = self.git("commit-tree", tree, "-m", "strange")
        self.git("branch", "--force", f"strange-{commit[:8]}", commit)
        return commit

    def blob(self, content: str) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=content.encode())
