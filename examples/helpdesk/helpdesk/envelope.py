"""Around every request: its id, its time, its line in the log, and which release answered, errors included."""

import logging
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from helpdesk import metrics
from helpdesk.desk import Desk

log = logging.getLogger("helpdesk")

QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


class Envelope:
    """The outermost layer: what it adds is there even where everything inside it failed."""

    def __init__(self, inner: ASGIApp, desk: Desk) -> None:
        self._inner = inner
        self._desk = desk
        headers = {**_HEADERS, "x-release": desk.settings.release, "x-commit": desk.settings.commit}
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items() if value]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        request_id = _request_id(scope)
        started_at = time.perf_counter()
        status = 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [*self._headers, (b"x-request-id", request_id.encode())]
                if self._desk.draining:
                    # Whoever keeps connections to us must open the next one elsewhere, before we close this one.
                    extra.append((b"connection", b"close"))
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        metrics.RUNNING.inc()
        try:
            await self._inner(scope, receive, send_more)
        except Exception:  # the web's door: the answer 500 is on its way, the cause goes to the log
            log.exception("request.failed", extra={"request_id": request_id, "path": scope["path"]})
            if not status:
                raise
        finally:
            metrics.RUNNING.dec()
            self._record(scope, status, time.perf_counter() - started_at, request_id)

    def _record(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", "(none)") or "(none)"
        metrics.REQUESTS.labels(scope["method"], route, status).inc()
        metrics.SECONDS.labels(route).observe(seconds)
        if scope["path"] in QUIET_PATHS and status == 200:
            return
        log.info(
            "request.answered",
            extra={
                "request_id": request_id,
                "method": scope["method"],
                "path": scope["path"],
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
            },
        )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            if given.replace("-", "").isalnum() and given.isascii() and len(given) <= 64:
                return given
    return uuid.uuid4().hex
