"""A stack of the previous version, with a release waiting at its gate, is upgraded; then the gate is answered.

The previous version comes from this repository's history, by its commit, and is played only through its own command
line and its HTTP doors.
"""

import hashlib
import hmac
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse
from uuid import uuid4

import httpx
import psycopg
import pyotp
import pytest
from running_stack import ROOT, RunningStack, copy_home, stack_environ

from blocks.installation import read_secret
from blocks.schema_version import KNOWN

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(900)]

PREVIOUS = "f2430654"
"""What was delivered last: the version that installations have. Whoever delivers the next one moves this."""
TINY = Path(__file__).parent / "tiny"


def _git(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)


def _previous_home(folder: Path) -> Path:
    """The previous version's files. Skips where the history is not at hand (archive, shallow clone), but not in CI."""
    if _git("cat-file", "-e", f"{PREVIOUS}^{{commit}}").returncode:
        assert not os.environ.get("CI"), f"commit {PREVIOUS} is not in this history: clone it whole"
        pytest.skip(f"the history does not reach commit {PREVIOUS}: clone without --depth")
    archive = _git("archive", PREVIOUS, "domain", "blocks", "tasks", "flows", "deployments", "examples", "prefect.yaml")
    assert archive.returncode == 0, archive.stderr
    home = folder / "previous"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(home, filter="data")
    return home


@pytest.fixture(scope="module")
def old() -> Generator[RunningStack]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-upgrade-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        home = _previous_home(folder)
        stack = RunningStack(home=home, state=folder / "state", environ=stack_environ(folder / "state"))
        new = RunningStack(home=copy_home(folder), state=stack.state, environ=stack.environ)
        try:
            done = stack.slipway("up")
            assert done.returncode == 0, done.stdout + done.stderr
            yield stack
        finally:
            new.slipway("down")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def new(old: RunningStack) -> RunningStack:
    return RunningStack(home=old.home.parent / "home", state=old.state, environ=old.environ)


def _until(question: Callable[[], Any], *, limit_s: float, what: str) -> Any:
    deadline = time.monotonic() + limit_s
    while not (answer := question()):
        assert time.monotonic() < deadline, what
        time.sleep(0.5)
    return answer


def _entries(stack: RunningStack, kind: str) -> list[dict[str, Any]]:
    password, port = read_secret("postgres_superuser", state=stack.state), stack.installation.ports["postgres"]
    with psycopg.connect(f"postgresql://postgres:{password}@127.0.0.1:{port}/slipway_ledger") as connection:
        rows = connection.execute(
            "SELECT kind, environment, release, run, data FROM ledger.event WHERE kind = %s ORDER BY seq", (kind,)
        )
        return [dict(zip(("kind", "environment", "release", "run", "data"), row, strict=True)) for row in rows]


def _commit(repository: Path) -> str:
    shutil.copytree(TINY, repository)
    who = ["-c", "user.name=Carl", "-c", "user.email=carl@example.org"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=repository, check=True)
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    return found.stdout.strip()


def _push(stack: RunningStack, sha: str, secret: str) -> None:
    pusher = {"login": "bob", "email": "bob@example.org"}
    body = json.dumps(
        {
            "ref": "refs/heads/main",
            "before": "0" * 40,
            "after": sha,
            "commits": [],
            "repository": {"full_name": "team/tiny"},
            "pusher": pusher,
            "sender": pusher,
        }
    ).encode()
    headers = {
        "Content-Type": "application/json",
        "X-Gitea-Event": "push",
        "X-Gitea-Delivery": str(uuid4()),
        "X-Gitea-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }
    door = f"http://127.0.0.1:{stack.installation.ports['door']}/webhooks/gitea/team/tiny"
    assert httpx.post(door, content=body, headers=headers, trust_env=False, timeout=20).status_code == 202


def _state(stack: RunningStack, run: str) -> dict[str, Any]:
    return stack.prefect("GET", f"/flow_runs/{run}")["state"]


def _live_in_test(stack: RunningStack) -> int:
    port = stack.installation.ports["entry-test-main"]
    headers = {"Host": "tiny.localhost"}
    return httpx.get(f"http://127.0.0.1:{port}/", headers=headers, trust_env=False, timeout=10).status_code


def test_a_gate_suspended_under_the_previous_version_is_answered_rightly_after_the_upgrade(
    old: RunningStack, new: RunningStack
) -> None:
    repository = old.home.parent / "tiny"
    sha = _commit(repository)
    enrolled = old.slipway("approver", "add", "ann", "--role", "approver", "--role", "administrator")
    uri = enrolled.stdout.split("Without a camera: ")[1].strip()
    totp = pyotp.TOTP(parse_qs(urlparse(uri).query)["secret"][0])
    words = ["--url", f"file://{repository}", "--repository", "team/tiny", "--forge", "gitea", "--json"]
    added = old.slipway("app", "add", "tiny", *words)
    assert added.returncode == 0, added.stderr
    _push(old, sha, json.loads(added.stdout)["secret"])
    (asked,) = _until(lambda: _entries(old, "approval.requested"), limit_s=240, what="the gate")
    run, release = asked["run"], asked["release"]
    _until(lambda: _state(old, run)["type"] == "PAUSED", limit_s=60, what="the run is suspended")

    done = new.slipway("upgrade")
    assert done.returncode == 0, done.stdout + done.stderr
    (upgraded,) = _entries(new, "upgrade.completed")
    copy = new.state / "upgrades" / upgraded["data"]["from"]["at"]
    assert {path.name for path in copy.iterdir()} == {"copy.json", "code", "prefect.dump", "slipway_ledger.dump"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in copy.glob("*.dump"))
    assert _schema(new) == KNOWN and new.slipway("doctor").returncode == 0
    assert _live_in_test(new) == 200, "what users reach was not stopped"
    assert _state(new, run)["type"] == "PAUSED"

    given = {"decision": "approve", "approver": "ann", "code": totp.now(), "comment": "after the upgrade"}
    assert new.prefect("POST", f"/flow_runs/{run}/resume", json={"run_input": given})["status"] == "ACCEPT"
    state = _until(
        lambda: s if (s := _state(new, run))["type"] in ("COMPLETED", "FAILED", "CRASHED", "PAUSED") else None,
        limit_s=180,
        what="the resumed run ends",
    )
    assert state["type"] == "COMPLETED", (state, _entries(new, "approval.refused"))
    completed = [one for one in _entries(new, "rollout.completed") if one["environment"] == "production"]
    assert [one["release"] for one in completed] == [release]
    assert new.slipway("ledger", "verify").returncode == 0


def _schema(stack: RunningStack) -> int:
    password, port = read_secret("postgres_superuser", state=stack.state), stack.installation.ports["postgres"]
    with psycopg.connect(f"postgresql://postgres:{password}@127.0.0.1:{port}/slipway_ledger") as connection:
        row = connection.execute("SELECT max(version) FROM desk.schema_version").fetchone()
    assert row is not None
    return int(row[0])


def test_the_way_back_is_refused_while_it_would_lose_entries_and_then_brings_the_previous_version_back(
    old: RunningStack, new: RunningStack
) -> None:
    refused = new.slipway("upgrade", "--back")
    assert refused.returncode == 1 and "entries since the copy" in refused.stderr, refused.stdout + refused.stderr
    done = new.slipway("upgrade", "--back", "--drop-entries")
    assert done.returncode == 0, done.stdout + done.stderr
    assert old.slipway("status").returncode == 0
    assert _entries(old, "upgrade.completed") == [] and _entries(old, "approval.requested")
