"""Waiting for a part that is away, visibly and not for ever."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_logger, get_run_logger

from blocks.world import open_world
from domain.errors import RefusedError, TransientError
from tasks.recording import is_engine_away

R = TypeVar("R")

WAIT_LIMIT_S = 600
WAIT_LIMIT_BY_HAND_S = 15
"""Break-glass has other sites to look after."""
PAUSE_S = 5
TOLD_EVERY_S = 30


def patiently(what: str, act: Callable[[], R]) -> R:
    """Do what may be done again; while the world is not ready, say since when and why, and try until the limit.

    Raises: RefusedError where the limit is over; nothing was left half done.
    """
    clock = open_world().clock
    limit_s = WAIT_LIMIT_BY_HAND_S if is_engine_away() else WAIT_LIMIT_S
    since = clock.now()
    told = since - timedelta(seconds=TOLD_EVERY_S)
    while True:
        try:
            done = act()
        except TransientError as exc:
            now = clock.now()
            if now - since >= timedelta(seconds=limit_s):
                raise RefusedError(
                    f"{what} waited {limit_s} s, since {since:%H:%M:%S} UTC, and gave up: {exc} "
                    "Nothing was left half done; bring it back (`slipway doctor`), then start this again."
                ) from exc
            if now - told >= timedelta(seconds=TOLD_EVERY_S):
                told = now
                _say(logging.WARNING, f"{what} waits since {since:%H:%M:%S} UTC: {exc}")
            clock.sleep(PAUSE_S)
        else:
            if told >= since:
                _say(logging.INFO, f"{what} goes on after {(clock.now() - since).total_seconds():.0f} s")
            return done


def _say(level: int, text: str) -> None:
    has_run = FlowRunContext.get() is not None or TaskRunContext.get() is not None
    (get_run_logger() if has_run else get_logger("slipway")).log(level, "%s", text)
