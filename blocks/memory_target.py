"""Releases on a target in memory: the twin of `blocks/target_local.py`, for tests of whole flows.

Nothing runs. A test says which releases exist (`add`), how commands end (`answer`), and what happens to what is there.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from domain.errors import ConfigError, InvariantError
from domain.release import Manifest, short
from domain.revision import release_of
from domain.service import Instance, Outcome, ServiceSpec


@dataclass(frozen=True, slots=True)
class Command:
    """A one-off command as it was run."""

    release: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    requirements: str | None


def _ends_well(command: Command) -> Outcome:
    return Outcome(exit_code=0, seconds=0.01)


@dataclass(slots=True)
class MemoryTarget:
    """Fulfils `domain.ports.Target`.

    Attributes:
        answer: how a one-off command ends.
        commands: the commands that were run.
        state_at_start: what new instances are: `running`, or `failed` for a release that never gets healthy.
        last_words: what instances wrote, by digest.
    """

    answer: Callable[[Command], Outcome] = _ends_well
    commands: list[Command] = field(default_factory=list[Command])
    state_at_start: str = "running"
    last_words: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    ports: Iterator[int] = field(default_factory=lambda: itertools.count(20_000))
    _files: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    _installed: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    _specs: dict[str, ServiceSpec] = field(default_factory=dict[str, ServiceSpec])
    _instances: dict[str, list[Instance]] = field(default_factory=dict[str, list[Instance]])

    def add(self, manifest: Manifest, files: Mapping[str, str]) -> None:
        """Let a release exist, with the text files of its source."""
        self._files[manifest.digest] = dict(files)

    def tamper(self, release: str, path: str, text: str = "changed") -> None:
        """Change a file of an installed release."""
        self._installed[release][path] = text

    def kill(self, release: str, index: int) -> None:
        """Let an instance die; like every instance, it comes back at once, as another process."""
        old = self._instances[release][index]
        self._instances[release][index] = replace(old, pid=(old.pid or 0) + 1, since=datetime.now(UTC))

    def prepare(self, manifest: Manifest) -> None:
        if manifest.digest not in self._files:
            raise ConfigError(f"Could not fetch the bundle of {short(manifest.digest)}: there is no such object.")
        self._installed.setdefault(manifest.digest, dict(self._files[manifest.digest]))

    def verify(self, manifest: Manifest) -> None:
        self._verify(manifest.digest)

    def read_file(self, manifest: Manifest, path: str) -> str:
        files = self._need(manifest.digest)
        if path not in files:
            raise ConfigError(f"Release {short(manifest.digest)} has no text file '{path}'. Commit it.")
        return files[path]

    def run(
        self,
        manifest: Manifest,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        limit_s: float,
        requirements: str | None = None,
    ) -> Outcome:
        self._verify(manifest.digest)
        if requirements is not None:
            self.read_file(manifest, requirements)
        self.commands.append(Command(manifest.digest, tuple(command), dict(environment), requirements))
        return self.answer(self.commands[-1])

    def start(self, spec: ServiceSpec) -> list[Instance]:
        self._verify(release_of(spec.release))
        if self._specs.get(spec.release) != spec:
            old = {instance.index: instance.url for instance in self._instances.get(spec.release, [])}
            self._specs[spec.release] = spec
            self._instances[spec.release] = [
                self._start_one(spec, index, url=old.get(index)) for index in range(spec.instances)
            ]
        return list(self._instances[spec.release])

    def stop(self, application: str, release: str) -> None:
        known = [digest for digest in self._instances if short(digest) == short(release)]
        for digest in known:
            if self._specs[digest].application == application:
                del self._instances[digest], self._specs[digest]

    def instances(self, application: str) -> list[Instance]:
        found = [one for instances in self._instances.values() for one in instances if one.application == application]
        return sorted(found, key=lambda instance: (instance.release, instance.index))

    def all_instances(self) -> list[Instance]:
        """List what runs of every application."""
        return [instance for instances in self._instances.values() for instance in instances]

    def log_tail(self, application: str, release: str, *, lines: int = 40) -> str:
        return "\n".join(self.last_words.get(release, [])[-lines:])

    def _start_one(self, spec: ServiceSpec, index: int, *, url: str | None) -> Instance:
        return Instance(
            application=spec.application,
            release=spec.release,
            index=index,
            url=url or f"http://127.0.0.1:{next(self.ports)}",
            state=self.state_at_start,
            pid=10_000 + index,
            since=datetime.now(UTC),
        )

    def _need(self, release: str) -> dict[str, str]:
        if release not in self._installed:
            raise ConfigError(f"Release {short(release)} is not on this machine. Prepare it first.")
        return self._installed[release]

    def _verify(self, release: str) -> None:
        found, expected = self._need(release), self._files[release]
        changed = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
        if changed:
            raise InvariantError(f"Release {short(release)} is not what was pinned: source/{changed[0]} was changed.")
