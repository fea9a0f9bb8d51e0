"""Short questions to the parts: do they answer?"""

import base64
import http.client
import json
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from blocks.installation import Installation, read_secret
from domain.errors import TransientError

POOL = "slipway"
PRODUCTION_POOL = "slipway-production"
WORKERS = {"worker": POOL, "worker-production": PRODUCTION_POOL}
"""The workers by the name of their part, and the pool that each serves."""

_ANSWER_LIMIT_S = 3.0
_HEARTBEAT_AGE_S_MAX = 100.0
# Nothing of ours is behind the operator's proxy.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers_http(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        with _OPENER.open(url, timeout=_ANSWER_LIMIT_S) as answer:
            return 200 <= answer.status < 300
    except (OSError, http.client.HTTPException):
        return False


def worker_polls(installation: Installation, pool: str, *, since: datetime) -> bool:
    """Whether a pool's worker that started at `since` has told Prefect so, and lately; no server is a no."""
    url = f"{installation.prefect_api_url}/work_pools/{pool}/workers/filter"
    token = base64.b64encode(read_secret("prefect_auth", state=installation.state).encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data=b"{}", headers=headers)
    try:
        with _OPENER.open(request, timeout=_ANSWER_LIMIT_S) as answer:
            workers = json.load(answer)
    except (OSError, http.client.HTTPException, ValueError):
        return False
    beats = [datetime.fromisoformat(one["last_heartbeat_time"]) for one in workers if one["last_heartbeat_time"]]
    oldest = max(since, datetime.now(UTC) - timedelta(seconds=_HEARTBEAT_AGE_S_MAX))
    return any(beat >= oldest for beat in beats)


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
