"""Quiet for a moment: no run begins and none is at work, while what every run holds is replaced. Gates wait on."""

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from deployments.doctor.case import Case
from domain.errors import TransientError

_AT_WORK = ("PENDING", "RUNNING", "CANCELLING")
_POLL_S = 1.0


def open_pools(case: Case) -> list[str]:
    """Name the work pools that start runs now."""
    return [str(pool["name"]) for pool in case.ask("POST", "/work_pools/filter", {}) if not pool["is_paused"]]


def pause_pools(case: Case, names: Sequence[str], *, paused: bool) -> None:
    """Let pools rest, or work again. May be repeated."""
    for name in names:
        case.ask("PATCH", f"/work_pools/{name}", {"is_paused": paused})


def wait_quiet(case: Case, *, limit_s: float, say: Callable[[str], None]) -> None:
    """Wait until no run is at work.

    Raises: TransientError naming the first that still is, at the limit.
    """
    deadline = time.monotonic() + limit_s
    told = False
    while runs := _at_work(case):
        if time.monotonic() > deadline:
            raise TransientError(
                f"{len(runs)} runs are at work, the first is '{runs[0]['name']}'. Wait until they have ended, or "
                f"cancel them (slipway prefect flow-run cancel {runs[0]['id']}), then run the same command again."
            )
        if not told:
            say(f"waiting for {len(runs)} runs at work, at most {limit_s:.0f} s")
            told = True
        time.sleep(_POLL_S)


def _at_work(case: Case) -> list[dict[str, Any]]:
    wanted = {"flow_runs": {"state": {"type": {"any_": list(_AT_WORK)}}}, "limit": 50}
    return cast(list[dict[str, Any]], case.ask("POST", "/flow_runs/filter", wanted))
