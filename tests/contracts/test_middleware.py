"""What a developer's Redis and RabbitMQ promise, on the real ones: a password, kept data, nothing left."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from fixtures_ci import make_installation
from free_ports import free_ports
from needs_middleware import needs_rabbitmq, needs_redis

from blocks.installation import Users
from blocks.memory_balancer import MemoryBalancer
from blocks.memory_world import MemoryWorld
from blocks.middleware import AMQP_USER, HOST, Middleware, RabbitServer, RedisServer, is_let_in
from deployments.developing.place import Place
from deployments.developing.serving import serve
from domain.environment import Environment
from domain.errors import ConfigError, TransientError

ROOT = Path(__file__).parents[2]


def say(port: int, words: str) -> str:
    """One command to Redis on a connection of its own, and the first answers."""
    with socket.create_connection((HOST, port), timeout=5) as connection:
        connection.sendall(f"{words}\r\nQUIT\r\n".encode())
        said = b""
        while piece := connection.recv(4096):
            said += piece
    return said.decode()


def processes(folder: Path) -> list[psutil.Process]:
    """Processes that have to do with the folder: they work there, or it is in their command or their environment."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["cwd", "cmdline", "environ"]):
        about = process.info
        words = [about["cwd"] or "", *(about["cmdline"] or []), *(about["environ"] or {}).values()]
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(process)
    return found


def below(folder: Path) -> list[str]:
    """Their command lines."""
    return [" ".join(process.info["cmdline"] or [])[:2000] for process in processes(folder)]


def is_closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def listening(folder: Path) -> set[str]:
    """Addresses on which they listen."""
    found = [one for process in processes(folder) for one in process.net_connections()]
    return {f"{one.laddr.ip}:{one.laddr.port}" for one in found if one.status == psutil.CONN_LISTEN}


def wait_gone(folder: Path, server: Middleware) -> None:
    deadline = time.monotonic() + 40
    while (left := below(folder)) or not all(is_closed(port) for port in server.access().ports):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def kill_owner(kind: str, folder: Path, user: str | None) -> None:
    """Start it in a process of its own, and kill that one once it answers."""
    command = [sys.executable, str(Path(__file__).with_name("middleware_owner.py")), kind, str(folder), user or ""]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        try:
            assert owner.stdout.readline() == "answers\n"
        finally:
            owner.kill()


@pytest.fixture
def redis(open_tmp: Path, users: Users) -> RedisServer:
    return RedisServer(open_tmp / "redis-shop", users.service)


@pytest.fixture
def rabbit(open_tmp: Path, users: Users) -> Generator[RabbitServer]:
    server = RabbitServer(open_tmp / "rabbitmq-shop", users.service)
    yield server
    wait_gone(server.folder, server)


@needs_redis
def test_redis_answers_with_its_password_only_and_keeps_what_was_written(redis: RedisServer):
    with redis.running() as url:
        access = redis.access()
        assert url == f"redis://:{access.password}@127.0.0.1:{access.port}/0"
        assert redis.answers(access) and not redis.answers(replace(access, password="guess"))
        assert "NOAUTH" in say(access.port, "GET note")
        assert "+OK" in say(access.port, f"AUTH {access.password}\r\nSET note 7")
        assert listening(redis.folder) == {f"127.0.0.1:{access.port}"}
        shown = below(redis.folder)
        assert shown and not any(access.password in line for line in shown)
        config = redis.folder / "server" / "redis.conf"
        assert config.stat().st_mode & 0o777 == 0o600
    wait_gone(redis.folder, redis)
    with redis.running() as again:
        assert again == url
        assert "\n7\r\n" in say(access.port, f"AUTH {access.password}\r\nGET note")


@needs_redis
def test_another_port_is_taken_where_somebody_has_the_old_one(redis: RedisServer):
    before = redis.access()
    with socket.create_server((HOST, before.port)), redis.running() as url:
        assert redis.access().port != before.port
        assert f":{before.password}@" in url


@needs_redis
def test_one_application_has_one_redis_at_a_time(redis: RedisServer):
    with redis.running(), pytest.raises(ConfigError, match="End that one first"), redis.running():
        pass


@needs_redis
def test_redis_of_a_killed_owner_is_gone(redis: RedisServer):
    kill_owner("redis", redis.folder, redis.user)
    wait_gone(redis.folder, redis)


