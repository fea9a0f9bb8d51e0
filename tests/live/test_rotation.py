"""Each credential of a running stack is replaced while a release waits at its gate; old ones are refused afterwards."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import httpx
import psycopg
import pytest
from botocore.exceptions import ClientError
from journey import NAME, Journey, until
from running_stack import RunningStack

from blocks.backup_keys import RECIPIENT_SECRET
from blocks.bucket import Account, ensure_bucket
from blocks.seal import Seal
from deployments.rotation.rotate import NOT_ROTATED, ROTATIONS
from domain.errors import ConfigError, TransientError

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def journey(stack: RunningStack) -> Generator[Journey]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-rotation-"))
    journey = Journey(stack, folder)
    yield journey
    journey.world.close()
    shutil.rmtree(folder)


def _credentials(stack: RunningStack) -> dict[str, str]:
    return json.loads((stack.state / "credentials.json").read_text())


def _enters(stack: RunningStack, user: str, password: str, database: str) -> bool:
    url = f"postgresql://{user}:{password}@127.0.0.1:{stack.installation.ports['postgres']}/{database}"
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def _stores(stack: RunningStack, credentials: dict[str, str]) -> bool:
    try:
        account = Account(
            f"http://127.0.0.1:{stack.installation.ports['s3']}",
            access_key=credentials["s3_admin_access_key"],
            secret_key=credentials["s3_admin_secret_key"],
        )
        ensure_bucket(account, "releases", limit_s=1, may_make=False)
    except (TransientError, ClientError):
        return False
    return True


def _kill_while_at_work(stack: RunningStack, *words: str) -> None:
    """Start a rotation and kill it when the new values are about to come into force."""
    command = [sys.executable, "-m", "deployments.cli", "rotate", *words]
    with subprocess.Popen(command, cwd=stack.home, env=stack.environ, stdout=subprocess.DEVNULL) as process:
        note = stack.state / "rotation.json"
        until(
            lambda: (note.exists() and json.loads(note.read_text())["is_quiet"]) or process.poll() is not None,
            limit_s=120,
            what="quiet",
        )
        process.send_signal(signal.SIGKILL)
    assert note.exists(), "killed before its end"


def test_everything_is_rotated_at_once_though_killed_in_the_middle_and_a_waiting_gate_is_answered_afterwards(
    stack: RunningStack, journey: Journey
) -> None:
    release = journey.deliver("rotated")
    run, _ = journey.wait_gate(release)
    before = _credentials(stack)
    _kill_while_at_work(stack, "credential", "all")
    told = json.loads(stack.slipway("doctor", "--json").stdout)
    assert [(one["check"], one["command"]) for one in told if one["state"] == "broken"] == [
        ("credentials", "slipway rotate credential all")
    ]
    assert stack.slipway("rotate", "credential", "s3").returncode == 1, "one at a time"
    done = stack.slipway("rotate", "credential", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    after = _credentials(stack)
    assert set(after) == set(before) and not (stack.state / "rotation.json").exists()
    kept = {name for name, value in after.items() if value == before[name]}
    assert kept == {*NOT_ROTATED, RECIPIENT_SECRET}, "what opens backups that exist, and nothing else"
    assert all(value not in done.stdout + done.stderr for value in (*before.values(), *after.values()))
    _assert_only_new_ones_work(stack, before, after)
    assert stack.slipway("doctor").returncode == 0
    rotated = stack.slipway("ledger", "show", "--kind", "credential.rotated", "--json")
    assert '"what": "all"' in rotated.stdout
    assert journey.answer(run, decision="reject", code=journey.code("ann"))["status"] == "ACCEPT"
    assert journey.wait_end(run)["name"] == "Rejected"


def _assert_only_new_ones_work(stack: RunningStack, before: dict[str, str], after: dict[str, str]) -> None:
    for user, secret, database in (
        ("postgres", "postgres_superuser", "postgres"),
        ("prefect", "postgres_prefect", "prefect"),
        ("slipway", "postgres_slipway", "slipway_ledger"),
    ):
        assert _enters(stack, user, after[secret], database) and not _enters(stack, user, before[secret], database)
    for credentials, status in ((after, 200), (before, 401)):
        user, _, password = credentials["prefect_auth"].partition(":")
        answer = httpx.post(f"{stack.api_url}/flows/filter", json={}, auth=(user, password), trust_env=False)
        assert answer.status_code == status
    assert _stores(stack, after) and not _stores(stack, before)
    url = f"postgresql://postgres:{after['postgres_superuser']}@127.0.0.1:{stack.installation.ports['postgres']}"
    with psycopg.connect(f"{url}/slipway_ledger") as connection:
        row = connection.execute("SELECT webhook_secret FROM desk.application WHERE name = %s", (NAME,)).fetchone()
    assert row is not None
    sealed = bytes(row[0])
    assert Seal(after["seal_key"]).open(sealed)
    with pytest.raises(ConfigError):
        Seal(before["seal_key"]).open(sealed)


def test_the_password_of_an_applications_database_is_another_one_and_its_instances_answer(
    stack: RunningStack, journey: Journey
) -> None:
    password = stack.state / "credentials.d" / f"database-{NAME}_test"
    before, port = password.read_text(), stack.installation.ports["entry-test-main"]
    done = stack.slipway("rotate", "database", NAME, "test")
    assert done.returncode == 0 and "instances of test/main" in done.stdout, done.stdout + done.stderr
    assert _enters(stack, f"{NAME}_test", password.read_text(), f"{NAME}_test")
    assert not _enters(stack, f"{NAME}_test", before, f"{NAME}_test")
    page = httpx.get(f"http://127.0.0.1:{port}/", headers={"Host": f"{NAME}.localhost"}, trust_env=False)
    assert page.status_code == 200 and journey.world.leases.held() == []


def test_a_webhook_secret_has_two_values_until_the_forge_has_the_new_one(
    stack: RunningStack, journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    import journey as played

    sha = journey.commit("two secrets")
    old = played.SECRET
    new = stack.slipway("app", "rotate-secret", NAME, "--force").stdout.split()[0]
    assert stack.slipway("app", "rotate-secret", NAME, "--force").stdout.split()[0] == new, "run again: the same one"
    for secret in (old, new):
        monkeypatch.setattr(played, "SECRET", secret)
        assert journey.push(sha, delivery="rotated-secret").status_code == 202
    assert stack.slipway("app", "rotate-secret", NAME, "--finish").returncode == 0
    monkeypatch.setattr(played, "SECRET", old)
    until(lambda: journey.push(sha, delivery="late").status_code == 401, limit_s=15, what="the old secret is refused")
    monkeypatch.setattr(played, "SECRET", new)
    assert journey.push(sha, delivery="rotated-secret").status_code == 202
    journey.world.applications.replace_secret(NAME, old, old_until=journey.world.clock.now())


def test_every_rotation_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "rotate-credentials.md").read_text()
    assert [word for word in ROTATIONS if f"`{word}`" not in page] == []
    others = ("webhook secret", "forge's token", "TOTP seed", "an application's database")
    assert [word for word in others if f"| {word} |" not in page] == []
