"""What clean-up works on in an installation: databases, archives, and what else expires."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from blocks.archives_s3 import S3Archives
from blocks.installation import Installation, read_secret
from blocks.postgres_session import LEDGER_DATABASE, LEDGER_ROLE, LEDGER_SECRET
from blocks.rows_postgres import PostgresRows
from domain.cleanup_policy import OWN
from domain.errors import ConfigError
from domain.lock import parse_lock
from domain.ports import Databases, Packages
from domain.ports_cleanup import Archives, Expirables, ExpiringRows

POLICIES = "cleanup.yaml"
_ROOT = Path(__file__).resolve().parent.parent
_WORK = "cleanup"


@dataclass
class EmbeddedCleaning:
    """Fulfils `domain.ports_cleanup.Cleaning` for an installation."""

    installation: Installation
    databases: Databases
    packages: Packages

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
        return {}

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
