"""Capacity on the embedded stack: its own sources are measured, and the page is there."""

import time
from typing import Any

import pytest
from running_stack import RunningStack

RUN_LIMIT_S = 180


def run(stack: RunningStack, name: str, **parameters: Any) -> dict[str, Any]:
    """Start a deployment and wait for its end."""
    deployment = stack.prefect("GET", f"/deployments/name/{name}/{name}")["id"]
    started = stack.prefect("POST", f"/deployments/{deployment}/create_flow_run", json={"parameters": parameters})
    deadline = time.monotonic() + RUN_LIMIT_S
    while (found := stack.prefect("GET", f"/flow_runs/{started['id']}"))["state"]["type"] not in (
        "COMPLETED",
        "FAILED",
        "CRASHED",
        "CANCELLED",
    ):
        assert time.monotonic() < deadline, found["state"]
        time.sleep(1)
    return found


def artifact(stack: RunningStack, key: str) -> str:
    """The newest text that was published under a key; empty without one."""
    found = stack.prefect(
        "POST", "/artifacts/filter", json={"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 1}
    )
    return str(found[0]["data"]) if found else ""


@pytest.mark.live
def test_the_stack_measures_itself_and_says_what_runs_out_first(stack: RunningStack):
    collected = run(stack, "collect_usage")
    assert collected["state"]["type"] == "COMPLETED", collected["state"]
    told = artifact(stack, "usage-collected")
    assert "gave nothing" not in told and "answered" not in told, told
    shown = run(stack, "capacity")
    assert shown["state"]["type"] == "COMPLETED", shown["state"]
    page = artifact(stack, "capacity")
    # an hour after `slipway up` nothing has a forecast yet, and each resource says so
    for key in ("disk", "memory", "connections", "cpu"):
        assert f"| {key}: " in page, page[:3000]
    assert "are known and 48 are needed" in page, page
    assert list((stack.state / "reports").glob("capacity-*.html"))
