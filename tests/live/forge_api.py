"""What a forge's API of commit statuses was told, for tests that run whole deliveries."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ForgeApi:
    """Gitea's API for statuses on a port of its own; `shown` holds (context, state) as they came."""

    token: str = "a-token-of-the-forge"
    url: str = ""
    shown: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def newest(self) -> dict[str, str]:
        """The state that the forge shows of each context."""
        return dict(self.shown)

    @contextmanager
    def serving(self) -> Generator["ForgeApi"]:
        forge = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                is_known = self.headers.get("Authorization") == f"token {forge.token}"
                if is_known:
                    forge.shown.append((body["context"], body["state"]))
                self.send_response(201 if is_known else 401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}/api/v1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
