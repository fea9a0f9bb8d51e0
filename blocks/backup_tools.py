"""Other people's backup tools as programs: tried before use, followed while they run, ended with all their children."""

import re
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import psutil

from blocks.guarded import Guarded, Order
from blocks.identity import clean_environment
from domain.backup import BackupProgress
from domain.errors import InvariantError
from domain.service import Outcome

_POLL_S = 0.5
_VERSION = re.compile(r"\b(\d+\.\d+(?:\.\d+)?)\b")
_READ_BEFORE_BYTES = 30_000_000
"""What a tool reads of itself before the first byte of the server: not counted as progress."""


@cache
def probe(tool: Path, argument: str = "--version") -> tuple[str, str]:
    """Run a binary with `--version`: (version, problem); a wheel or a package may ship one that crashes."""
    order = Order([str(tool), argument], Path("/"), clean_environment(), limit_s=60)
    with Guarded(order) as guarded:
        outcome = guarded.wait()
    match = _VERSION.search(outcome.tail)
    if outcome.exit_code != 0 or match is None:
        return "", f"does not run ({outcome.exit_code}: {' '.join(outcome.tail.split())[:120]})"
    return match[1], ""


def follow(order: Order, bytes_total: int, on_progress: Callable[[BackupProgress], None]) -> Outcome:
    """Run a command to its end and tell meanwhile how much of the server it has read."""
    begun, outcome = time.monotonic(), list[Outcome]()
    with Guarded(order) as guarded:
        waiting = threading.Thread(target=lambda: outcome.append(guarded.wait()), daemon=True)
        waiting.start()
        while waiting.is_alive():
            done = max(0, _bytes_read(guarded.process.pid) - _READ_BEFORE_BYTES)
            on_progress(BackupProgress(min(done, bytes_total), bytes_total, time.monotonic() - begun))
            waiting.join(_POLL_S)
    if not outcome:
        raise InvariantError("The guard of a backup was killed. Run again.")
    return outcome[0]


def _bytes_read(guard: int) -> int:
    try:
        children = psutil.Process(guard).children()
        return int(cast(Any, children[0].io_counters()).read_chars) if children else 0
    except (psutil.Error, OSError):
        return 0
