"""The world for the hour in which Prefect, or the ledger's database, does not answer: this machine's files alone.

Opened by `slipway rollback --break-glass`. The ledger is a journal on top of the kept facts, people are verified by
their sealed copy, targets and load balancers are opened without Prefect, with the settings that they come with.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from blocks.balancer_traefik import TraefikBalancer
from blocks.break_glass_files import FOLDER, FileBreakGlass
from blocks.databases_postgres import PostgresDatabases
from blocks.embedded_world import EmbeddedWorld
from blocks.installation import Installation
from blocks.kept_facts import pinned_event
from blocks.kept_specs import KeptSpecs
from blocks.local_releases import LocalReleases
from blocks.notifier_mailbox import MailboxNotifier
from blocks.store_s3 import S3ObjectStore
from blocks.target_local import LocalTarget
from blocks.unknown_settings import UnknownSettings
from domain.entries import select_entries
from domain.errors import ConfigError, SlipwayError
from domain.ledger import GENESIS, Entry, Event, Link
from domain.ports import (
    ApplicationSettings,
    Approvers,
    Balancer,
    BreakGlass,
    Databases,
    Ledger,
    Notifier,
    ObjectStore,
    Target,
)
from domain.release import Manifest
from domain.service import Instance, Outcome, Resized, ServiceSpec


class EmergencyWorld(EmbeddedWorld):
    """Fulfils `blocks.world.World` as far as a rollback needs it. `run` names the act and its journal."""

    def __init__(self, installation: Installation, run: str) -> None:
        super().__init__(installation)
        self.run = run

    @cached_property
    def break_glass(self) -> BreakGlass:
        return _OurHands(self.installation.state / FOLDER)

    @cached_property
    def ledger(self) -> Ledger:
        return _JournaledLedger(self, self.break_glass.journal(self.run))

    @cached_property
    def approvers(self) -> Approvers:
        return self.kept_people

    @cached_property
    def settings(self) -> ApplicationSettings:
        return UnknownSettings()

    @cached_property
    def notifier(self) -> Notifier:
        return MailboxNotifier(state=str(self.installation.state))

    @cached_property
    def store(self) -> ObjectStore:
        return S3ObjectStore(state=str(self.installation.state))

    @cached_property
    def databases(self) -> Databases:
        return PostgresDatabases(state=str(self.installation.state))

    def target(self, environment: str, site: str) -> Target:
        self._refuse_other(self._site(environment, site).target, "slipway-local-target")
        return _EmergencyTarget(LocalTarget(environment=environment, site=site, state=str(self.installation.state)))

    def balancer(self, environment: str, site: str) -> Balancer:
        self._refuse_other(self._site(environment, site).balancer, "slipway-traefik-balancer")
        return TraefikBalancer(environment=environment, site=site, state=str(self.installation.state))

    def _refuse_other(self, reference: str, slug: str) -> None:
        if reference.partition("/")[0] != slug:
            raise ConfigError(
                f"Break-glass can't open '{reference}' without Prefect; it knows {slug} only. "
                "Bring Prefect back (`slipway up`), or move that site's traffic by its own tools."
            )


class _OurHands(FileBreakGlass):
    """The marks and journals; our own effects need no guard, since we hold the environment alone."""

    @contextmanager
    def guarded(self, application: str, environment: str, *, run: str) -> Generator[None]:
        yield


class _JournaledLedger:
    """Fulfils `domain.ports.Ledger`: reads what is installed, the kept facts and the journals; writes the journal."""

    def __init__(self, world: EmergencyWorld, journal: Ledger) -> None:
        self._world = world
        self._journal = journal

    def append(self, event: Event) -> Entry:
        return self._journal.append(event)

    def entries(
        self,
        *,
        kinds: Collection[str] = (),
        application: str = "",
        environment: str = "",
        release: str = "",
        run: str = "",
        after: int = 0,
        limit: int = 10_000,
        newest_first: bool = False,
    ) -> list[Entry]:
        return select_entries(
            self._all(),
            kinds=kinds,
            application=application,
            environment=environment,
            release=release,
            run=run,
            after=after,
            limit=limit,
            newest_first=newest_first,
        )

    def links(self) -> Generator[Link]:
        yield from self._journal.links()

    def _all(self) -> list[Entry]:
        """Everything known, numbered as it comes: installed releases, the copy of the ledger, journals by age."""
        facts = self._world.kept_facts.entries()
        oldest = facts[0].at if facts else self._world.clock.now()
        pinned = [Entry(0, oldest, pinned_event(one), GENESIS, GENESIS) for one in self._installed()]
        glass = self._world.break_glass
        journals = [entry for run in glass.unsettled() for entry in glass.journal(run).entries()]
        return [replace(entry, seq=number) for number, entry in enumerate([*pinned, *facts, *journals], start=1)]

    def _installed(self) -> list[Manifest]:
        releases = LocalReleases(self._world.installation, open_store=lambda: self._world.store)
        found: list[Manifest] = []
        for path in sorted((self._world.installation.state / "releases").glob("*.json")):
            if len(path.stem) == 64:  # others are records of environments beside a release
                try:
                    found.append(releases.manifest_of(path.stem))
                except SlipwayError:
                    continue  # a damaged record is no release to go back to
        return found


@dataclass(frozen=True, slots=True)
class _EmergencyTarget:
    """Fulfils `domain.ports.Target`: a release starts again as it was started last, whatever can't be asked now."""

    inner: LocalTarget

    def prepare(self, manifest: Manifest) -> None:
        self.inner.prepare(manifest)

    def verify(self, manifest: Manifest) -> None:
        self.inner.verify(manifest)

    def read_file(self, manifest: Manifest, path: str) -> str:
        return self.inner.read_file(manifest, path)

    def run(
        self,
        manifest: Manifest,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        limit_s: float,
        requirements: str | None = None,
    ) -> Outcome:
        return self.inner.run(manifest, command, environment=environment, limit_s=limit_s, requirements=requirements)

    def start(self, spec: ServiceSpec) -> list[Instance]:
        place = f"{self.inner.environment}-{self.inner.site}"
        kept = KeptSpecs(self.inner.installation).read(place, spec.application, spec.release)
        # as many as the environment was scaled to since, also where this release was ended before
        return self.inner.start(replace(kept, instances=spec.instances) if kept else spec)

    def resize(self, spec: ServiceSpec) -> Resized:
        return self.inner.resize(spec)

    def retire(self, application: str, release: str, indexes: Collection[int], *, drain_s: float) -> None:
        self.inner.retire(application, release, indexes, drain_s=drain_s)

    def stop(self, application: str, release: str) -> None:
        self.inner.stop(application, release)

    def instances(self, application: str) -> list[Instance]:
        return self.inner.instances(application)

    def cpu_seconds(self, application: str, release: str) -> float:
        return self.inner.cpu_seconds(application, release)

    def log_tail(self, application: str, release: str, *, lines: int = 40) -> str:
        """Nothing: without the database nobody can tell which words of it are secrets."""
        return "(read its log in STATE/logs/instances)"
