"""A load generator: requests without pause over kept and fresh connections, each answer counted."""

import asyncio
import threading
import time
from collections import Counter
from types import TracebackType


class Load:
    """Sends GET and POST in turn while the `with` block runs; `answers` counts by status, `problems` says the rest."""

    def __init__(self, url: str, host: str, *, kept: int = 4, fresh: int = 4, pause_s: float = 0.004) -> None:
        self._port, self._host = int(url.rpartition(":")[2]), host
        self._kept, self._fresh, self._pause_s = kept, fresh, pause_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.answers: Counter[str] = Counter()
        self.problems: list[str] = []

    @property
    def total(self) -> int:
        return self.answers.total() + len(self.problems)

    @property
    def failed(self) -> dict[str, int]:
        """Everything but answers of 200."""
        return {name: count for name, count in self.answers.items() if not name.startswith("200 ")}

    def __enter__(self) -> "Load":
        self._thread.start()
        while self.total < 20:
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(30)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._kept + self._fresh):
                group.create_task(self._work(is_kept=number < self._kept))

    async def _work(self, *, is_kept: bool) -> None:
        streams = None
        turn = 0
        while not self._done.is_set():
            turn += 1
            try:
                streams = streams or await asyncio.open_connection("127.0.0.1", self._port)
                async with asyncio.timeout(15):
                    self.answers[await self._send(*streams, is_post=turn % 2 == 0)] += 1
            except (OSError, ValueError, IndexError, asyncio.IncompleteReadError, TimeoutError) as exc:
                self.problems.append(f"{'kept' if is_kept else 'fresh'} connection: {exc!r}")
                streams = self._close(streams)
            if not is_kept:
                streams = self._close(streams)
            await asyncio.sleep(self._pause_s)
        self._close(streams)

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_post: bool) -> str:
        body = b"x" * 50 if is_post else b""
        head = f"{'POST' if is_post else 'GET'} / HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        status = (await reader.readline()).split()[1].decode()
        size = 0
        while (line := await reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            size = int(value) if name.lower() == "content-length" else size
        return f"{status} {(await reader.readexactly(size)).decode().split()[0]}"

    @staticmethod
    def _close(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> None:
        if streams:
            streams[1].close()
