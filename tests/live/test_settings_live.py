"""Settings on a real stack: a change goes live without a failed request, and a secret reaches the service alone."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import httpx
import psutil
import pytest
from journey import NAME, Journey, Visitors, until
from running_stack import RunningStack

from blocks.target_local import LocalTarget
from domain.revision import name_revision

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]
SECRET = "correct-horse-battery-staple-of-the-tests"


@pytest.fixture(scope="module")
def journey(stack: RunningStack) -> Generator[Journey]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-settings-"))
    journey = Journey(stack, folder)
    yield journey
    # leave no settings behind that other modules would roll out
    names = journey.world.settings.latest(NAME, "production").names
    if names:
        journey.world.settings.change(NAME, "production", actor="tests", unset=names)
    journey.world.close()
    shutil.rmtree(folder)


def set_secret(journey: Journey, name: str, value: str) -> str:
    """Set a secret as an operator does: its value comes through a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "secret", "set", NAME, "production", name],
        cwd=journey.stack.home,
        env=journey.stack.environ,
        input=value + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def answer_of(journey: Journey, site: str) -> httpx.Headers:
    port = journey.stack.installation.ports[f"entry-production-{site}"]
    return httpx.get(f"http://127.0.0.1:{port}/", headers={"Host": f"{NAME}.localhost"}, trust_env=False).headers


def processes_with(secret: str) -> set[str]:
    """The kinds of processes that have a secret in their environment or arguments: the instances' names, or others."""
    found: set[str] = set()
    for process in psutil.process_iter():
        try:
            places = [*process.environ().values(), *process.cmdline()]
        except psutil.Error:
            continue
        if any(secret in place for place in places):
            found.add("instance" if "app.py" in " ".join(process.cmdline()) else " ".join(process.cmdline())[:200])
    return found


def test_a_change_of_settings_goes_live_without_a_failed_request_and_comes_back(journey: Journey) -> None:
    release = journey.deliver("with settings")
    with Visitors(journey.stack.installation.ports["entry-production-alpha"]).visiting():
        first = journey.approve(release)
        journey.wait("rollout.completed", release=release, environment="production")
    before = journey.world.settings.latest(NAME, "production").version

    assert SECRET not in set_secret(journey, "TINY_KEY", SECRET)
    done = journey.stack.slipway("config", "set", NAME, "production", "GREETING=hello there", "--apply")
    assert done.returncode == 0, done.stdout + done.stderr
    version = before + 2
    revision = name_revision(release, version)
    assert answer_of(journey, "alpha")["x-greeting"] == "", "nothing changes before the rollout"

    with Visitors(journey.stack.installation.ports["entry-production-alpha"]).visiting() as visitors:
        asked = until(
            lambda: [e for e in journey.entries("approval.requested", release=release) if e.event.run != first],
            limit_s=120,
            what="a gate",
        )
        run = asked[0].event.run
        journey.wait_gate(release)
        assert journey.answer(run, code=journey.code("ann"))["status"] == "ACCEPT"
        ended = until(
            lambda: journey.entries("rollout.completed", run=run, environment="production"),
            limit_s=180,
            what="the settings to be live",
        )
    assert ended[0].data["settings"] == version
    assert visitors.failed_outside("") == {} and sum(visitors.answers.values()) > 100
    for site in ("alpha", "beta"):
        headers = answer_of(journey, site)
        assert (headers["x-release"], headers["x-settings"]) == (release, str(version))
        assert (headers["x-greeting"], headers["x-key-length"]) == ("hello there", str(len(SECRET)))
        target = LocalTarget(environment="production", site=site, state=str(journey.stack.state))
        assert {one.state for one in target.instances(NAME) if one.release == revision} == {"running"}

    # the secret is where it belongs, and nowhere else
    assert processes_with(SECRET) == {"instance"}
    holders = [
        path
        for path in journey.stack.state.rglob("*")
        if path.is_file() and not path.is_symlink() and SECRET.encode() in path.read_bytes()
    ]
    assert holders and all(path.stat().st_mode & 0o077 == 0 for path in holders), holders
    assert SECRET not in "".join(str(entry) for entry in journey.world.ledger.entries(limit=100_000))

    code = journey.code("ann")
    back = journey.stack.slipway("rollback", NAME, "--as", "ann", "--reason", "the old greeting", "--code", code)
    assert back.returncode == 0, back.stdout + back.stderr
    for site in ("alpha", "beta"):
        headers = answer_of(journey, site)
        assert (headers["x-release"], headers["x-greeting"]) == (release, "")
