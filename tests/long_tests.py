"""Live tests that take minutes each and are asked for by name: `SLIPWAY_TEST_LONG=1 make test`."""

import os

import pytest

asked_for = pytest.mark.skipif(
    os.environ.get("SLIPWAY_TEST_LONG") != "1", reason="asked for by name: SLIPWAY_TEST_LONG=1 make test"
)
