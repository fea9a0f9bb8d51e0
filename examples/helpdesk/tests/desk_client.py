"""A client for tests: one request, one answer, nothing hidden. Standard library only."""

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class DeskClient:
    """Talks to a running desk at `url`; `host` is the Host header where a load balancer needs one."""

    def __init__(self, url: str, host: str = "") -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._host = host or parts.netloc

    def get(self, path: str, **headers: str) -> Answer:
        return self._send("GET", path, None, headers)

    def post(self, path: str, value: Any) -> Answer:
        return self._send("POST", path, json.dumps(value), {"Content-Type": "application/json"})

    def patch(self, path: str, value: Any) -> Answer:
        return self._send("PATCH", path, json.dumps(value), {"Content-Type": "application/json"})

    def submit(self, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> Answer:
        """Send a form, as a browser does; redirects are not followed."""
        form = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        return self._send("POST", path, urlencode(fields), form | (headers or {}))

    def _send(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(*self._address, timeout=20)
        try:
            connection.request(method, path, body.encode() if body else None, {"Host": self._host, **headers})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())
        finally:
            connection.close()
