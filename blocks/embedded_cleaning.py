"""What clean-up works on in an installation: databases, archives, and what else expires."""

import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from blocks.archives_s3 import S3Archives
from blocks.bucket import Account
from blocks.expirables_files import FileExpirables, kept_environments, rotated_logs
from blocks.expirables_prefect import RunExpirables
from blocks.expirables_s3 import ObjectExpirables, UploadExpirables
from blocks.installation import Installation, read_secret
from blocks.postgres_session import LEDGER_DATABASE, LEDGER_ROLE, LEDGER_SECRET
from blocks.rows_postgres import PostgresRows
from domain.cleanup_policy import OWN
from domain.errors import ConfigError
from domain.lock import parse_lock
from domain.needed import NEEDED_KINDS, explain_bundles, explain_needed
from domain.ports import Databases, Ledger, Packages
from domain.ports_cleanup import Archives, Expirables, ExpiringRows

POLICIES = "cleanup.yaml"
_ROOT = Path(__file__).resolve().parent.parent
_WORK = "cleanup"
_BUCKETS = {"releases": "s3", "archives": "s3_archive"}
"""Buckets whose unfinished uploads are ours to abort, and the keys that may."""
_FLOW_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
_ENTRIES_MAX = 1_000_000
_CLOSING = ("rollout.completed", "rollout.rolled_back", "rollout.failed", "cd.completed", "cd.stopped", "cd.superseded")


def _ended_runs(ledger: Ledger) -> set[str]:
    return {entry.event.run for entry in ledger.entries(kinds=_CLOSING, limit=_ENTRIES_MAX)}


@dataclass
class EmbeddedCleaning:
    """Fulfils `domain.ports_cleanup.Cleaning` for an installation."""

    installation: Installation
    databases: Databases
    packages: Packages
    ledger: Ledger
    running: Callable[[], dict[str, str]]

    @property
    def own_policies(self) -> str:
        own = self.installation.state / POLICIES
        path = own if own.exists() else _ROOT / "deployments" / POLICIES
        return path.read_text()

    @cached_property
    def archives(self) -> Archives:
        return S3Archives(self.installation, self._python)

    @contextmanager
    def folder(self) -> Generator[Path]:
        """On the state's disk, which is watched, and readable by nobody else: rows lie there for a moment."""
        within = self.installation.folder(_WORK)
        within.chmod(0o700)
        with tempfile.TemporaryDirectory(dir=within) as name:
            yield Path(name)

    def rows(self, application: str, environment: str) -> ExpiringRows:
        if application == OWN:
            return PostgresRows(self._own_url)
        return PostgresRows(lambda: self.databases.url(application, environment))

    def expirables(self) -> dict[str, Expirables]:
        state = self.installation.state
        return {
            "uploads": UploadExpirables({name: partial(self._client, key) for name, key in _BUCKETS.items()}),
            "releases": ObjectExpirables(
                partial(self._client, _BUCKETS["releases"]), "releases", "bundles/", self._needed_bundles
            ),
            "logs": FileExpirables(state / "logs", rotated_logs),
            "runs": RunExpirables(os.environ.get(_FLOW_RUN_VARIABLE, "")),
            "caches": FileExpirables(state / "cache", kept_environments),
        }

    def _client(self, secret: str) -> Any:
        state = self.installation.state
        return Account(
            f"http://127.0.0.1:{self.installation.ports['s3']}",
            read_secret(f"{secret}_access_key", state=state),
            read_secret(f"{secret}_secret_key", state=state),
        ).client()

    def _needed_bundles(self) -> Callable[[str], str]:
        """Asked anew before each removal. What is not pinned may be a build under way: its age decides."""
        entries = self.ledger.entries(kinds=NEEDED_KINDS, limit=_ENTRIES_MAX)
        needed = explain_needed(entries, running=self.running(), ended=_ended_runs(self.ledger))
        kept = explain_bundles(self.ledger.entries(kinds=["release.pinned"], limit=_ENTRIES_MAX), needed)
        return lambda key: kept.get(key, "")

    def _own_url(self) -> str:
        password = read_secret(LEDGER_SECRET, state=self.installation.state)
        port = self.installation.ports["postgres"]
        return f"postgresql://{LEDGER_ROLE}:{password}@127.0.0.1:{port}/{LEDGER_DATABASE}"

    def _python(self) -> Path:
        """A Python with pyarrow, made from the lock at the first use."""
        lock = _ROOT / "requirements" / "data.txt"
        if not lock.exists():
            raise ConfigError(f"{lock} is missing: archives need it. Run `slipway up`, which copies it.")
        return self.packages.environment(parse_lock(lock.read_text(), file=lock.name)) / "bin" / "python"
