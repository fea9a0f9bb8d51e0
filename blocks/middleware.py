"""Redis and RabbitMQ for a developer, as processes of their own under a guard, for as long as somebody develops.

Called by `slipway dev` for what `[middleware]` of `slipway.toml` asks for. Port, password and data are kept per
application, so that the next start finds all three. The servers listen on 127.0.0.1 only and end, with all their
children, when their owner ends, however. Nothing here serves test, staging or production.
"""

import fcntl
import json
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

from blocks.guarded import Guarded, Order
from blocks.identity import clean_environment, give, give_all
from blocks.installation import write_private
from domain.errors import ConfigError, TransientError

HOST = "127.0.0.1"
AMQP_USER = "slipway"
LOG_CHARACTERS_MAX = 3000
_POLL_S = 0.1
_ANSWER_LIMIT_S = 2
_BYTES_MAX = 65536
_FRAME_END = 0xCE


@dataclass(frozen=True, slots=True)
class Access:
    """How one server is reached: its ports, that of clients first, and its password."""

    ports: tuple[int, ...]
    password: str

    @property
    def port(self) -> int:
        return self.ports[0]


@dataclass(frozen=True)
class Middleware(ABC):
    """One server for one application; `folder` holds all of it, `user` runs it (None: ourselves)."""

    folder: Path
    user: str | None = None
    program: str = ""

    title: ClassVar[str]
    variable: ClassVar[str]
    package: ClassVar[str]
    ports_count: ClassVar[int]
    start_limit_s: ClassVar[float]
    stop_limit_s: ClassVar[float]

    @abstractmethod
    def url(self) -> str:
        """The address for clients, with the password. It is the same at the next start, unless its port was taken."""

    @abstractmethod
    def answers(self, access: Access) -> bool:
        """Whether the server takes the password and talks its protocol."""

    @abstractmethod
    def _order(self, access: Access, program: str) -> Order:
        """Write the configuration; say what to start."""

    @contextmanager
    def running(self) -> Generator[str]:
        """Start the server, wait until it answers, yield its URL; it ends on leaving, and when we die.

        Effect: what clients wrote stays in the folder; may be repeated, by one owner at a time.
        Raises:
            ConfigError: where the program is not installed, or the same server runs already.
            TransientError: with the end of its log, where it does not answer.
        """
        program = self._installed()
        self._make_folders()
        with self._alone():
            access = self._usable_access()
            order = self._order(access, program)
            give_all(self._own, self.user)
            with Guarded(order) as guarded:
                self._wait(access, guarded.process, order)
                yield self.url()

    def access(self) -> Access:
        """Ports and password, made where they are missing."""
        self._make_folders()
        path = self.folder / "access.json"
        with (self.folder / ".access.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                self._keep(Access(_free_ports(self.ports_count), secrets.token_urlsafe(24)))
            kept = json.loads(path.read_text())
        return Access(tuple(cast(list[int], kept["ports"])), kept["password"])

    @property
    def _own(self) -> Path:
        """What belongs to the server's user; the rest of the folder is its owner's."""
        return self.folder / "server"

    @property
    def _log(self) -> Path:
        return self.folder / "output.log"

    def _installed(self) -> str:
        if found := shutil.which(self.program):
            return found
        raise ConfigError(
            f"{self.title} is not installed: no program {self.program}. Install it (`apt install {self.package}`), or "
            f"name a server of your own (`slipway config set`, {self.variable}) and leave the key out of [middleware]."
        )

    def _make_folders(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)
        self._own.mkdir(exist_ok=True)
        give(self._own, self.user, mode=0o700)

    def _keep(self, access: Access) -> None:
        value = {"ports": list(access.ports), "password": access.password}
        write_private(self.folder / "access.json", json.dumps(value))

    def _usable_access(self) -> Access:
        """What was kept; with other ports where somebody else has taken one of them since."""
        access = self.access()
        if not all(_is_free(port) for port in access.ports):
            access = Access(_free_ports(self.ports_count), access.password)
            self._keep(access)
        return access

    @contextmanager
    def _alone(self) -> Generator[None]:
        with (self.folder / ".running.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise ConfigError(
                    f"{self.title} of this application runs already, for another `slipway dev`. End that one first."
                ) from exc
            yield

    def _wait(self, access: Access, process: subprocess.Popen[bytes], order: Order) -> None:
        deadline = time.monotonic() + self.start_limit_s
        while not self.answers(access):
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                what = "ended by itself" if ended else f"does not answer after {self.start_limit_s:.0f} s"
                log = order.log.read_text(errors="replace") if order.log and order.log.exists() else ""
                said = log.replace(access.password, "…")[-LOG_CHARACTERS_MAX:].strip() or "nothing"
                raise TransientError(f"{self.title} {what}. Run again once its cause is gone; it said:\n{said}")
            time.sleep(_POLL_S)

    def _fresh_log(self) -> Path:
        self._log.unlink(missing_ok=True)
        write_private(self._log, "")
        return self._log


@dataclass(frozen=True)
class RedisServer(Middleware):
    """Redis, with its append-only file: what was written a second ago is there after the next start."""

    program: str = "redis-server"

    title: ClassVar[str] = "Redis"
    variable: ClassVar[str] = "REDIS_URL"
    package: ClassVar[str] = "redis-server"
    ports_count: ClassVar[int] = 1
    start_limit_s: ClassVar[float] = 30
    stop_limit_s: ClassVar[float] = 10

    def url(self) -> str:
        access = self.access()
        return f"redis://:{access.password}@{HOST}:{access.port}/0"

    def answers(self, access: Access) -> bool:
        """Source: https://redis.io/docs/latest/develop/reference/protocol-spec/ (inline commands)."""
        said = _talk(access.port, f"AUTH {access.password}\r\nPING\r\n".encode(), until=b"+PONG\r\n")
        return said.endswith(b"+PONG\r\n")

    def _order(self, access: Access, program: str) -> Order:
        config = self._own / "redis.conf"
        lines = (
            f"bind {HOST}",
            f"port {access.port}",
            "protected-mode yes",
            f"requirepass {access.password}",
            f"dir {json.dumps(str(self._own))}",
            "daemonize no",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
        )
        write_private(config, "\n".join(lines) + "\n")
        return Order(
            command=(program, str(config)),
            directory=self._own,
            environment=clean_environment({"HOME": str(self._own)}),
            user=self.user,
            log=self._fresh_log(),
            stop_signal=signal.SIGTERM,
            stop_limit_s=self.stop_limit_s,
        )


@dataclass(frozen=True)
class RabbitServer(Middleware):
    """RabbitMQ, with an Erlang port mapper of its own: one that is shared would outlive us, or be somebody else's."""

    # Debian's `rabbitmq-server` on PATH is a wrapper that insists on the packaged user.
    program: str = "/usr/lib/rabbitmq/bin/rabbitmq-server"

    title: ClassVar[str] = "RabbitMQ"
    variable: ClassVar[str] = "AMQP_URL"
    package: ClassVar[str] = "rabbitmq-server"
    ports_count: ClassVar[int] = 3
    start_limit_s: ClassVar[float] = 120
    stop_limit_s: ClassVar[float] = 20

    def url(self) -> str:
        access = self.access()
        return f"amqp://{AMQP_USER}:{access.password}@{HOST}:{access.port}/%2F"

    def answers(self, access: Access) -> bool:
        """Source: AMQP 0-9-1, sections 2.2.4 and 4.2.2: header, Start, Start-Ok, and Tune where it lets us in."""
        return is_let_in(access.port, AMQP_USER, access.password)

    def _order(self, access: Access, program: str) -> Order:
        amqp, epmd, distribution = access.ports
        config = self._own / "rabbitmq.conf"
        lines = (
            f"listeners.tcp.1 = {HOST}:{amqp}",
            f"default_user = {AMQP_USER}",
            f"default_pass = {access.password}",
            "log.console = true",
            "log.console.level = info",
            "log.file = false",
        )
        write_private(config, "\n".join(lines) + "\n")
        write_private(self._own / "enabled_plugins", "[].\n")
        (self._own / "none.conf").touch()
        return Order(
            command=(program,),
            directory=self._own,
            environment=clean_environment(self._variables(config, epmd, distribution)),
            user=self.user,
            log=self._fresh_log(),
            stop_signal=signal.SIGTERM,
            stop_limit_s=self.stop_limit_s,
        )

    def _variables(self, config: Path, epmd: int, distribution: int) -> Mapping[str, str]:
        own = self._own
        return {
            "HOME": str(own),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": "slipway@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # the machine's own settings are for the machine's own server
            "RABBITMQ_CONF_ENV_FILE": str(own / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(own / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(own / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(own / "mnesia"),
            "RABBITMQ_LOG_BASE": str(own / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(own / "rabbitmq.pid"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(own / "generated"),
            "RABBITMQ_SCHEMA_DIR": str(own / "schema"),
        }


def is_let_in(port: int, user: str, password: str) -> bool:
    """Whether a broker on this port takes the user, by AMQP 0-9-1's own handshake."""
    try:
        with socket.create_connection((HOST, port), timeout=_ANSWER_LIMIT_S) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            if _read_method(connection) != (10, 10):  # Start
                return False
            response = b"\0" + user.encode() + b"\0" + password.encode()
            words = struct.pack(">HHI", 10, 11, 0) + _short(b"PLAIN") + struct.pack(">I", len(response)) + response
            words += _short(b"en_US")
            connection.sendall(struct.pack(">BHI", 1, 0, len(words)) + words + bytes([_FRAME_END]))
            return _read_method(connection) == (10, 30)  # Tune
    except OSError:
        return False


def _short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def _read_method(connection: socket.socket) -> tuple[int, int]:
    """Read one frame; returns class and method, zeros where the other side has hung up."""
    head = _read_exactly(connection, 7)
    if len(head) < 7:
        return (0, 0)
    size = struct.unpack(">I", head[3:])[0]
    body = _read_exactly(connection, min(size, _BYTES_MAX) + 1)
    return struct.unpack(">HH", body[:4]) if len(body) > 4 else (0, 0)


def _read_exactly(connection: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count and (piece := connection.recv(count - len(read))):
        read += piece
    return read


def _talk(port: int, words: bytes, *, until: bytes) -> bytes:
    """Say something and read until this ending, an error, or silence."""
    said = b""
    try:
        with socket.create_connection((HOST, port), timeout=_ANSWER_LIMIT_S) as connection:
            connection.sendall(words)
            while not said.endswith(until) and not (said.startswith(b"-") or len(said) > _BYTES_MAX):
                piece = connection.recv(4096)
                if not piece:
                    break
                said += piece
    except OSError:
        return b""
    return said


def _free_ports(count: int) -> tuple[int, ...]:
    """Ports that are free now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return tuple(one.getsockname()[1] for one in sockets)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # as servers do: what is left of closed connections is in nobody's way
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
