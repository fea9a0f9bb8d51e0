"""The demo itself: the whole main job under load, unattended, with every claim of its summary held."""

import json
import os

import pytest
from running_stack import RunningStack
from secret_scan import scan_installation

pytestmark = [
    pytest.mark.live,
    pytest.mark.long,
    pytest.mark.timeout(1200),
    pytest.mark.skipif("SLIPWAY_TEST_DEMO" not in os.environ, reason="ten minutes: set SLIPWAY_TEST_DEMO=1"),
]


def test_every_claim_of_the_demo_holds(stack: RunningStack) -> None:
    done = stack.slipway("demo", timeout_s=1100)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    summary = json.loads((stack.state / "demo" / "summary.json").read_text())
    assert summary["passed"] is True and all(summary["claims"].values()), summary
    assert summary["failed_outside_canary"] == 0
    assert summary["requests"] > 1000 and summary["canary_requests"] > 0
    assert summary["rollback_s"] is not None and summary["manual_rollback_s"] is not None
    found = scan_installation(stack.installation)
    assert not found, "\n".join(map(str, found))
