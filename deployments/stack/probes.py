"""Short questions to the parts: do they answer?"""

import http.client
import time
import urllib.request
from collections.abc import Callable

from domain.errors import TransientError

_ANSWER_LIMIT_S = 3.0
# Nothing of ours is behind the operator's proxy.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers_http(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        with _OPENER.open(url, timeout=_ANSWER_LIMIT_S) as answer:
            return 200 <= answer.status < 300
    except (OSError, http.client.HTTPException):
        return False


def wait_http(url: str, *, limit_s: float, is_hopeless: Callable[[], str] = lambda: "") -> None:
    """Wait until a GET is answered with success.

    Args:
        is_hopeless: asked between tries; a text that is not empty ends the waiting.

    Raises: TransientError at the limit, or with that text.
    """
    deadline = time.monotonic() + limit_s
    while not answers_http(url):
        if reason := is_hopeless():
            raise TransientError(reason)
        if time.monotonic() > deadline:
            raise TransientError(f"No answer from {url} in {limit_s:.0f} s. See `slipway status` and its log.")
        time.sleep(0.1)
