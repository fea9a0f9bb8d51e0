"""The way from a sandbox to the package registry, and to nothing else: a small HTTP proxy on a UNIX socket.

Opened by the runner for one command. What may be reached are the hosts that the package clients' settings name
(`PIP_INDEX_URL`, `pip.conf`, `NPM_CONFIG_REGISTRY`, ...), or PyPI where they name none; never a port of this
installation. A registry on this machine's loopback is handed on port by port, since clients ask no proxy for it.
"""

import os
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass

from pip._internal.models.index import PyPI

from blocks.identity import give

PROXY_PORT = 47_128
"""Where a command in a sandbox finds the proxy, on its own 127.0.0.1."""

DEFAULT_HOSTS = (f"{PyPI.netloc}:443", f"{PyPI.file_storage_domain}:443")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_URL = re.compile(r"https?://[^\s'\",|]+")
_HEAD_BYTES_MAX = 65_536
_CONNECTIONS_MAX = 64
_ANSWER_LIMIT_S = 60
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "pip_proxy"}
_END = b"\r\n\r\n"


def registry_hosts(
    settings: Mapping[str, str], files: Iterable[Path], extra: Iterable[str] = ()
) -> set[tuple[str, int]]:
    """Collect host and port of every URL in the package clients' settings and files; PyPI's where there is none."""
    texts = [value for name, value in settings.items() if name.lower() not in _PROXIES]
    texts += [path.read_text(errors="replace") for path in files if path.is_file()]
    found = {_address(url) for text in texts for url in _URL.findall(text)}
    found |= {_address(f"https://{host}") for host in (*extra, *DEFAULT_HOSTS)}
    return {address for address in found if address is not None}


def _address(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        return (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)) if parts.hostname else None
    except ValueError:
        return None


@contextmanager
def registry_way(
    hosts: Iterable[tuple[str, int]], *, forbidden_ports: Iterable[int], folder: Path, user: str | None
) -> Generator[dict[int, Path]]:
    """Open the way; yields the TCP ports for the sandbox and the UNIX sockets behind them. Gone afterwards."""
    never = set(forbidden_ports)
    allowed = {(host, port) for host, port in hosts if host not in _LOOPBACK or port not in never}
    place = Path(tempfile.mkdtemp(prefix="way-", dir=folder))
    servers: list[socket.socket] = []
    try:
        give(place, user, mode=0o700)
        proxy = _Proxy(allowed)
        ports = {PROXY_PORT: _serve(place, PROXY_PORT, proxy.answer, servers, user)}
        for _, port in sorted(address for address in allowed if address[0] in _LOOPBACK):
            ports[port] = _serve(place, port, _Forward(port).answer, servers, user)
        yield ports
    finally:
        for server in servers:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            server.close()
        shutil.rmtree(place, ignore_errors=True)


def proxy_variables(names: str) -> dict[str, str]:
    """The variables that make package clients use the proxy; `names` are the hosts that are asked without."""
    url = f"http://127.0.0.1:{PROXY_PORT}"
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    return dict.fromkeys(proxies, url) | {"NO_PROXY": names, "no_proxy": names}


def without_proxies(variables: Mapping[str, str]) -> dict[str, str]:
    """Settings without the proxies that hold outside."""
    return {name: value for name, value in variables.items() if name.lower() not in _PROXIES}


def _serve(
    place: Path, port: int, answer: Callable[[socket.socket], None], servers: list[socket.socket], user: str | None
) -> Path:
    path = place / str(port)
    server = socket.socket(socket.AF_UNIX)
    servers.append(server)
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        server.bind(f"/proc/self/fd/{descriptor}/{port}")  # the path itself may be too long for a socket
    finally:
        os.close(descriptor)
    give(path, user, mode=0o600)
    server.listen(64)
    threading.Thread(target=_accept, args=(server, answer), daemon=True).start()
    return path


