"""One `up` or `down` at a time for each state folder."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from domain.errors import TransientError


@contextmanager
def exclusive(state: Path) -> Generator[None]:
    """Hold the state folder's lock; the system frees it when this process ends, however it ends.

    Raises: TransientError naming the process that holds it.
    """
    path = state / "up.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            file.seek(0)
            raise TransientError(
                f"Another `slipway up` or `slipway down` (pid {file.read().strip() or 'unknown'}) works on {state}. "
                "Wait for it, then try again."
            ) from exc
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
