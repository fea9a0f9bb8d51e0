"""Tests that need Redis or RabbitMQ: skipped with the reason where one is missing, a failure where CI requires it."""

import os
import shutil

import pytest

from blocks.middleware import Middleware, RabbitServer, RedisServer


def _needs(kind: type[Middleware]) -> pytest.MarkDecorator:
    is_missing = not os.environ.get("SLIPWAY_REQUIRE_MIDDLEWARE") and shutil.which(kind.program) is None
    return pytest.mark.skipif(is_missing, reason=f"no {kind.program}: apt install {kind.package}")


needs_redis = _needs(RedisServer)
needs_rabbitmq = _needs(RabbitServer)
