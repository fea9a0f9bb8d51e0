"""A drill on a whole stack: by the deployment, with the keys of the production worker, on the stack's own backup."""

import json

import pytest
from running_stack import RunningStack

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


def test_a_backup_of_the_stack_is_proven_by_its_drill(stack: RunningStack):
    for name in ("backup", "restore_drill"):
        done = stack.slipway("prefect", "deployment", "run", f"{name}/{name}", "--watch")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    shown = stack.slipway("ledger", "show", "--kind", "drill.completed", "--json")
    (drill,) = [json.loads(line) for line in shown.stdout.splitlines()][-1:]
    assert drill["data"]["verdict"] == "PASS" and drill["data"]["signature"], drill
    shown = stack.slipway("ledger", "show", "--kind", "drill.tampered", "--json")
    assert {json.loads(line)["data"]["noticed"] for line in shown.stdout.splitlines()} == {"yes"}
    assert not list((stack.state / "work" / "drills").iterdir())
