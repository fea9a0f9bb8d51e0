"""Whether anybody is connected to a port of this machine: how a target sees that an instance has no request left."""

import time
from collections.abc import Collection
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED = "01"
_POLL_S = 0.1
_QUIET_POLLS = 4
"""So many looks in a row find nobody: a load balancer may have chosen it a moment before it was told of the change."""


def connected_ports(ports: Collection[int]) -> set[int]:
    """Those of these ports to which somebody is connected."""
    found: set[int] = set()
    for table in _TABLES:
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for line in lines:
            fields = line.split()
            if fields[3] == _ESTABLISHED:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found & set(ports)


def await_idle(ports: Collection[int], *, limit_s: float) -> bool:
    """Wait until nobody is connected to any of these ports; False where somebody still is at the limit."""
    deadline, quiet = time.monotonic() + limit_s, 0
    while quiet < _QUIET_POLLS:
        quiet = 0 if connected_ports(ports) else quiet + 1
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
