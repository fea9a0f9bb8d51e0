"""Releases on a target in memory: the twin of `blocks/target_local.py`, for tests of whole flows.

Nothing runs. A test says which releases exist (`add`), how commands end (`answer`), and what happens to what is there.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from domain.errors import ConfigError, InvariantError
from domain.release import Manifest, short
from domain.revision import release_of
from domain.service import Instance, Limits, Outcome, Resized, ServiceSpec


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
        cannot_hold: names of limits that this place can't put in force.
        cpu_used_s: how much of a processor was used, by whatever runs.
    """

    answer: Callable[[Command], Outcome] = _ends_well
    commands: list[Command] = field(default_factory=list[Command])
    state_at_start: str = "running"
    last_words: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    cannot_hold: frozenset[str] = frozenset()
    cpu_used_s: float = 0.0
    ports: Iterator[int] = field(default_factory=lambda: itertools.count(20_000))
    _files: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    _installed: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    _specs: dict[str, ServiceSpec] = field(default_factory=dict[str, ServiceSpec])
    _instances: dict[str, list[Instance]] = field(default_factory=dict[str, list[Instance]])
    _started_as: dict[tuple[str, int], ServiceSpec] = field(default_factory=dict[tuple[str, int], ServiceSpec])

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
        self._specs[spec.release] = spec
        old = {instance.index: instance for instance in self._instances.get(spec.release, [])}
        fresh = itertools.islice(self._unused(spec.release), spec.instances)
        indexes = [*old, *fresh][: spec.instances]
        self._instances[spec.release] = [
            old[index] if self._runs_so(spec, old.get(index)) else self._start_one(spec, index, old.get(index))
            for index in indexes
        ]
        return list(self._instances[spec.release])

    def resize(self, spec: ServiceSpec) -> Resized:
        self._verify(release_of(spec.release))
        self._specs[spec.release] = spec
        old = self._instances.get(spec.release, [])
        wanted = [one for one in old if self._runs_so(spec, one)][: spec.instances]
        fresh = list(itertools.islice(self._unused(spec.release), spec.instances - len(wanted)))
        leaving = [one for one in old if one not in wanted]
        wanted += [self._start_one(spec, index) for index in fresh]
        self._instances[spec.release] = sorted([*wanted, *leaving], key=lambda one: one.index)
        return Resized(tuple(sorted(wanted, key=lambda one: one.index)), tuple(leaving))

    def retire(self, application: str, release: str, indexes: Collection[int], *, drain_s: float) -> None:
        left = [one for one in self._instances.get(release, []) if one.index not in indexes]
        if left:
            self._instances[release] = left
        else:
            self.stop(application, release)

    def stop(self, application: str, release: str) -> None:
        known = [digest for digest in self._instances if short(digest) == short(release)]
        for digest in known:
            if self._specs[digest].application == application:
                del self._instances[digest], self._specs[digest]

    def instances(self, application: str) -> list[Instance]:
        found = [one for instances in self._instances.values() for one in instances if one.application == application]
        return sorted(found, key=lambda instance: (instance.release, instance.index))

    def cpu_seconds(self, application: str, release: str) -> float:
        return self.cpu_used_s if any(one.release == release for one in self.instances(application)) else 0.0

    def all_instances(self) -> list[Instance]:
        """List what runs of every application."""
        return [instance for instances in self._instances.values() for instance in instances]

    def log_tail(self, application: str, release: str, *, lines: int = 40) -> str:
        return "\n".join(self.last_words.get(release, [])[-lines:])

    def _runs_so(self, spec: ServiceSpec, instance: Instance | None) -> bool:
        """Whether an instance is one that the spec wants; how many there are of them says nothing about it."""
        known = self._started_as.get((spec.release, instance.index)) if instance else None
        return known is not None and replace(known, instances=0) == replace(spec, instances=0)

    def _unused(self, release: str) -> Iterator[int]:
        taken = {one.index for one in self._instances.get(release, [])}
        return (index for index in itertools.count() if index not in taken)

    def _start_one(self, spec: ServiceSpec, index: int, old: Instance | None = None) -> Instance:
        self._started_as[spec.release, index] = spec
        held = {name: getattr(spec.limits, name) for name in ("memory_bytes", "cpu_share")}
        return Instance(
            application=spec.application,
            release=spec.release,
            index=index,
            url=old.url if old else f"http://127.0.0.1:{next(self.ports)}",
            state=self.state_at_start,
            pid=10_000 + index,
            since=datetime.now(UTC),
            limits=Limits(**{name: value for name, value in held.items() if name not in self.cannot_hold}),
            weaker=tuple(f"{name}: not here" for name in sorted(self.cannot_hold)),
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
