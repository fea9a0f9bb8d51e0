"""A door for PostgreSQL's log: a resident process that takes segments in, or hands them out, over a UNIX socket.

The far end is `blocks/wal_client.py`, started by PostgreSQL once a segment. Resident, because starting Python with an
S3 client takes a second and a segment takes a few hundredths; and because the server's own user then needs neither our
packages nor our keys. Files are found by name in one folder: the caller can't make us read another.
"""

import contextlib
import os
import socketserver
import stat
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from blocks.identity import give
from blocks.wal_archive import WalArchive
from domain.errors import SlipwayError
from domain.wal import is_segment, is_wal_file, next_segment

_REQUEST_BYTES_MAX = 256
_AHEAD = 4


class _Missing(Exception):
    """There is no such file of the log."""


class Archiving:
    """Takes segments from the server's own folder into the archive."""

    def __init__(self, archive: WalArchive, folder: Path) -> None:
        self._archive = archive
        self._folder = folder

    def __call__(self, action: str, name: str) -> bytes:
        if action != "put":
            raise ValueError(f"{action} is not done here")
        self._archive.put(name, self._read(name))
        return b""

    def _read(self, name: str) -> bytes:
        descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{name} is no file")
            return file.read()


class Serving:
    """Hands segments out of the archive, and fetches the next ones while the server replays."""

    def __init__(self, archive: WalArchive) -> None:
        self._archive = archive
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._ahead: dict[str, Future[bytes | None]] = {}
        self._guard = threading.Lock()

    def __call__(self, action: str, name: str) -> bytes:
        if action != "get":
            raise ValueError(f"{action} is not done here")
        with self._guard:
            waited = self._ahead.pop(name, None)
        content = waited.result() if waited else self._archive.get(name)
        if content is None:
            raise _Missing(name)
        if is_segment(name):
            self._look_ahead(name, len(content))
        return content

    def _look_ahead(self, name: str, size: int) -> None:
        with self._guard:
            wanted: list[str] = []
            for _ in range(_AHEAD):
                name = next_segment(name, segment_bytes=size)
                wanted.append(name)
            self._ahead = {one: future for one, future in self._ahead.items() if one in wanted}
            for one in wanted:
                if one not in self._ahead:
                    self._ahead[one] = self._pool.submit(self._archive.get, one)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Door(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, path: str, answer: Callable[[str, str], bytes], say: Callable[[str], None]) -> None:
        self.answer, self.say = answer, say
        super().__init__(path, _Caller)

    def handle_error(self, request: object, client_address: object) -> None:
        self.say("a caller went away")


class _Caller(socketserver.StreamRequestHandler):
    timeout = 300

    def handle(self) -> None:
        action, _, name = self.rfile.readline(_REQUEST_BYTES_MAX).decode("ascii", "replace").strip().partition(" ")
        server = self.server
        assert isinstance(server, _Door)
        try:
            if not is_wal_file(name):
                raise ValueError("that is no file of the log")
            content = server.answer(action, name)
            # in one piece: after the first line of an answer to `put` the caller is gone
            self.wfile.write(f"ok {len(content)}\n".encode() + content)
        except _Missing:
            self.wfile.write(b"missing there is no such segment\n")
        except (SlipwayError, OSError, ValueError) as exc:
            words = " ".join(str(exc).split())[:256]
            server.say(f"{action} {name[:40]!r} failed: {words}")
            with contextlib.suppress(OSError):
                self.wfile.write(f"failed {words}\n".encode())


@contextmanager
def open_door(
    path: Path,
    answer: Callable[[str, str], bytes],
    *,
    user: str | None,
    say: Callable[[str], None] = lambda words: None,
) -> Generator[_Door]:
    """Answer at a socket that only `user` may connect to, until the `with` is left; in threads of its own."""
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        door = _Door(str(path), answer, say)
    finally:
        os.umask(before)
    give(path, user)
    thread = threading.Thread(target=door.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    try:
        yield door
    finally:
        door.shutdown()
        door.server_close()
        path.unlink(missing_ok=True)
