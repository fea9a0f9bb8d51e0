"""What PostgreSQL calls for each segment of its log: passes it on to a resident process over a UNIX socket.

`archive_command` and `restore_command` start this file once a segment, as the server's user, so it must start in
milliseconds, need no package and hold no key: only the standard library, isolated (`python -I -S`).

Usage: wal_client.py SOCKET put NAME | wal_client.py SOCKET get NAME PATH

Exit codes: 0 done; 1 not done, ask again (or, for get: there is no such segment, which ends recovery); 200 damaged or
no answer, which makes PostgreSQL stop its recovery instead of taking it for the end of the log.
"""

import os
import socket
import sys

LIMIT_S = 25
"""Shorter than PostgreSQL's own end may take: a shutdown waits for the segment at hand."""
STOP = 200


def main(path, action, name, target=None):  # type: ignore[no-untyped-def]
    """Ask, and say what the exit code is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(LIMIT_S)
        link.connect(path)
        link.sendall(f"{action} {name}\n".encode())
        with link.makefile("rb") as answer:
            word, _, rest = answer.readline().decode().strip().partition(" ")
            if word == "ok" and action == "get":
                return receive(answer, int(rest), target)
    if word == "ok":
        return 0
    sys.stderr.write(f"{action} {name}: {rest or 'no answer'}\n")
    return 1 if action == "put" or word == "missing" else STOP


def receive(answer, size, target):  # type: ignore[no-untyped-def]
    """Write what comes into the place that the server named; whole or not at all."""
    draft = f"{target}.draft"
    with open(draft, "wb") as file:  # noqa: PTH123
        left = size
        while left and (piece := answer.read(min(left, 1 << 20))):
            file.write(piece)
            left -= len(piece)
        file.flush()
        os.fsync(file.fileno())
    if left:
        return STOP
    os.replace(draft, target)  # noqa: PTH105
    return 0


if __name__ == "__main__":
    try:
        code = main(*sys.argv[1:])
    except OSError as exc:
        sys.stderr.write(f"{sys.argv[1]}: {exc}\n")
        code = 1 if sys.argv[2] == "put" else STOP
    raise SystemExit(code)
