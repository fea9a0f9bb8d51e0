"""Other people's backup tools as programs: tried before use, followed while they run, ended with all their children."""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import psutil

from blocks.guarded import Guarded, Order
from blocks.identity import clean_environment
from domain.backup import BackupProgress
from domain.errors import InvariantError, TransientError
from domain.service import Outcome

STALLED_S = 900.0
_POLL_S = 0.5
_MOVED_BYTES = 1_000_000
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


def follow(
    order: Order,
    bytes_total: int,
    on_progress: Callable[[BackupProgress], None],
    *,
    reads_by_children: bool = False,
    stalled_s: float = STALLED_S,
) -> Outcome:
    """Run a command to its end and tell meanwhile how much of the server it has read.

    Args:
        reads_by_children: whether its children read the server's files, or it alone.
        stalled_s: it is ended, with all of its children, once it has read next to nothing for so long: a tool that
            tries again for ever while the store is away holds up every later backup.

    Raises: TransientError where it was ended so.
    """
    begun, outcome = time.monotonic(), list[Outcome]()
    mark, marked_at = 0, begun
    with Guarded(order) as guarded:
        waiting = threading.Thread(target=_wait, args=(guarded, outcome), daemon=True)
        waiting.start()
        while waiting.is_alive():
            read, now = _bytes_read(guarded.process.pid, reads_by_children), time.monotonic()
            done = max(0, read - _READ_BEFORE_BYTES)
            on_progress(BackupProgress(min(done, bytes_total), bytes_total, now - begun))
            if abs(read - mark) > _MOVED_BYTES:
                mark, marked_at = read, now
            if now - marked_at > stalled_s:
                raise TransientError(f"{Path(order.command[0]).name} read nothing for {stalled_s:.0f} s and was ended.")
            waiting.join(_POLL_S)
    if not outcome:
        raise InvariantError("The guard of a backup was killed. Run again.")
    return outcome[0]


def _wait(guarded: Guarded, outcome: list[Outcome]) -> None:
    with suppress(InvariantError, ValueError):  # the guard was killed, or let go of
        outcome.append(guarded.wait())


def _bytes_read(guard: int, has_children: bool) -> int:
    try:
        children = psutil.Process(guard).children(recursive=has_children)
    except (psutil.Error, OSError):
        return 0
    return sum(_read_by(one) for one in (children if has_children else children[:1]))


def _read_by(process: psutil.Process) -> int:
    try:
        return int(cast(Any, process.io_counters()).read_chars)
    except (psutil.Error, OSError):
        return 0
