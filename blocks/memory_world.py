"""A whole world in memory: every role played by its twin, so that whole flows run without one real part.

Tests put it in place with `blocks.world.use_world`. Sites have users: each reading of a site's counters stands for one
second of requests, spread over the releases as the balancer's shares say, answered as `behaviour` says.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from blocks.clock import MemoryClock
from blocks.disk import MemoryDisk
from blocks.memory_anchors import MemoryAnchors
from blocks.memory_application_settings import MemoryApplicationSettings
from blocks.memory_applications import MemoryApplications
from blocks.memory_approvers import MemoryApprovers
from blocks.memory_backup_copies import MemoryBackupCopies
from blocks.memory_backup_engine import MemoryBackupEngine
from blocks.memory_balancer import MemoryBalancer, MemoryMetrics
from blocks.memory_break_glass import MemoryBreakGlass
from blocks.memory_capacity import (
    MemoryCapacityFile,
    MemoryHeavyQueries,
    MemoryOutlookStore,
    MemoryReports,
)
from blocks.memory_cleaning import MemoryCleaning
from blocks.memory_commit_statuses import MemoryCommitStatuses
from blocks.memory_databases import MemoryDatabases
from blocks.memory_drill import MemoryDrillResults, MemoryFingerprints, MemoryObjectCopies, MemoryScratch
from blocks.memory_flow_runs import MemoryFlowRuns
from blocks.memory_images import MemoryImages
from blocks.memory_inbox import MemoryInbox
from blocks.memory_leases import MemoryLeases
from blocks.memory_ledger import MemoryLedger
from blocks.memory_load_history import MemoryLoadHistory
from blocks.memory_notifier import MemoryNotifier
from blocks.memory_packages import MemoryPackages
from blocks.memory_recovery_room import MemoryRecoveryRoom
from blocks.memory_restorations import MemoryRestorations
from blocks.memory_reviews import MemoryReviews
from blocks.memory_run_records import MemoryRunRecords
from blocks.memory_runner import MemoryRunner
from blocks.memory_screen import MemoryScreen
from blocks.memory_sources import MemorySources
from blocks.memory_store import MemoryObjectStore
from blocks.memory_target import MemoryTarget
from blocks.memory_usage_store import MemoryUsageStore
from domain.backup_retention import Retention
from domain.catalogue import Language
from domain.environment import Environment, Site
from domain.errors import ConfigError
from domain.ports import Forge, UsageSource
from domain.ports_backup import Purpose
from domain.service import Probe
from domain.traffic import Counters


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a release answers its users: every `fails_every`-th request with 500 (0: none), after so many seconds."""

    fails_every: int = 0
    seconds: float = 0.004


class MemorySite:
    """One site: where releases run, who has which share, and what users got."""

    def __init__(self, users_per_s: int, behaviour: Mapping[str, Behaviour]) -> None:
        self.target = MemoryTarget()
        self.balancer = MemoryBalancer()
        self.metrics = UsedMetrics(self.balancer, users_per_s, behaviour)


class UsedMetrics(MemoryMetrics):
    """Counters that grow by one second of requests at each reading."""

    def __init__(self, balancer: MemoryBalancer, users_per_s: int, behaviour: Mapping[str, Behaviour]) -> None:
        super().__init__()
        self.users_per_s = users_per_s
        self._balancer = balancer
        self._behaviour = behaviour
        self._answered: dict[str, int] = {}

    def read(self, application: str) -> dict[str, Counters]:
        for release, times in self._balancer.send(application, times=self.users_per_s).items():
            behaviour = self._behaviour.get(release, Behaviour())
            for _ in range(times):
                self._answered[release] = count = self._answered.get(release, 0) + 1
                failed = behaviour.fails_every and count % behaviour.fails_every == 0
                self.observe(application, release, status=500 if failed else 200, seconds=behaviour.seconds)
        return super().read(application)


class MemoryProber:
    """Fulfils `domain.ports.Prober`: an instance that runs answers 200, an entry with traffic as well."""

    def __init__(self, sites: Mapping[tuple[str, str], MemorySite]) -> None:
        self._sites = sites

    def probe(self, url: str, host: str | None = None, timeout_s: float = 5) -> Probe:
        name = (host or "").removesuffix(".localhost")
        for site in self._sites.values():
            if name and url.startswith(site.balancer.url) and any(a.weight_percent for a in site.balancer.routes(name)):
                return Probe(url, 200, 0.001)
            instances = site.target.all_instances()
            if any(url.startswith(f"{i.url}/") and i.state == "running" for i in instances):
                return Probe(url, 200, 0.001)
        return Probe(url, 0, 0.0, "connection refused")


def _environment(name: str, sites: tuple[tuple[str, str], ...], **settings: bool | str) -> Environment:
    return Environment(
        name=name,
        sites=tuple(
            Site(name=site, role=role, target="memory/x", balancer="memory/x", metrics="memory/x")  # pyright: ignore[reportArgumentType]
            for site, role in sites
        ),
        **settings,  # pyright: ignore[reportArgumentType]
    )


