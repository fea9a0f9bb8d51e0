"""One HTTP request, to see whether somebody answers: health of an instance, smoke tests of a site.

An answer is a value, and so is its absence: a probe never raises for what the other side does.
"""

import http.client
import time
from urllib.parse import urlsplit

from domain.service import Probe

_BODY_BYTES_MAX = 1_000_000


def probe(url: str, host: str | None = None, timeout_s: float = 5.0) -> Probe:
    """Ask `url` with GET once, on a connection of its own, and read the answer to its end.

    Redirects are answers, not followed; proxies of the environment are not used.

    Args:
        url: `http://host:port/path?query`.
        host: the Host to name instead of the URL's own, as a load balancer's rules want it.
        timeout_s: how long each step (connect, first byte, next bytes) may take.
    """
    parts = urlsplit(url)
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    started = time.monotonic()
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)
    try:
        headers = {"User-Agent": "slipway-probe", "Connection": "close"}
        connection.request("GET", path, headers=headers | ({"Host": host} if host else {}))
        response = connection.getresponse()
        response.read(_BODY_BYTES_MAX)
        return Probe(url=url, status=response.status, seconds=time.monotonic() - started)
    except (OSError, http.client.HTTPException) as exc:
        error = f"{type(exc).__name__}: {exc}"[:256]
        return Probe(url=url, status=0, seconds=time.monotonic() - started, error=error)
    finally:
        connection.close()