def _accept(server: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    """Answer each connection in a thread of its own; at most so many at a time."""
    room = threading.BoundedSemaphore(_CONNECTIONS_MAX)

    def one(client: socket.socket) -> None:
        try:
            with client, suppress(OSError):
                answer(client)
        finally:
            room.release()

    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        room.acquire()
        threading.Thread(target=one, args=(client,), daemon=True).start()


class _Forward:
    """One port of this machine's loopback."""

    def __init__(self, port: int) -> None:
        self._port = port

    def answer(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=_ANSWER_LIMIT_S) as server:
            _join(client, server)


class _Proxy:
    """An HTTP proxy that connects to allowed hosts only; by way of the machine's own proxy where it has one."""

    def __init__(self, allowed: set[tuple[str, int]]) -> None:
        self._allowed = allowed

    def answer(self, client: socket.socket) -> None:
        client.settimeout(_ANSWER_LIMIT_S)
        head, rest = _read_head(client)
        method, _, target = head.partition(b"\r\n")[0].decode("latin-1").rpartition(" ")[0].partition(" ")
        address = _address(f"https://{target}" if method == "CONNECT" else target)
        if address not in self._allowed or (method != "CONNECT" and not target.startswith("http://")):
            why = f"{target[:200]} is no package registry of this machine; slipway.toml: network = true"
            client.sendall(f"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n{why}\n".encode())
            return
        try:
            server, first = self._connect(method, target, address, head)
        except OSError as exc:
            client.sendall(f"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n{exc}\n".encode())
            return
        with server:
            if first:
                server.sendall(first + rest)
            else:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                server.sendall(rest)
            _join(client, server)

    def _connect(self, method: str, target: str, address: tuple[str, int], head: bytes) -> tuple[socket.socket, bytes]:
        """Connect; returns also what the far end has to read first: nothing where it is a tunnel of our own."""
        scheme = "https" if method == "CONNECT" else "http"
        outside = os.environ.get(f"{scheme}_proxy") or os.environ.get(f"{scheme.upper()}_PROXY")
        if outside and not proxy_bypass(address[0]):
            parts = urlsplit(outside if "://" in outside else f"http://{outside}")
            server = socket.create_connection((str(parts.hostname), parts.port or 80), timeout=_ANSWER_LIMIT_S)
            return server, _for_proxy(head, parts.username, parts.password)
        server = socket.create_connection(address, timeout=_ANSWER_LIMIT_S)
        return server, b"" if method == "CONNECT" else _for_origin(head, target)


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    """Read a request's head, bounded. Raises: ConnectionError where there is none."""
    data = b""
    while _END not in data:
        piece = client.recv(65_536)
        if not piece or len(data) > _HEAD_BYTES_MAX:
            raise ConnectionError("no request")
        data += piece
    head, _, rest = data.partition(_END)
    return head, rest


def _for_origin(head: bytes, target: str) -> bytes:
    """Write a request as a server expects it: the path alone, one request for each connection."""
    line, *fields = head.split(b"\r\n")
    parts = urlsplit(target)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    method = line.partition(b" ")[0].decode("latin-1")
    kept = [field for field in fields if not field.lower().startswith((b"proxy-", b"connection:"))]
    return b"\r\n".join([f"{method} {path} HTTP/1.1".encode("latin-1"), *kept, b"Connection: close"]) + _END


def _for_proxy(head: bytes, user: str | None, password: str | None) -> bytes:
    """Hand a request on to the machine's proxy, with our name to it and not the command's."""
    import base64

    line, *fields = head.split(b"\r\n")
    kept = [field for field in fields if not field.lower().startswith((b"proxy-", b"connection:"))]
    if user is not None:
        known = base64.b64encode(f"{unquote(user)}:{unquote(password or '')}".encode())
        kept.append(b"Proxy-Authorization: Basic " + known)
    return b"\r\n".join([line, *kept]) + _END


def _join(one: socket.socket, other: socket.socket) -> None:
    """Copy both directions until both have ended."""
    for end in (one, other):
        end.settimeout(None)
    back = threading.Thread(target=_copy, args=(other, one), daemon=True)
    back.start()
    _copy(one, other)
    back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 17):
            sink.sendall(data)
    for end, how in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with suppress(OSError):
            end.shutdown(how)
