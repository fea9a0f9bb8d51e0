"""A real Traefik with one site of its own, and small services behind it."""

import http.client
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from free_ports import free_ports

from blocks.balancer_traefik import TraefikBalancer
from blocks.http_probe import probe
from blocks.installation import Installation, Users
from blocks.metrics_traefik import TraefikMetrics
from deployments.stack.traefik import static_configuration, traefik_folder

TRAEFIK = Path(sys.executable).with_name("traefik")


class Answering(BaseHTTPRequestHandler):
    """Says the service's name; `/fail` fails, `/slow` takes a while, `/healthz` says whether it is well."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    server: "Upstream"  # type: ignore[assignment]

    def do_GET(self) -> None:
        received = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        status = {"/fail": 500, "/healthz": 200 if self.server.is_well else 503}.get(self.path, 200)
        if self.path == "/slow":
            time.sleep(0.5)
        if self.path != "/healthz":
            self.server.requests += 1
        body = f"{self.server.name} {received} {self.headers['Host']}".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


class Upstream(ThreadingHTTPServer):
    """One instance of a release, in a thread."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.name, self.is_well, self.requests = name, True, 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about clients that left."""

    def end(self) -> None:
        """Stop listening at once."""
        self.shutdown()
        self.server_close()


@dataclass
class TraefikSite:
    """One Traefik process, its adapters, and what to send through it."""

    installation: Installation
    process: subprocess.Popen[bytes] | None = None
    upstreams: list[Upstream] = field(default_factory=list)
    check_interval_s: float = 0.3

    @property
    def balancer(self) -> TraefikBalancer:
        state = str(self.installation.state)
        return TraefikBalancer(
            environment="test", site="main", state=state, settle_limit_s=5, check_interval_s=self.check_interval_s
        )

    @property
    def metrics(self) -> TraefikMetrics:
        return TraefikMetrics(environment="test", site="main", state=str(self.installation.state))

    def upstream(self, name: str) -> Upstream:
        self.upstreams.append(Upstream(name))
        return self.upstreams[-1]

    def start(self) -> None:
        folder = traefik_folder(self.installation, "test-main")
        for part in ("dynamic", "log"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        configuration = folder / "traefik.yaml"
        configuration.write_text(static_configuration(self.installation, "test-main"))
        with (folder / "access.log").open("ab") as log:
            self.process = subprocess.Popen([str(TRAEFIK), f"--configFile={configuration}"], stdout=log, stderr=log)
        ping = f"http://127.0.0.1:{self.installation.ports['metrics-test-main']}/ping"
        deadline = time.monotonic() + 20
        while not probe(ping).is_ok:
            assert time.monotonic() < deadline, (folder / "log/traefik.log").read_text()[-2000:]
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def clear(self) -> None:
        for file in (self.installation.state / "traefik/test-main/dynamic").glob("*.yml"):
            self.balancer.route(file.stem, [])
        for upstream in self.upstreams:
            upstream.end()
        self.upstreams.clear()

    def ask(self, application: str, path: str = "/", *, times: int = 1, body: bytes | None = None) -> Counter[str]:
        """Ask through the entry; counts answers by status and first word."""
        url, host = self.balancer.entry(application)
        answers: Counter[str] = Counter()
        for _ in range(times):
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
            connection.request("POST" if body is not None else "GET", path, body=body, headers={"Host": host})
            response = connection.getresponse()
            answers[f"{response.status} {response.read().decode().split()[0]}"] += 1
            connection.close()
        return answers


@pytest.fixture(scope="session")
def traefik_process(open_tmp_root: Path) -> Generator[TraefikSite]:
    """The session's Traefik; use `traefik_site`."""
    if not TRAEFIK.exists():
        pytest.skip(f"no {TRAEFIK}: install the runtime requirements")
    state = open_tmp_root / "traefik-state"
    state.mkdir()
    entry, metrics = free_ports(2)
    site = TraefikSite(
        Installation(
            state=state,
            sockets=state,
            ports={"entry-test-main": entry, "metrics-test-main": metrics},
            users=Users(),
            python=Path(sys.executable),
            postgres_bin=state,
        )
    )
    site.installation.save()
    site.start()
    yield site
    site.stop()
    shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
def traefik_site(traefik_process: TraefikSite) -> Generator[TraefikSite]:
    """A real Traefik without any route; what a test adds is taken away after it."""
    yield traefik_process
    if traefik_process.process and traefik_process.process.poll() is None:
        traefik_process.clear()