@needs_redis
def test_a_redis_that_ends_by_itself_is_told_with_its_last_words(redis: RedisServer):
    redis.access()
    (redis.folder / "server" / "appendonlydir").write_text("in its way")
    with pytest.raises(TransientError, match=r"ended by itself(?s:.*)appendonlydir"), redis.running():
        pass


@needs_rabbitmq
def test_rabbitmq_answers_with_its_password_only_and_leaves_nothing_when_its_owner_is_killed(rabbit: RabbitServer):
    with rabbit.running() as url:
        access = rabbit.access()
        assert url == f"amqp://slipway:{access.password}@127.0.0.1:{access.port}/%2F"
        assert is_let_in(access.port, AMQP_USER, access.password)
        assert not is_let_in(access.port, AMQP_USER, "guess") and not is_let_in(access.port, "guest", "guest")
        addresses = listening(rabbit.folder)
        # the port mapper adds the other loopback address by itself, where the machine has it
        assert addresses - {f"::1:{access.ports[1]}"} == {f"127.0.0.1:{port}" for port in access.ports}
        shown = below(rabbit.folder)
        assert any("epmd" in line for line in shown) and not any(access.password in line for line in shown)
        assert (rabbit.folder / "server" / "rabbitmq.conf").stat().st_mode & 0o777 == 0o600
    wait_gone(rabbit.folder, rabbit)
    kill_owner("rabbitmq", rabbit.folder, rabbit.user)
    wait_gone(rabbit.folder, rabbit)


@pytest.mark.parametrize(("kind", "package"), [(RedisServer, "redis-server"), (RabbitServer, "rabbitmq-server")])
def test_a_missing_program_is_told_with_its_package_and_the_other_way(
    kind: type[Middleware], package: str, tmp_path: Path
):
    server = replace(kind(tmp_path / "shop"), program="/nowhere/server")
    with pytest.raises(ConfigError, match=rf"apt install {package}(?s:.*)slipway config set"), server.running():
        pass
    assert not server.folder.exists()


def test_somebody_else_who_listens_there_is_no_answer(tmp_path: Path):
    (port,) = free_ports(1)
    kinds = (RedisServer, RabbitServer)
    with socket.create_server((HOST, port)) as other:

        def refuse() -> None:
            for _ in kinds:
                with other.accept()[0] as connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        for kind in kinds:
            server = kind(tmp_path / kind.title)
            assert not server.answers(replace(server.access(), ports=(port, port, port)))
        thread.join(timeout=10)


SERVICE = """
import os, pathlib, socket, urllib.parse
url = urllib.parse.urlsplit(os.environ["REDIS_URL"])
with socket.create_connection((url.hostname, url.port), timeout=5) as connection:
    connection.sendall(f"AUTH {url.password}\\r\\nPING\\r\\nQUIT\\r\\n".encode())
    said = connection.makefile().read()
pathlib.Path("said").write_text(said)
"""


class DevelopersWorld(MemoryWorld):
    """The world in memory has no development environment; its test environment stands in."""

    def environment(self, name: str) -> Environment:
        return super().environment("test" if name == "development" else name)

    def balancer(self, environment: str, site: str) -> MemoryBalancer:
        return super().balancer("test" if environment == "development" else environment, site)


@pytest.fixture
def place(open_tmp: Path, open_tmp_root: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A checkout whose service says what Redis answered, and ends."""
    state, checkout = open_tmp / "state", open_tmp / "checkout"
    state.mkdir(mode=0o711)
    checkout.mkdir()
    make_installation(state, Users(), open_tmp_root / "binaries")
    monkeypatch.setenv("SLIPWAY_STATE", str(state))
    (checkout / "requirements.lock").touch()
    (checkout / "service.py").write_text(SERVICE)
    command = f'["{sys.executable}", "-I", "-S", "service.py"]'
    (checkout / "slipway.toml").write_text(
        f'[application]\nname = "shop"\n[[check]]\nname = "unit"\ncommand = ["true"]\n'
        f"[service]\ncommand = {command}\n[middleware]\nredis = true\n"
    )
    return Place(checkout, DevelopersWorld())


@needs_redis
def test_the_service_of_a_checkout_talks_to_redis_and_leaves_none(place: Place):
    said: list[str] = []
    with pytest.raises(ConfigError, match="has ended by itself"):
        serve(place, say=said.append, reload=False)
    assert "Redis answers (REDIS_URL)" in said
    assert "+PONG" in (place.folder / "said").read_text()
    (server,) = place.middleware()
    wait_gone(server.folder, server)
    assert place.variables()["REDIS_URL"] == server.url(), "as --print-env has it"
