"""The real world of one installation: ports opened from its files, its databases and its Prefect blocks.

What must work while Prefect is away (the door's inbox, the ledger, the approvers) is opened from the installation
alone. What a team may exchange or tune (targets, load balancers, metrics, notifier, store, runner) is a Prefect block
that an environment names; an edit in the UI takes effect once it was accepted on this machine (`blocks/accepted.py`).
"""

from functools import cache, cached_property
from typing import Any, cast

import yaml
from prefect.blocks.core import Block
from pydantic import ValidationError

from blocks import http_probe
from blocks.accepted import load_accepted
from blocks.application_settings_postgres import PostgresApplicationSettings
from blocks.applications_postgres import PostgresApplications
from blocks.break_glass_files import FOLDER as BREAK_GLASS
from blocks.break_glass_files import FileBreakGlass
from blocks.clock import SystemClock
from blocks.disk import LocalDisk
from blocks.inbox_postgres import PostgresInbox
from blocks.installation import Installation, read_installation
from blocks.kept_facts import KeepingLedger, KeptFacts
from blocks.kept_people import KeepingApprovers, KeptPeople
from blocks.leases_postgres import PostgresLeases
from blocks.load_history_postgres import PostgresLoadHistory
from blocks.postgres_session import PostgresSession, ledger_session
from blocks.seal import SEAL_SECRET, Seal, read_seal
from blocks.settings_seal import open_settings_seal
from domain.backup_retention import Retention, read_retention
from domain.break_glass import FACT_KINDS
from domain.catalogue import Language
from domain.environment import Environment
from domain.errors import ConfigError
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
from domain.revision import release_of

_opened: "EmbeddedWorld | None" = None


