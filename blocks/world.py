"""The door from tasks to adapters: names in, ports out.

Tasks take names (`environment: str`) and call `open_world` inside, so that their arguments stay hashable and their
results persist. Tests call `use_world` to put in-memory twins in its place.
"""

from collections.abc import Callable
from typing import Protocol, cast

from domain.backup_retention import Retention
from domain.catalogue import Language
from domain.environment import Environment
from domain.ports import (
    Anchors,
    Applications,
    ApplicationSettings,
    Approvers,
    Balancer,
    BreakGlass,
    Clock,
    CommitStatuses,
    Databases,
    Disk,
    FlowRuns,
    Forge,
    Images,
    Inbox,
    Leases,
    Ledger,
    Notifier,
    ObjectStore,
    Packages,
    Prober,
    Reviews,
    Runner,
    RunRecords,
    Screen,
    Sources,
    Target,
    TrafficMetrics,
    UsageSource,
    UsageStore,
)
from domain.ports_backup import BackupCopies, BackupEngine, Purpose
from domain.ports_capacity import CapacitySettings, HeavyQueries, OutlookStore, Reports
from domain.ports_cleanup import Cleaning
from domain.ports_drill import DrillResults, Fingerprints, ObjectCopies, Scratch
from domain.ports_load import LoadHistory
from domain.ports_recovery import RecoveryRoom
from domain.ports_restore import Restorations


class World(Protocol):
    """Everything outside, by role. Ports open when they are first asked for."""

    @property
    def language(self) -> Language: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def anchors(self) -> Anchors: ...
    @property
    def leases(self) -> Leases: ...
    @property
    def break_glass(self) -> BreakGlass: ...
    @property
    def applications(self) -> Applications: ...
    @property
    def settings(self) -> ApplicationSettings: ...
    @property
    def commit_statuses(self) -> CommitStatuses: ...
    @property
    def reviews(self) -> Reviews: ...
    @property
    def inbox(self) -> Inbox: ...
    @property
    def approvers(self) -> Approvers: ...
    @property
    def notifier(self) -> Notifier: ...
    @property
    def sources(self) -> Sources: ...
    @property
    def runner(self) -> Runner: ...
    @property
    def packages(self) -> Packages: ...
    @property
    def flow_runs(self) -> FlowRuns: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def disk(self) -> Disk: ...
    @property
    def prober(self) -> Prober: ...
    @property
    def run_records(self) -> RunRecords: ...
    @property
    def screen(self) -> Screen: ...
    @property
    def store(self) -> ObjectStore: ...
    @property
    def images(self) -> Images: ...
    @property
    def databases(self) -> Databases: ...
    @property
    def load_history(self) -> LoadHistory: ...
    @property
    def backup_copies(self) -> BackupCopies: ...
    @property
    def retention(self) -> Retention: ...
    @property
    def fingerprints(self) -> Fingerprints: ...
    @property
    def scratch(self) -> Scratch: ...
    @property
    def object_copies(self) -> ObjectCopies: ...
    @property
    def restorations(self) -> Restorations: ...
    @property
    def recovery_room(self) -> RecoveryRoom: ...
    @property
    def drill_results(self) -> DrillResults: ...
    @property
    def cleaning(self) -> Cleaning: ...
    @property
    def usage_store(self) -> UsageStore: ...
    @property
    def outlooks(self) -> OutlookStore: ...
    @property
    def capacity(self) -> CapacitySettings: ...
    @property
    def heavy_queries(self) -> HeavyQueries: ...
    @property
    def reports(self) -> Reports: ...

    def usage_sources(self) -> list[UsageSource]: ...
    def keep_copies(self) -> None: ...
    def backup_engine(self, purpose: Purpose) -> BackupEngine: ...
    def forge(self, name: str) -> Forge: ...
    def environment(self, name: str) -> Environment: ...
    def environments(self) -> list[Environment]: ...
    def target(self, environment: str, site: str) -> Target: ...
    def balancer(self, environment: str, site: str) -> Balancer: ...
    def metrics(self, environment: str, site: str) -> TrafficMetrics: ...


_opener: Callable[[], World] | None = None


def use_world(opener: Callable[[], World] | None) -> None:
    """Replace the world that `open_world` opens; None brings the real one back. For tests."""
    global _opener
    _opener = opener


def open_world() -> World:
    """Open the world of this process: the installation's, unless a test put another in its place."""
    if _opener is not None:
        return _opener()
    from blocks.embedded_world import EmbeddedWorld

    # cast: the checker does not take a cached_property for the property of a protocol
    return cast(World, EmbeddedWorld.open())
