"""The first program in a sandbox that reaches servers outside of its network: it hands on ports, then is the command.

Each port of 127.0.0.1 is handed to a UNIX socket that was mounted in. Started with its whole text as an argument, by an
interpreter that knows nothing of us: only the standard library, and no file of ours has to be readable there. The
command takes over this process; what hands on becomes an orphan, so that the command has no child but its own.
"""

import contextlib
import json
import os
import socket
import sys
import threading


def listen(port: int) -> socket.socket:
    """Listen before the command starts, so that its first connection is answered."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen(128)
    return server


def accept(server: socket.socket, path: str) -> None:
    """Hand each connection on."""
    while True:
        here, _ = server.accept()
        there = socket.socket(socket.AF_UNIX)
        try:
            there.connect(path)
        except OSError:
            here.close()
            there.close()
            continue
        here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in ((here, there), (there, here)):
            threading.Thread(target=copy, args=(source, sink), daemon=True).start()


def copy(source: socket.socket, sink: socket.socket) -> None:
    """Copy one direction to its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 17):
            sink.sendall(data)
    for end, how in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with contextlib.suppress(OSError):
            end.shutdown(how)


def serve(servers: list[tuple[socket.socket, str]]) -> None:
    """Hand on until the sandbox ends; what the command prints is none of our business."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    threads = [threading.Thread(target=accept, args=pair) for pair in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(ports: str, *command: str) -> None:
    """Listen, leave a grandchild that hands on, become the command."""
    servers = [(listen(int(port)), path) for port, path in json.loads(ports).items()]
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            serve(servers)
        os._exit(0)
    os.waitpid(child, 0)
    for server, _ in servers:
        server.close()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
