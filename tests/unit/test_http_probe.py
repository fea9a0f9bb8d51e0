"""A probe says what was answered, and never raises for what the other side does."""

import socket
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from blocks.http_probe import probe


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = int(self.path.partition("?")[2] or 200)
        self.send_response(status)
        self.send_header("Location", "/?200")
        self.end_headers()
        self.server.hosts.append(self.headers["Host"])  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Generator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    server.hosts = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [200, 302, 404, 503])
def test_every_answer_is_an_answer_and_redirects_are_not_followed(server: HTTPServer, status: int) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}/x?{status}"
    found = probe(url)
    assert (found.url, found.status, found.is_ok, found.error) == (url, status, status == 200, "")
    assert 0 < found.seconds < 5


def test_the_host_can_be_named(server: HTTPServer) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    probe(url)
    probe(url, host="desk.localhost", timeout_s=2)
    assert server.hosts == [url.removeprefix("http://"), "desk.localhost"]  # type: ignore[attr-defined]


def test_nobody_there_is_an_answer_too(server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
    found = probe("http://127.0.0.1:1/")
    assert (found.status, found.is_ok) == (0, False)
    assert "refused" in found.error


def test_silence_ends_at_the_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = probe(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.2)
    assert found.status == 0
    assert "timed out" in found.error
    assert found.seconds < 2


def test_what_is_no_http_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_say, args=(server, b"SSH-2.0-hello\r\n\r\n"))
        thread.start()
        found = probe(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout_s=2)
        thread.join()
    assert (found.status, "BadStatusLine" in found.error) == (0, True)


def _say(server: socket.socket, words: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(words)
