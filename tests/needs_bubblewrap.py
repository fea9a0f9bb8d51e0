"""Tests that need bubblewrap: where it is missing they are skipped with the reason, and fail where CI requires it."""

import os
import subprocess

import pytest

_LOOK = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]


def _why_not() -> str:
    if os.environ.get("SLIPWAY_REQUIRE_BUBBLEWRAP"):
        return ""
    try:
        done = subprocess.run(_LOOK, capture_output=True, text=True, check=False, timeout=20)
    except OSError as exc:
        return f"bubblewrap does not run: {exc}"
    return f"bubblewrap does not work here: {done.stderr.strip()[:200]}" if done.returncode else ""


needs_bubblewrap = pytest.mark.skipif(bool(_why_not()), reason=_why_not())
