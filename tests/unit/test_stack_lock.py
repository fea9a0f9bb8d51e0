"""One `up` or `down` at a time."""

import os
from pathlib import Path

import pytest

from deployments.stack.lock import exclusive
from domain.errors import TransientError


def test_a_second_one_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(TransientError, match=rf"pid {os.getpid()}\)"), exclusive(tmp_path):
        pytest.fail("two at once")
    with exclusive(tmp_path):
        pass
