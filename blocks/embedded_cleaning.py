"""What clean-up works on in an installation: databases, archives, and what else expires."""

import os
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from blocks.archives_s3 import S3Archives
from blocks.bucket import Account
from blocks.expectations import run_expectations
from blocks.expirables_files import FileExpirables, kept_environments, rotated_logs
from blocks.expirables_images import ImageExpirables
from blocks.expirables_prefect import RunExpirables
from blocks.expirables_releases import InstalledExpirables
from blocks.expirables_s3 import ObjectExpirables, UploadExpirables, refuse_forbidden
from blocks.installation import Installation, read_secret
from blocks.postgres_session import LEDGER_DATABASE, LEDGER_ROLE, LEDGER_SECRET
from blocks.rows_postgres import PostgresRows
from domain.cleanup_policy import OWN
from domain.errors import ConfigError
from domain.lock import parse_lock
from domain.needed import NEEDED_KINDS, explain_bundles, explain_images, explain_needed, known_images
from domain.ports import Databases, Images, Ledger, Packages
from domain.ports_cleanup import Archives, Expirables, ExpiringRows
from domain.ports_drill import Findings
from domain.release import Image

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
    images: Callable[[], Images]

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

    def expect(self, application: str, environment: str, suites: Mapping[str, Any], *, limit_s: float) -> Findings:
        told = conninfo_to_dict(self.databases.url(application, environment))
        place = {
            "socket": told.get("host", "127.0.0.1"),
            "port": told.get("port", "5432"),
            "user": told["user"],
            "database": told["dbname"],
            "password": told.get("password", ""),
        }
        return run_expectations(self._python, place, suites, user=None, limit_s=limit_s)

    def expirables(self) -> dict[str, Expirables]:
        state = self.installation.state
        return {
            "uploads": UploadExpirables({name: partial(self._client, key) for name, key in _BUCKETS.items()}),
            "releases": ObjectExpirables(
                partial(self._client, _BUCKETS["releases"]), "releases", "bundles/", self._needed_bundles
            ),
            "images": ImageExpirables(self.images, self._known_images, self._needed_images),
            "installed": InstalledExpirables(state / "releases", self._needed),
            "logs": FileExpirables(state / "logs", rotated_logs),
            "runs": RunExpirables(os.environ.get(_FLOW_RUN_VARIABLE, "")),
            "caches": FileExpirables(state / "cache", kept_environments),
        }

    def objects(self, bucket: str, prefix: str) -> Expirables:
        if bucket not in _BUCKETS:
            refuse_forbidden(bucket, prefix)
            raise ConfigError(f"Clean-up has no keys for the bucket '{bucket}'. It has some for: releases.")
        return ObjectExpirables(partial(self._client, _BUCKETS[bucket]), bucket, prefix, self._needed_objects)

    def _needed_objects(self) -> Callable[[str], str]:
        bundles = self._needed_bundles()
        return lambda key: "Slipway's own" if key.startswith(".slipway/") else bundles(key)

    def _client(self, secret: str) -> Any:
        state = self.installation.state
        return Account(
            f"http://127.0.0.1:{self.installation.ports['s3']}",
            read_secret(f"{secret}_access_key", state=state),
            read_secret(f"{secret}_secret_key", state=state),
        ).client()

    def _needed_bundles(self) -> Callable[[str], str]:
        """Asked anew before each removal. What is not pinned may be a build under way: its age decides."""
        kept = explain_bundles(self.ledger.entries(kinds=["release.pinned"], limit=_ENTRIES_MAX), self._needed())
        return lambda key: kept.get(key, "")

    def _needed_images(self) -> dict[str, str]:
        return explain_images(self.ledger.entries(kinds=["release.pinned"], limit=_ENTRIES_MAX), self._needed())

    def _known_images(self) -> dict[Image, datetime]:
        return known_images(self.ledger.entries(kinds=["image.built", "release.pinned"], limit=_ENTRIES_MAX))

    def _needed(self) -> dict[str, str]:
        """Why each release is needed, by its digest."""
        entries = self.ledger.entries(kinds=NEEDED_KINDS, limit=_ENTRIES_MAX)
        return explain_needed(entries, running=self.running(), ended=_ended_runs(self.ledger))

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
