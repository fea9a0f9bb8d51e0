"""The door as a web application: bounded bodies, clear answers, and a health page.

`POST /webhooks/{forge}/{owner}/{repository}`: 202 kept, 400 refused with the reason, 401 forged, 404 unknown, 413 too
large, 503 with Retry-After while PostgreSQL is away. `GET /healthz`: the door lives.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blocks.world import World
from deployments.door.dispatcher import Dispatcher
from deployments.door.reception import Answer, Reception
from deployments.door.statuses import StatusSender
from domain.errors import TransientError

log = logging.getLogger("slipway.door")

BODY_BYTES_MAX = 25_000_000
"""As GitHub's own limit: what is larger is no delivery."""

BODIES_BYTES_MAX = 10 * BODY_BYTES_MAX
"""How much of bodies is held in memory at once; beyond it the answer is 503."""

_DRAINED_BYTES_MAX = 4 * BODY_BYTES_MAX
_BODY_LIMIT_S = 10.0
# Forges give up after 5 s (Gitea) or 10 s (GitHub); the largest bodies take PostgreSQL seconds on a busy machine.
_KEEP_LIMIT_S = 4.0
_KEPT_BYTES_PER_S = 5_000_000
_RETRY_AFTER_S = "5"
_THREADS = 16


class TooLargeError(Exception):
    """The body is over the limit."""


class TruncatedError(Exception):
    """The body ended, or paused for too long, before its announced length."""


class Door:
    """The handlers, and the threads behind them."""

    def __init__(self, world: World) -> None:
        self._reception = Reception(world)
        self._dispatcher = Dispatcher(world)
        self._statuses = StatusSender(world)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="door")
        self._held_bytes = 0

    def application(self) -> Starlette:
        """The ASGI application; the threads behind it live as long as it."""
        routes = [
            Route("/webhooks/{forge}/{owner}/{repository}", self.deliver, methods=["POST"]),
            Route("/healthz", self.healthz, methods=["GET"]),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan)

    async def healthz(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def deliver(self, request: Request) -> Response:
        """Take one delivery; one line in the log says what became of it."""
        started = time.monotonic()
        answer = await self._answer(request)
        milliseconds = (time.monotonic() - started) * 1000
        level = logging.INFO if answer.status < 400 else logging.WARNING
        path = request.url.path[:200]
        log.log(level, "delivery.%s status=%d ms=%.1f path=%s", answer.word, answer.status, milliseconds, path)
        headers = {"Retry-After": _RETRY_AFTER_S} if answer.status == 503 else {}
        value = {"status": answer.word, "reason": answer.reason} if answer.reason else {"status": answer.word}
        return JSONResponse(value, status_code=answer.status, headers=headers)

    async def _answer(self, request: Request) -> Answer:
        size = _announced_bytes(request)
        reserved = BODY_BYTES_MAX if size is None else min(size, BODY_BYTES_MAX)
        if self._held_bytes + reserved > BODIES_BYTES_MAX:
            return Answer(503, "busy", "Too many large deliveries at once. Deliver again later.")
        self._held_bytes += reserved
        try:
            return await self._receive(request, await self._read_body(request, size))
        except TooLargeError:
            limit = f"{BODY_BYTES_MAX:,}".replace(",", " ")
            return Answer(413, "oversized", f"A delivery has at most {limit} bytes. Send fewer commits in one push.")
        except TruncatedError as exc:
            return Answer(400, "truncated", str(exc))
        except (TransientError, TimeoutError) as exc:
            log.warning("delivery.delayed reason=%s", exc or "PostgreSQL gives no answer")
            return Answer(503, "unavailable", "The inbox does not answer. Deliver again later.")
        finally:
            self._held_bytes -= reserved

    async def _receive(self, request: Request, body: bytes) -> Answer:
        """Hand one delivery to a thread, and wait for it for less long than forges do."""
        names = request.path_params
        headers = {name.lower(): value for name, value in request.headers.items()}
        kept = asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: self._reception.receive(
                forge=names["forge"],
                repository=f"{names['owner']}/{names['repository']}",
                headers=headers,
                body=body,
            ),
        )
        answer = await asyncio.wait_for(kept, _KEEP_LIMIT_S + len(body) / _KEPT_BYTES_PER_S)
        if answer.status < 500:
            self._dispatcher.wake()
        return answer

    async def _read_body(self, request: Request, size: int | None) -> bytes:
        """Read a body within limits of size and time.

        Raises: TooLargeError, TruncatedError.
        """
        if size is not None and size > BODY_BYTES_MAX and "expect" in request.headers:
            raise TooLargeError  # the client asked before it sent anything
        body, received = bytearray(), 0
        try:
            async with asyncio.timeout(_BODY_LIMIT_S):
                async for piece in request.stream():
                    received += len(piece)
                    if received > BODY_BYTES_MAX:
                        body.clear()
                        # read on for a while: a client that still writes would not see the answer
                        if received > _DRAINED_BYTES_MAX:
                            raise TooLargeError
                        continue
                    body += piece
        except (ClientDisconnect, TimeoutError) as exc:
            announced = "" if size is None else f" of {size} announced"
            raise TruncatedError(f"The body ended after {received}{announced} bytes. Deliver again.") from exc
        if received > BODY_BYTES_MAX:
            raise TooLargeError
        return bytes(body)

    @asynccontextmanager
    async def _lifespan(self, application: Starlette) -> AsyncGenerator[None]:
        workers = (self._dispatcher, self._statuses)
        threads = [threading.Thread(target=worker.run, name=type(worker).__name__, daemon=True) for worker in workers]
        for thread in threads:
            thread.start()
        yield
        for worker in workers:
            worker.stop()
        for thread in threads:
            await asyncio.to_thread(thread.join, 5.0)
        self._threads.shutdown(wait=False, cancel_futures=True)


def _announced_bytes(request: Request) -> int | None:
    value = request.headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() else None
