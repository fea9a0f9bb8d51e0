"""The tiny service with a database: what is said there outlives its disk, or the recovery was none."""

import argparse
import itertools
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg

SLEEP_S = 0.0
FAILS_EVERY = 0
IS_HEALTHY = True
VERSION = "0"

requests = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status = 200
        if self.path in ("/healthz", "/readyz"):
            status = 200 if IS_HEALTHY else 503
        else:
            time.sleep(SLEEP_S)
            if FAILS_EVERY and next(requests) % FAILS_EVERY == 0:
                status = 500
        body = f"{VERSION}\n".encode()
        if self.path == "/notes":
            with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
                rows = connection.execute("SELECT text, file FROM notes ORDER BY id").fetchall()
            body = "".join(f"{text} {file}\n" for text, file in rows).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Release", os.environ.get("SLIPWAY_RELEASE", ""))
        self.send_header("X-Settings", os.environ.get("SLIPWAY_SETTINGS", ""))
        self.send_header("X-Greeting", os.environ.get("GREETING", ""))
        self.send_header("X-Key-Length", str(len(os.environ.get("TINY_KEY", ""))))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    server = ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    if not IS_HEALTHY:
        print("tiny: cannot read its configuration", file=sys.stderr, flush=True)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
