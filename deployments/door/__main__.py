"""`python -m deployments.door`: the door on 127.0.0.1, started by the embedded stack's supervisor."""

import logging

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from blocks.installation import read_installation
from blocks.world import open_world
from deployments.door.web import Door

_CONNECTIONS_MAX = 200
_GRACE_S = 10


class TruncationAwareProtocol(H11Protocol):
    """HTTP/1.1 that answers 400 where a client closes its side in the middle of a request.

    Uvicorn drops such a connection without a word; a forge's operator then has nothing to read.
    """

    def eof_received(self) -> None:
        if self.conn.their_state is h11.SEND_BODY and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            try:
                self.send_400_response("The request ended before its announced length. Deliver again.")
            except h11.LocalProtocolError:
                self.transport.close()  # an answer was on its way already


def main() -> None:
    """Serve until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    serve(Door(open_world()), port=read_installation().ports["door"])


def serve(door: Door, *, port: int) -> None:
    """Serve a door on a port of 127.0.0.1."""
    config = uvicorn.Config(
        door.application(),
        host="127.0.0.1",
        port=port,
        http=TruncationAwareProtocol,
        ws="none",
        loop="asyncio",
        access_log=False,
        server_header=False,
        log_config=None,
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_graceful_shutdown=_GRACE_S,
        lifespan="on",
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
