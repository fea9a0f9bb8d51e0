"""Answers in the shape that a Kubernetes API, a RabbitMQ and a Prometheus gave, from a small server of our own."""

import base64
import contextlib
import json
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

_NODE = {
    "metadata": {"name": "node-1"},
    "status": {"allocatable": {"cpu": "3920m", "memory": "15Gi", "nvidia.com/gpu": "2", "pods": "110"}},
}


def _pod(name: str, limits: dict[str, str]) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "web", "resources": {"limits": limits}}]},
        "status": {"phase": "Running"},
    }


PODS = [_pod("web-1", {"cpu": "1", "memory": "512Mi", "nvidia.com/gpu": "1"}), _pod("web-2", {"memory": "512Mi"})]
LISTS: dict[str, list[dict[str, Any]]] = {
    "/api/v1/nodes": [_NODE],
    "/api/v1/pods": [*PODS, {**_pod("old", {"memory": "9Gi"}), "status": {"phase": "Succeeded"}}],
    "/apis/metrics.k8s.io/v1beta1/nodes": [
        {
            "metadata": {"name": "node-1"},
            "timestamp": "t",
            "window": "20s",
            "usage": {"cpu": "250000000n", "memory": "2Gi"},
        }
    ],
    "/apis/metrics.k8s.io/v1beta1/pods": [
        {
            "metadata": {"name": name, "namespace": "shop"},
            "containers": [{"name": "web", "usage": {"cpu": cpu, "memory": "100Mi"}}],
        }
        for name, cpu in (("web-1", "100m"), ("web-2", "200m"))
    ],
}
QUEUES = [
    {"name": "mail", "vhost": "/", "messages": 12, "messages_ready": 10},
    {"name": "reports", "vhost": "/", "messages": 0},
    {"name": "declared-just-now", "vhost": "/"},
]


class Recorded(ThreadingHTTPServer):
    """`broken` is a path that answers 503, `shapeless` one whose items lack everything; `gpus` adds those of DCGM."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.broken = self.shapeless = ""
        self.gpus = False
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answering(BaseHTTPRequestHandler):
    server: Recorded  # type: ignore[assignment]

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/api/queues":
            word = base64.b64encode(b"guest:a-token").decode()
            return (
                self._send(200, QUEUES) if self._has(f"Basic {word}") else self._send(401, {"error": "not_authorised"})
            )
        if not self._has("Bearer a-token"):
            return self._send(401, {"kind": "Status", "message": "Unauthorized"})
        if address.path == self.server.broken or address.path not in LISTS:
            return self._send(
                503, {"kind": "Status", "message": "the server is currently unable to handle the request"}
            )
        items = [{}] if address.path == self.server.shapeless else LISTS[address.path]
        # one item a page
        place = int(parse_qs(address.query).get("continue", ["0"])[0])
        following = str(place + 1) if place + 1 < len(items) else ""
        return self._send(200, {"items": items[place : place + 1], "metadata": {"continue": following}})

    def do_POST(self) -> None:
        """Prometheus: memory has an answer, GPUs where they are wanted, the rest is cut short in some way."""
        given = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        query, at = given["query"][0], float(given["start"][0])
        labels: dict[str, str] = {"instance": "db1:9100"}
        value = ""
        if query.startswith("node_memory_MemTotal"):
            value = "5e9"
        elif query.startswith("DCGM") and self.server.gpus:
            labels = {"Hostname": "gpu1", "gpu": "0", "modelName": "A100"}
            value = "83" if "UTIL" in query else "1024"
        elif "cpu" in query:
            return self._send(200, {"status": "success"})
        elif "filesystem" in query:
            broken = {"metric": {"instance": "db1", "mountpoint": "/"}, "values": [[at]]}
            return self._send(200, {"status": "success", "data": {"result": [broken]}})
        if not value:
            return self._send(503, {"status": "error", "error": "query timed out in expression evaluation"})
        result = [{"metric": labels, "values": [[at, value]]}]
        return self._send(200, {"status": "success", "data": {"resultType": "matrix", "result": result}})

    def _has(self, authorization: str) -> bool:
        return self.headers.get("Authorization") == authorization

    def _send(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def recorded() -> Generator[Recorded]:
    server = Recorded()
    yield server
    server.shutdown()
    server.server_close()


class Hostile(ThreadingHTTPServer):
    """Answers every question with the same words, however wrong; slowly, where `pause_s` lies between its bytes."""

    daemon_threads = True

    def __init__(self, body: bytes, *, status: int = 200, pause_s: float = 0.0, missing: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Wrong)
        self.body, self.status, self.pause_s, self.missing = body, status, pause_s, missing
        self.content_type = "application/json"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def server_close(self) -> None:
        self.shutdown()
        super().server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Wrong(BaseHTTPRequestHandler):
    server: Hostile  # type: ignore[assignment]

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(self.server.body) + self.server.missing))
        self.end_headers()
        with contextlib.suppress(OSError):  # who asks has hung up
            if not self.server.pause_s:
                self.wfile.write(self.server.body)
            for byte in self.server.body if self.server.pause_s else b"":
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(self.server.pause_s)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
