"""Starts the service: `python -m helpdesk --host 127.0.0.1 --port 8000`.

SIGTERM: readiness turns to 503 and answers close their connections, so that a load balancer sends new work elsewhere;
after `HELPDESK_DRAIN_S` the socket closes and running requests finish. A second signal skips the draining.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType

import uvicorn

from helpdesk.app import make_app, make_desk
from helpdesk.desk import Desk
from helpdesk.logs import start_logging
from helpdesk.settings import SettingError, read_settings

log = logging.getLogger("helpdesk")

# Longer than a load balancer keeps idle connections (Traefik: 90 s): whoever closes first must be the one that sends,
# or a request and our closing cross on the wire and the request is lost.
KEEP_ALIVE_S = 120


class Server(uvicorn.Server):
    """A server that drains before it closes, and ends with 0 when it was asked to."""

    def __init__(self, config: uvicorn.Config, desk: Desk) -> None:
        super().__init__(config)
        self._desk = desk
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM and self._loop is not None and not self._desk.draining:
            self._desk.draining = True
            self._loop.call_soon_threadsafe(self._begin_drain)
        else:
            self.should_exit = True

    def _begin_drain(self) -> None:
        drain_s = self._desk.settings.drain_s
        log.info("service.draining", extra={"drain_s": drain_s})
        asyncio.get_running_loop().call_later(drain_s, self._end_drain)

    def _end_drain(self) -> None:
        self.should_exit = True


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="helpdesk", description="Serve the support desk.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    start_logging()
    try:
        settings = read_settings(os.environ)
    except SettingError as exc:
        print(f"helpdesk: {exc}", file=sys.stderr)
        return 2
    desk = make_desk(settings)
    config = uvicorn.Config(
        make_app(desk),
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.finish_limit_s,
        lifespan="on",
        ws="none",
    )
    server = Server(config, desk)
    server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
