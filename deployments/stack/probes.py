"""Short questions to the parts: do they answer?"""

import time

import httpx

from domain.errors import TransientError

_ANSWER_LIMIT_S = 3.0


def answers_http(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        return httpx.get(url, timeout=_ANSWER_LIMIT_S, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def wait_http(url: str, *, limit_s: float) -> None:
    """Wait until a GET is answered with success.

    Raises: TransientError at the limit.
    """
    deadline = time.monotonic() + limit_s
    while not answers_http(url):
        if time.monotonic() > deadline:
            raise TransientError(f"No answer from {url} in {limit_s:.0f} s. See `slipway status` and its log.")
        time.sleep(0.1)
