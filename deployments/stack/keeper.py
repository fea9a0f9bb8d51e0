"""The stack's last guard: when supervisor itself is killed, it calls `slipway up`.

Supervisor restarts every part, and nobody restarts supervisor; its children live on without anybody to restart them.
This one is such a child. It only watches its parent; the rest is `up`'s business,
which takes over what is left and starts each part once. Meanwhile it bounds the parts' logs. Only the standard library:
it must be small.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from blocks.log_rotation import rotate_logs

POLL_S = 1.0
ROTATE_S = 10.0
ATTEMPTS = 10
PAUSE_S = 15.0


def main() -> int:
    """Watch until the parent is gone, then bring the stack up; ends when that worked or after the last attempt."""
    parent, rotate_at = os.getppid(), 0.0
    folder = Path(os.environ["SLIPWAY_STATE"]) / "supervisor"
    while os.getppid() == parent:
        if time.monotonic() >= rotate_at:
            rotate_logs(folder)
            rotate_at = time.monotonic() + ROTATE_S
        time.sleep(POLL_S)
    for _ in range(ATTEMPTS):
        done = subprocess.run(
            [sys.executable, "-m", "deployments.cli", "up", "--quiet"],
            # Our own streams were pipes to supervisor; nobody reads them now.
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode == 0:
            return 0
        time.sleep(PAUSE_S)
    return 1


if __name__ == "__main__":
    sys.exit(main())