class EmbeddedWorld:
    """Fulfils `blocks.world.World` for an installation."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    @classmethod
    def open(cls) -> "EmbeddedWorld":
        """Open the world of this process's installation, once."""
        global _opened
        installation = read_installation()
        if _opened is None or _opened.installation is not installation:
            _opened = cls(installation)
        return _opened

    @property
    def language(self) -> Language:
        return self.installation.language

    @cached_property
    def _session(self) -> PostgresSession:
        return ledger_session(self.installation)

    def close(self) -> None:
        """Close what is open; it opens again when it is used again."""
        self._session.close()

    @cached_property
    def _seal(self) -> Seal:
        return read_seal(SEAL_SECRET, state=self.installation.state)

    @cached_property
    def ledger(self) -> Ledger:
        return KeepingLedger(self._session, self.kept_facts)

    @cached_property
    def anchors(self) -> Anchors:
        from blocks.anchors_s3 import open_anchors

        return open_anchors(self.installation)

    @cached_property
    def leases(self) -> Leases:
        return PostgresLeases(self._session)

    @cached_property
    def break_glass(self) -> BreakGlass:
        return FileBreakGlass(self.installation.state / BREAK_GLASS)

    @cached_property
    def applications(self) -> Applications:
        return PostgresApplications(self._session, lambda: self._seal)

    @cached_property
    def settings(self) -> ApplicationSettings:
        state = self.installation.state
        return PostgresApplicationSettings(
            self._session, lambda environment: open_settings_seal(environment, state=state)
        )

    @cached_property
    def commit_statuses(self) -> CommitStatuses:
        from blocks.commit_statuses_http import HttpCommitStatuses

        return HttpCommitStatuses()

    @cached_property
    def reviews(self) -> Reviews:
        from blocks.reviews_http import HttpReviews

        return HttpReviews()

    @cached_property
    def inbox(self) -> Inbox:
        return PostgresInbox(self._session)

    @cached_property
    def approvers(self) -> Approvers:
        return KeepingApprovers(self._session, self._seal, self.kept_people)

    @cached_property
    def kept_facts(self) -> KeptFacts:
        """The copy of the ledger that break-glass reads."""
        return KeptFacts(self.installation.state / BREAK_GLASS / "facts.jsonl", FACT_KINDS)

    @cached_property
    def kept_people(self) -> KeptPeople:
        """The sealed copy of the approvers that break-glass reads."""
        return KeptPeople(self.installation.state / BREAK_GLASS, self._seal)

    def keep_copies(self) -> None:
        """Write anew what break-glass reads. Raises: TransientError where PostgreSQL is away."""
        KeepingApprovers(self._session, self._seal, self.kept_people).keep_copy()
        self.kept_facts.replace(self.ledger.entries(kinds=FACT_KINDS, limit=100_000))

    @cached_property
    def notifier(self) -> Notifier:
        from blocks.notifier_mailbox import open_notifier

        return open_notifier(self.installation)

    @cached_property
    def clock(self) -> Clock:
        return SystemClock()

    @property
    def disk(self) -> Disk:
        # a folder in it: the general worker's own view of the state folder itself lies in memory
        return LocalDisk(self.installation.folder("work"), self.installation.disk_free_bytes_min)

    @property
    def prober(self) -> Prober:
        return http_probe

    @cached_property
    def run_records(self) -> RunRecords:
        from blocks.run_records_prefect import PrefectRunRecords

        return PrefectRunRecords(self.installation.prefect_ui_url)

    @cached_property
    def screen(self) -> Screen:
        from blocks.screen_prefect import PrefectScreen

        return PrefectScreen()

    @cached_property
    def sources(self) -> Sources:
        return cast(Sources, _load("slipway-git-sources/main"))

    @cached_property
    def runner(self) -> Runner:
        return cast(Runner, _load("slipway-local-runner/main"))

    @cached_property
    def packages(self) -> Packages:
        from blocks.packages_pip import PipPackages

        return PipPackages.of(self.installation)

    @cached_property
    def flow_runs(self) -> FlowRuns:
        from blocks.flow_runs_prefect import PrefectFlowRuns

        return PrefectFlowRuns()

    @cached_property
    def store(self) -> ObjectStore:
        return cast(ObjectStore, _load("slipway-s3-object-store/main"))

    @cached_property
    def images(self) -> Images:
        return cast(Images, _load("slipway-docker-images/main"))

    @cached_property
    def databases(self) -> Databases:
        return cast(Databases, _load("slipway-postgres-databases/main"))

    @cached_property
    def load_history(self) -> LoadHistory:
        return PostgresLoadHistory(self._session)

    @cached_property
    def backup_copies(self) -> BackupCopies:
        from blocks.embedded_backups import open_copies

        return open_copies(self.installation)

    @cached_property
    def retention(self) -> Retention:
        return read_retention(self.installation.backup_keep)

    @cached_property
    def fingerprints(self) -> Fingerprints:
        from blocks.embedded_drills import open_fingerprints

        return open_fingerprints(self.installation)

    @cached_property
    def scratch(self) -> Scratch:
        from blocks.embedded_drills import open_scratch

        return open_scratch(self.installation, lambda: self.packages)

    @cached_property
    def object_copies(self) -> ObjectCopies:
        from blocks.embedded_drills import open_object_copies

        return open_object_copies(self.installation)

    @cached_property
    def restorations(self) -> Restorations:
        from blocks.embedded_restores import open_restorations

        return open_restorations(self.installation, lambda: self.databases)

    @cached_property
    def recovery_room(self) -> RecoveryRoom:
        from blocks.embedded_drills import open_recovery_room

        return open_recovery_room(self.installation)

    @cached_property
    def drill_results(self) -> DrillResults:
        from blocks.embedded_drills import open_results

        return open_results(self.installation)

    def backup_engine(self, purpose: Purpose) -> BackupEngine:
        from blocks.embedded_backups import open_engine

        return open_engine(self.installation, purpose)

    @cached_property
    def cleaning(self) -> Cleaning:
        from blocks.embedded_cleaning import EmbeddedCleaning

        made = EmbeddedCleaning(
            self.installation, self.databases, self.packages, self.ledger, self._running, lambda: self.images
        )
        return cast(Cleaning, made)

    def _running(self) -> dict[str, str]:
        """Where each digest runs, of every application and site."""
        return {
            release_of(instance.release): f"{environment.name}/{site.name}"
            for environment in self.environments()
            for site in environment.sites
            for application in self.applications.list()
            for instance in self.target(environment.name, site.name).instances(application.name)
        }

    @cached_property
    def usage_store(self) -> UsageStore:
        from blocks.usage_store_postgres import PostgresUsageStore

        return PostgresUsageStore(self._session)

    @cached_property
    def outlooks(self) -> OutlookStore:
        from blocks.outlook_store_postgres import PostgresOutlookStore

        return PostgresOutlookStore(self._session)

    @cached_property
    def capacity(self) -> CapacitySettings:
        from blocks.capacity_file import FILE, CapacityFile

        return CapacityFile(self.installation.state / FILE)

    def usage_sources(self) -> list[UsageSource]:
        from blocks.usage_sources import open_sources

        return open_sources(self.capacity.read(), self.installation, self.environments)

    @property
    def heavy_queries(self) -> HeavyQueries:
        from blocks.heavy_queries_postgres import PostgresHeavyQueries
        from blocks.usage_sources import postgres_url
        from domain.capacity import PostgresSource

        servers = {
            source.owner: postgres_url(source, self.installation)
            for source in self.capacity.read().sources
            if isinstance(source, PostgresSource)
        }
        return PostgresHeavyQueries(servers)

    @cached_property
    def reports(self) -> Reports:
        from blocks.report_files import FOLDER, ReportFiles

        return ReportFiles(self.installation.state / FOLDER)

    def forge(self, name: str) -> Forge:
        from blocks.forge_gitea import GiteaForge
        from blocks.forge_github import GitHubForge

        forges: dict[str, type[Forge]] = {"gitea": GiteaForge, "github": GitHubForge}
        if name not in forges:
            raise ConfigError(f"No forge named '{name}'. Use one of: {', '.join(sorted(forges))}.")
        return forges[name]()

    def environments(self) -> list[Environment]:
        """Read every environment of the installation, in the order in which releases take them."""
        order = {name: place for place, name in enumerate(("development", "test", "staging", "production"))}
        found = [
            self._read_environment(path.stem) for path in (self.installation.state / "environments").glob("*.yaml")
        ]
        return sorted(found, key=lambda environment: (order.get(environment.name, len(order)), environment.name))

    def environment(self, name: str) -> Environment:
        if not (self.installation.state / "environments" / f"{name}.yaml").is_file():
            names = ", ".join(environment.name for environment in self.environments())
            raise ConfigError(f"No environment named '{name}'. Use one of: {names}.")
        return self._read_environment(name)

    def target(self, environment: str, site: str) -> Target:
        return cast(Target, _load(self._site(environment, site).target))

    def balancer(self, environment: str, site: str) -> Balancer:
        return cast(Balancer, _load(self._site(environment, site).balancer))

    def metrics(self, environment: str, site: str) -> TrafficMetrics:
        return cast(TrafficMetrics, _load(self._site(environment, site).metrics))

    def _site(self, environment: str, site: str) -> Any:
        sites = {known.name: known for known in self.environment(environment).sites}
        if site not in sites:
            raise ConfigError(f"No site named '{site}' in {environment}. Use one of: {', '.join(sites)}.")
        return sites[site]

    def _read_environment(self, name: str) -> Environment:
        path = self.installation.state / "environments" / f"{name}.yaml"
        try:
            return Environment.model_validate(yaml.safe_load(path.read_text()))
        except (yaml.YAMLError, ValidationError) as exc:
            raise ConfigError(f"{path.name} does not describe an environment: {str(exc)[:256]}. Correct it.") from exc


@cache
def _load(reference: str) -> Block:
    """Load a block by `type-slug/name` as it was accepted here, once in a process: a run sees one state of it."""
    return load_accepted(reference, state=read_installation().state)