ENVIRONMENTS = (
    _environment("test", (("main", "primary"),)),
    _environment("staging", (("main", "primary"),)),
    _environment("production", (("alpha", "primary"), ("beta", "standby")), entry="canary", approval=True),
)


@dataclass
class MemoryWorld:
    """Fulfils `blocks.world.World` for tests; `behaviour` says by digest how releases answer their users."""

    language: Language = "en"
    users_per_s: int = 200
    behaviour: dict[str, Behaviour] = field(default_factory=dict[str, Behaviour])
    clock: MemoryClock = field(default_factory=MemoryClock)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    anchors: MemoryAnchors = field(default_factory=MemoryAnchors)
    leases: MemoryLeases = field(default_factory=MemoryLeases)
    break_glass: MemoryBreakGlass = field(default_factory=MemoryBreakGlass)
    applications: MemoryApplications = field(default_factory=MemoryApplications)
    settings: MemoryApplicationSettings = field(default_factory=MemoryApplicationSettings)
    commit_statuses: MemoryCommitStatuses = field(default_factory=MemoryCommitStatuses)
    reviews: MemoryReviews = field(default_factory=MemoryReviews)
    inbox: MemoryInbox = field(default_factory=MemoryInbox)
    approvers: MemoryApprovers = field(default_factory=lambda: MemoryApprovers(lambda: datetime.now(UTC)))
    notifier: MemoryNotifier = field(default_factory=MemoryNotifier)
    sources: MemorySources = field(default_factory=MemorySources)
    runner: MemoryRunner = field(default_factory=MemoryRunner)
    packages: MemoryPackages = field(default_factory=lambda: MemoryPackages(Path(tempfile.mkdtemp())))
    flow_runs: MemoryFlowRuns = field(default_factory=MemoryFlowRuns)
    run_records: MemoryRunRecords = field(default_factory=MemoryRunRecords)
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    screen: MemoryScreen = field(default_factory=MemoryScreen)
    store: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    images: MemoryImages = field(default_factory=MemoryImages)
    databases: MemoryDatabases = field(default_factory=MemoryDatabases)
    load_history: MemoryLoadHistory = field(default_factory=MemoryLoadHistory)
    backup_copies: MemoryBackupCopies = field(default_factory=MemoryBackupCopies)
    backups: MemoryBackupEngine = field(default_factory=MemoryBackupEngine)
    retention: Retention = field(default_factory=Retention)

    scratch: MemoryScratch = field(default_factory=MemoryScratch)
    object_copies: MemoryObjectCopies = field(default_factory=MemoryObjectCopies)
    recovery_room: MemoryRecoveryRoom = field(default_factory=MemoryRecoveryRoom)
    drill_results: MemoryDrillResults = field(default_factory=MemoryDrillResults)
    cleaning: MemoryCleaning = field(default_factory=MemoryCleaning)
    usage_store: MemoryUsageStore = field(default_factory=MemoryUsageStore)
    outlooks: MemoryOutlookStore = field(default_factory=MemoryOutlookStore)
    capacity: MemoryCapacityFile = field(default_factory=MemoryCapacityFile)
    heavy_queries: MemoryHeavyQueries = field(default_factory=MemoryHeavyQueries)
    reports: MemoryReports = field(default_factory=MemoryReports)
    measuring: list[UsageSource] = field(default_factory=list[UsageSource])

    def __post_init__(self) -> None:
        self.fingerprints = MemoryFingerprints(self.backups.server)
        self.restorations = MemoryRestorations(self.backups.server, self.scratch)
        places = [(environment.name, site.name) for environment in ENVIRONMENTS for site in environment.sites]
        self.sites = {place: MemorySite(self.users_per_s, self.behaviour) for place in places}
        for number, site in enumerate(self.sites.values(), start=1):
            site.balancer.url = f"http://entry-{number}"
        self.prober = MemoryProber(self.sites)

    def usage_sources(self) -> list[UsageSource]:
        return self.measuring

    def keep_copies(self) -> None:
        """What is in memory is all there is."""

    def backup_engine(self, purpose: Purpose) -> MemoryBackupEngine:
        return self.backups

    def forge(self, name: str) -> Forge:
        raise ConfigError(f"No forge named '{name}' in memory.")

    def environment(self, name: str) -> Environment:
        for environment in ENVIRONMENTS:
            if environment.name == name:
                return environment
        names = ", ".join(environment.name for environment in ENVIRONMENTS)
        raise ConfigError(f"No environment named '{name}'. Use one of: {names}.")

    def environments(self) -> list[Environment]:
        return list(ENVIRONMENTS)

    def target(self, environment: str, site: str) -> MemoryTarget:
        return self.sites[environment, site].target

    def balancer(self, environment: str, site: str) -> MemoryBalancer:
        return self.sites[environment, site].balancer

    def metrics(self, environment: str, site: str) -> MemoryMetrics:
        return self.sites[environment, site].metrics
