"""Git repositories in memory: the twin of `blocks/sources_git.py`."""

from dataclasses import dataclass, field
from pathlib import Path

from blocks.confinement import write_new_file
from domain.delivery import Commit
from domain.errors import ConfigError, TransientError


@dataclass(frozen=True, slots=True)
class MemoryCommit:
    """A commit: its files by path, and the commit before it."""

    commit: Commit
    files: dict[str, bytes]
    parent: str | None = None
    time: int = 1_700_000_000


@dataclass(slots=True)
class MemoryRepository:
    """A repository at a URL: commits by SHA, branches by name."""

    commits: dict[str, MemoryCommit] = field(default_factory=dict[str, MemoryCommit])
    branches: dict[str, str] = field(default_factory=dict[str, str])


class MemorySources:
    """Fulfils `domain.ports.Sources` for tests; put repositories into `repositories` by their URL."""

    def __init__(self) -> None:
        self.repositories: dict[str, MemoryRepository] = {}
        self._mirrors: dict[str, MemoryRepository] = {}

    def fetch(self, application: str, url: str) -> None:
        if url not in self.repositories:
            raise TransientError(f"git could not fetch {url}: there is none. Check the URL and who may read it.")
        remote = self.repositories[url]
        self._mirrors[application] = MemoryRepository(dict(remote.commits), dict(remote.branches))

    def checkout(self, application: str, commit: str, directory: Path) -> None:
        found = self._commit(application, commit)
        directory.mkdir(parents=True)
        for path, content in found.files.items():
            write_new_file(directory, path, [content], executable=False)

    def commits(self, application: str, *, base: str | None, head: str, limit: int = 50) -> list[Commit]:
        self._commit(application, head)
        before = set(self._ancestry(application, base)) if base else set[str]()
        reached = [sha for sha in self._ancestry(application, head) if sha not in before]
        return [self._mirrors[application].commits[sha].commit for sha in reached[:limit]]

    def people(self, application: str, *, base: str | None, head: str) -> frozenset[str]:
        listed = self.commits(application, base=base, head=head, limit=len(self._mirrors[application].commits))
        return frozenset(name for commit in listed for name in commit.people)

    def is_ancestor(self, application: str, older: str, newer: str) -> bool:
        known = self._mirrors.get(application)
        return known is not None and older in known.commits and older in self._ancestry(application, newer)

    def commit_time(self, application: str, commit: str) -> int:
        return self._commit(application, commit).time

    def head(self, application: str, branch: str) -> str:
        branches = self._mirror(application).branches
        if branch not in branches:
            known = ", ".join(branches) or "none yet"
            raise ConfigError(f"No branch '{branch}' in the repository of {application}. Branches: {known}.")
        return branches[branch]

    def _mirror(self, application: str) -> MemoryRepository:
        if application not in self._mirrors:
            raise ConfigError(f"There is no mirror of {application} yet. Fetch it first.")
        return self._mirrors[application]

    def _commit(self, application: str, commit: str) -> MemoryCommit:
        commits = self._mirror(application).commits
        if commit not in commits:
            raise ConfigError(
                f"The repository of {application} has no commit {commit}. Push it to a branch, or check the SHA."
            )
        return commits[commit]

    def _ancestry(self, application: str, sha: str | None) -> list[str]:
        commits, found = self._mirrors[application].commits, list[str]()
        while sha is not None and sha in commits:
            found.append(sha)
            sha = commits[sha].parent
        return found
