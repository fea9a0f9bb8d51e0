"""The outside client at work: started as a process of its own, its answers read while it goes on.

The process ends with us, whatever becomes of us (`blocks/guarded.py`), and at its own time limit.
"""

import http.client
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import urlsplit

from blocks.guarded import Guarded, Order
from blocks.identity import clean_environment
from deployments.demo.commits import ROOT
from deployments.demo.counting import Answer

PROGRAM = ROOT / "examples" / "load" / "load.py"
SECONDS_MAX = 3000


@dataclass(frozen=True, slots=True)
class Entry:
    """Where visitors come in: a site's entry, and how many requests a second it gets."""

    site: str
    url: str
    rate: float


class Visitors:
    """Visitors of one application; `answers` grows with each `read`."""

    def __init__(self, entries: Sequence[Entry], *, host: str, file: Path) -> None:
        self.answers: list[Answer] = []
        self.newest: Counter[str] = Counter()
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        sites = [argument for entry in entries for argument in ("--site", f"{entry.site}={entry.url}={entry.rate:g}")]
        command = [sys.executable, str(PROGRAM), *sites, "--host", host, "--output", str(file)]
        order = Order(
            command=[*command, "--seconds", str(SECONDS_MAX)],
            directory=file.parent,
            environment=clean_environment(),
            limit_s=SECONDS_MAX + 60,
            log=file.with_suffix(".log"),
            stop_signal=15,
            stop_limit_s=15,
        )
        self._process = Guarded(order)
        self._file: IO[str] = file.open(encoding="utf-8")
        self._rest = ""
        self._heard_at = time.monotonic()

    @property
    def silence_s(self) -> float:
        """How long no answer came in any more: a process that has ended, or a service that hangs wholly."""
        return time.monotonic() - self._heard_at

    def read(self) -> list[Answer]:
        """Read what came in since the last time, and return only that."""
        text = self._rest + self._file.read()
        lines = text.split("\n")
        self._rest = lines.pop()
        found = [Answer(**json.loads(line)) for line in lines if line]
        self.answers += found
        self._heard_at = time.monotonic() if found else self._heard_at
        self.newest = Counter(answer.release for answer in found if answer.release)
        return found

    def stop(self) -> None:
        """Let the last answers come in, then end."""
        self._process.stop()
        self.read()
        self._file.close()

    def __enter__(self) -> "Visitors":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()
        self._file.close()


def read_served(url: str, host: str) -> str:
    """Ask an entry which release answers; empty where none does."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=5)
    try:
        connection.request("GET", "/version", headers={"Host": host})
        response = connection.getresponse()
        response.read()
        return response.headers.get("X-Release", "") if response.status == 200 else ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
