"""Databases on the installation's PostgreSQL server: one, with a role of its own, for each application and environment.

Called by `slipway app add` and by rollouts. Passwords are made here and rest in `STATE/credentials.d/`, readable by the
owner only; no two environments share a database, a role or a password. Checks get a server of their own, thrown away.
"""

import fcntl
import secrets
import shutil
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from blocks.guarded import NICENESS, Guarded, Order
from blocks.identity import clean_environment, give
from blocks.installation import read_secret, write_private
from blocks.installed_block import InstalledBlock
from blocks.migration_watch import MigrationWatch, ended_sessions, limit_role
from blocks.postgres_roles import ensure_database, ensure_role, grant_entry
from blocks.postgres_server import SUPERUSER, PostgresServer, wait_ready
from domain.errors import ConfigError, TransientError
from domain.ports import Migrating

SOCKETS = "sockets"
CHECK_ROLE = "tester"
_ATTEMPTS_MAX = 3
_START_LIMIT_S = 30

# A server that is thrown away with its data: nothing has to survive a power cut.
_FORGETFUL = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "50",
    "shared_buffers": "32MB",
    "max_wal_senders": "0",
    "wal_level": "minimal",
}


class PostgresDatabases(InstalledBlock):
    """Fulfils `domain.ports.Databases` on the embedded PostgreSQL server, or another by its superuser's password."""

    _block_type_name = "Slipway PostgreSQL Databases"
    _block_type_slug = "slipway-postgres-databases"

    host: str = Field(default="127.0.0.1", description="Where the server listens.")
    port: int | None = Field(default=None, description="Its port; empty: the embedded server's.")
    superuser: str = Field(default=SUPERUSER, description="A role that may make roles and databases.")
    superuser_secret: str = Field(
        default="postgres_superuser", description="Name of that role's password in credentials.json."
    )

    def ensure(self, application: str, environment: str) -> None:
        name = _database_name(application, environment)
        password = self._password(name, make=True)
        ensure_role(self._superuser_url(), name, password=password)
        ensure_database(self._superuser_url(), name, owner=name)

    def rotate(self, application: str, environment: str) -> None:
        """Give the role another password.

        The new one is written beside the old one first, so that whoever runs this again after a kill takes the same.
        """
        name = _database_name(application, environment)
        self._password(name, make=False)
        path = self.installation.folder("credentials.d") / f"database-{name}"
        following = path.with_name(f".{path.name}.next")
        with (path.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not following.exists():
                write_private(following, secrets.token_urlsafe(24))
            ensure_role(self._superuser_url(), name, password=following.read_text())
            following.replace(path)

    def url(self, application: str, environment: str) -> str:
        name = _database_name(application, environment)
        return f"postgresql://{name}:{self._password(name, make=False)}@{self._address()}/{name}"

    @contextmanager
    def migrating(
        self, application: str, environment: str, *, lock_timeout_s: float, statement_timeout_s: float
    ) -> Generator[Migrating]:
        """Lend a role of its own that acts as the database's, with these time-outs; see `domain.ports.Databases`.

        Effect: the role; may be repeated, by one migration of a database at a time.
        """
        name = _database_name(application, environment)
        self._password(name, make=False)  # refuses a database that was never made
        role, superuser = f"{name}_migrate", self._superuser_url()
        password = self._password(role, make=True)
        ensure_role(superuser, role, password=password)
        limit_role(
            superuser, role, acts_as=name, lock_timeout_s=lock_timeout_s, statement_timeout_s=statement_timeout_s
        )
        grant_entry(superuser, name, role=role)
        url = f"postgresql://{role}:{password}@{self._address()}/{name}"
        migrating = Migrating({"DATABASE_URL": url})
        watch = MigrationWatch(
            self._superuser_url(name), role=role, database=name, lock_timeout_s=lock_timeout_s, waits=migrating.waits
        )
        with ended_sessions(superuser, role=role), watch:
            yield migrating

    @contextmanager
    def throwaway(self, directory: Path) -> Generator[str]:
        """Run a fresh server in `directory` as the build user, and take it away afterwards; yields its URL.

        The role of the URL owns its database and may make others; it is no superuser, who could start programs outside
        of a check's sandbox. The server listens on 127.0.0.1 and in `directory/sockets`. It also ends when we die.
        Raises: TransientError with the end of its log where it does not start.
        """
        directory.mkdir(parents=True, exist_ok=True)
        try:
            with self._started(directory) as url:
                yield url
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    @contextmanager
    def _started(self, directory: Path) -> Generator[str]:
        password = secrets.token_urlsafe(18)
        (directory / SOCKETS).mkdir(exist_ok=True)
        give(directory / SOCKETS, self.installation.users.build, mode=0o700)
        directory.chmod(0o711)
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            server = self._throwaway_server(directory)
            server.initialise(password, durable=False)
            with Guarded(_order(server, directory)) as guarded:
                try:
                    wait_ready(server.url(password), limit_s=_START_LIMIT_S, process=guarded.process)
                except TransientError as exc:
                    if attempt == _ATTEMPTS_MAX:
                        raise TransientError(f"{exc} Last words: {_last_words(directory)}") from exc
                    continue  # somebody else may have taken the port in between
                yield _open_to_check(server, password)
            break

    def _throwaway_server(self, directory: Path) -> PostgresServer:
        installation = self.installation
        return PostgresServer(
            bin=installation.postgres_bin,
            data=directory / "pgdata",
            port=_free_port(),
            user=installation.users.build,
            # relative to its data: the whole path may be too long for a socket
            settings={**_FORGETFUL, "unix_socket_directories": f"../{SOCKETS}"},
        )

    def _address(self) -> str:
        return f"{self.host}:{self.port or self.installation.ports['postgres']}"

    def _superuser_url(self, database: str = "postgres") -> str:
        password = read_secret(self.superuser_secret, state=self.installation.state)
        return f"postgresql://{self.superuser}:{password}@{self._address()}/{database}"

    def _password(self, name: str, *, make: bool) -> str:
        folder = self.installation.folder("credentials.d")
        folder.chmod(0o700)
        path = folder / f"database-{name}"
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                if not make:
                    raise ConfigError(f"There is no database '{name}' yet. Run `slipway app add`, or start a rollout.")
                write_private(path, secrets.token_urlsafe(24))
        return path.read_text()


def _open_to_check(server: PostgresServer, password: str) -> str:
    """Make the role and the database of a check; returns their URL."""
    own = secrets.token_urlsafe(18)
    ensure_role(server.url(password), CHECK_ROLE, password=own, may_create=True)
    # what is migrated there is in every database that a check makes
    for database in (CHECK_ROLE, "template1"):
        ensure_database(server.url(password), database, owner=CHECK_ROLE)
    return server.url(own, user=CHECK_ROLE, database=CHECK_ROLE)


def _database_name(application: str, environment: str) -> str:
    """Name database and role; neither part can hold an underscore, so that no two pairs share a name."""
    if "_" in application + environment:
        raise ConfigError(f"'{application}' or '{environment}' holds an underscore. Use letters, digits and dashes.")
    return f"{application}_{environment}"


def _order(server: PostgresServer, directory: Path) -> Order:
    return Order(
        command=server.command(),
        directory=server.data,
        environment=clean_environment(),
        user=server.user,
        log=directory / "postgres.log",
        niceness=NICENESS,
        stop_signal=signal.SIGQUIT,
    )


def _last_words(directory: Path) -> str:
    log = directory / "postgres.log"
    return log.read_text(errors="replace")[-256:] if log.exists() else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
