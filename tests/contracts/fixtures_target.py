"""A target on this machine for real: a supervisor, a store, and small releases to run."""

import http.client
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from free_ports import free_ports

from blocks.bundle import pack_bundle
from blocks.http_probe import probe
from blocks.identity import find_python
from blocks.installation import Installation, Users
from blocks.memory_store import MemoryObjectStore
from blocks.supervisor import Supervisor
from blocks.target_local import LocalTarget
from blocks.world import use_world
from domain.canonical import sha256_hex
from domain.release import Manifest, bundle_key
from domain.service import Instance, ServiceSpec

SLIPWAY_TOML = """
[application]
name = "tiny"
[[check]]
name = "unit"
command = ["true"]
[service]
command = ["python", "service.py", "--port={port}"]
"""

SERVICE = '''
"""A service of the standard library: says what it sees, ends gracefully."""
import http.server, json, os, signal, sys, threading, time

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(1.0)
        text = json.dumps({"environment": dict(os.environ), "user": os.geteuid(), "arguments": sys.argv[1:],
                           "folder": os.getcwd(), "pid": os.getpid()})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words):
        pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False

server = Server((os.environ["HOST"], int(os.environ["PORT"])), Answers)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("listening with", sys.argv[1])
server.serve_forever(0.05)
server.server_close()
print("ended gracefully")
'''
COMMAND = ("python", "service.py", "--port={port}")
FILES = {"slipway.toml": SLIPWAY_TOML, "service.py": SERVICE, "docs/readme.txt": "hello\n"}


@dataclass
class TargetSite:
    """One installation with a supervisor; `target` opens its sites, `release` makes releases."""

    installation: Installation
    store: MemoryObjectStore = field(default_factory=MemoryObjectStore)

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor.of(self.installation)

    def target(self, site: str = "main", environment: str = "test") -> LocalTarget:
        return LocalTarget(environment=environment, site=site, state=str(self.installation.state))

    def release(self, files: Mapping[str, str] = FILES, *, wheels: Mapping[str, bytes] = {}) -> Manifest:
        """Pack and store a release of the application `tiny`."""
        with tempfile.TemporaryDirectory() as folder:
            for path, text in files.items():
                place = Path(folder) / "source" / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
            places = [Path(folder) / name for name in wheels]
            for place in places:
                place.write_bytes(wheels[place.name])
            archive = Path(folder) / "bundle.tar"
            bundle = pack_bundle(archive, source=Path(folder) / "source", wheels=places)
            self.store.put(bundle_key("tiny", bundle.sha256), archive, sha256=bundle.sha256)
        return Manifest(application="tiny", commit=sha256_hex(json.dumps(dict(files)))[:40], bundle=bundle)

    def path(self, manifest: Manifest, path: str) -> Path:
        return self.installation.state / "releases" / manifest.digest / path


class OnlyStore:
    """The world as far as a target needs it."""

    def __init__(self, store: MemoryObjectStore) -> None:
        self.store = store


@pytest.fixture(scope="session")
def target_session(users: Users, open_tmp_root: Path) -> Generator[TargetSite]:
    """The session's installation; use `target_site`."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir=open_tmp_root))
    folder.chmod(0o711)
    (first,) = free_ports(1)
    site = TargetSite(
        Installation(
            state=folder,
            sockets=folder,
            ports={"instances": min(first, 65_000)},
            users=users,
            python=find_python(users.service, copy_to=open_tmp_root / "python"),
            postgres_bin=folder,
        )
    )
    site.installation.save()
    site.supervisor.boot()
    pid = site.supervisor.pid()
    yield site
    site.supervisor.shutdown()
    if psutil.pid_exists(pid):
        psutil.Process(pid).wait(timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def target_site(target_session: TargetSite) -> Generator[TargetSite]:
    """A real target on which nothing runs, before the test and after it."""
    use_world(lambda: OnlyStore(target_session.store))  # type: ignore[arg-type, return-value]
    yield target_session
    use_world(None)
    for group in target_session.supervisor.groups():
        target_session.supervisor.remove_group(group)
    shutil.rmtree(target_session.installation.state / "instances", ignore_errors=True)
    shutil.rmtree(target_session.installation.state / "releases", ignore_errors=True)


def spec_of(manifest: Manifest, **changes: object) -> ServiceSpec:
    """What starts two instances of a release of `tiny`."""
    spec = {"application": "tiny", "release": manifest.digest, "command": COMMAND, "instances": 2} | changes
    return ServiceSpec(**spec)  # type: ignore[arg-type]


def wait_until(condition: Callable[[], object], *, limit_s: float = 10) -> None:
    """Wait for something that should come true."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def await_answers(instances: list[Instance]) -> None:
    """Wait until every instance answers."""
    wait_until(lambda: instances and all(probe(instance.url + "/").is_ok for instance in instances))


def ask(instance: Instance, path: str = "/") -> dict[str, object]:
    """Ask an instance what it sees."""
    connection = http.client.HTTPConnection(instance.url.removeprefix("http://"), timeout=10)
    connection.request("GET", path)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer
