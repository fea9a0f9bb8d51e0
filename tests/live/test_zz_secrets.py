"""After a whole journey no secret is anywhere but where it belongs: files, databases, Prefect's API, processes.

Sorts last among the live tests, so that the session's stack has been through all of them; alone it makes a journey.
"""

import base64
import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from journey import NAME, Journey, Visitors
from running_stack import RunningStack
from secret_scan import read_secrets, scan_installation

from domain.ports import ForgeAccess

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def travelled(stack: RunningStack) -> Generator[RunningStack]:
    """A stack with at least one release that is live in production, with a secret of its own, and a head anchored."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-secrets-"))
    journey = Journey(stack, folder)
    for value in ("a-token-of-the-tests-0", "a-token-of-the-tests-1"):
        journey.world.settings.change(NAME, "production", actor="tests", secrets={"API_TOKEN": value})
    # nobody listens there: what is tried, and given up, leaves its traces too
    journey.world.applications.set_forge_access(NAME, ForgeAccess("http://127.0.0.1:9", "a-forge-token-of-the-tests"))
    release = journey.deliver(f"secrets {time.time()}")
    run, _ = journey.wait_gate(release)
    with Visitors(stack.installation.ports["entry-production-alpha"]).visiting():
        journey.answer(run, code="000000")
        journey.approve(release)
        assert journey.wait_end(run)["type"] == "COMPLETED"
    assert journey.entries("rollout.completed", release=release, environment="production")
    yield stack
    journey.world.close()
    shutil.rmtree(folder)


def test_the_release_was_anchored_and_the_ledger_agrees(travelled: RunningStack) -> None:
    done = travelled.slipway("ledger", "verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "agrees with" in done.stdout, done.stdout


def test_no_secret_is_anywhere_after_a_whole_journey(travelled: RunningStack) -> None:
    names = {secret.name for secret in read_secrets(travelled.installation)}
    assert {"seal_key", "s3_anchor_secret_key", "seed of ann", "raw seed of ann", f"webhook secret of {NAME}"} <= names
    assert f"forge token of {NAME}" in names
    assert {f"database-{NAME}_production", f"API_TOKEN of {NAME}_production"} <= names
    found = scan_installation(travelled.installation)
    assert not found, "\n".join(map(str, found))


def test_a_secret_that_leaks_is_found_wherever_it_lies(travelled: RunningStack) -> None:
    """The scan above is worth what this one finds."""
    seed = next(one for one in read_secrets(travelled.installation) if one.name == "raw seed of ann")
    leak = travelled.state / "logs" / "leak.log"
    leak.write_text(f"seed={seed.value.hex()}\n")
    value = base64.b64encode(b"x" + seed.value).decode()
    variable = travelled.prefect("POST", "/variables/", json={"name": "leak", "value": value})
    try:
        found = {(one.secret, one.place) for one in scan_installation(travelled.installation)}
    finally:
        leak.unlink()
        travelled.prefect("DELETE", f"/variables/{variable['id']}")
    places = ("logs/leak.log", "database prefect, public.variable", "Prefect's API, /variables/filter")
    # Prefect also writes a variable's value into the event that it was made, a moment later
    assert {("raw seed of ann", place) for place in places} <= found
    assert {secret for secret, _ in found} == {"raw seed of ann"}
