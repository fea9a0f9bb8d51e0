"""Become a program: exactly the environment that was written down for it, and no ignored signals.

Supervisor's own `environment=` cuts values at ` ;` and `#` and can't quote; and its children inherit its environment.
So supervisor starts this file with the path of a JSON file (`command`, `environment`, readable by that user only), and
this file becomes the command, under the same pid. Only the standard library: it runs from a copy in the state folder,
with an interpreter that knows nothing of us, as any user.
"""

import json
import os
import signal
import sys

KEPT = ("SUPERVISOR_PROCESS_NAME", "SUPERVISOR_GROUP_NAME", "SLIPWAY_STACK")


def main(path: str) -> None:
    """Read the launch file and become its command."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib would double this program's start time
        launch = json.load(file)
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(name, signal.SIG_DFL)
    os.execvpe(launch["command"][0], launch["command"], {**launch["environment"], **kept})


if __name__ == "__main__":
    main(sys.argv[1])
