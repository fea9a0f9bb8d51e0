"""The whole on a real stack: everything recovered from kit and store in a scratch folder, accepted, and destroyed."""

import json
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from journey import Journey, Visitors
from running_stack import RunningStack

from blocks.bucket import Account
from blocks.databases_postgres import PostgresDatabases
from blocks.installation import read_secret
from blocks.processes import stack_members

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]
KEPT = Path(__file__).parent / "kept"


@pytest.fixture(scope="module")
def journey(stack: RunningStack) -> Generator[Journey]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-kept-"))
    journey = Journey(stack, folder)
    shutil.copytree(KEPT, journey.repository, dirs_exist_ok=True)
    yield journey
    journey.world.close()
    shutil.rmtree(folder)


def keep_something(stack: RunningStack) -> None:
    """An object in the application's bucket, and a row of its database that names it."""
    state = stack.state
    keys = [read_secret(f"s3_admin_{kind}_key", state=state) for kind in ("access", "secret")]
    client = Account(f"http://127.0.0.1:{stack.installation.ports['s3']}", *keys).client()
    client.create_bucket(Bucket="tiny-files")
    client.put_object(Bucket="tiny-files", Key="notes/one.txt", Body=b"one")
    with psycopg.connect(PostgresDatabases(state=str(state)).url("tiny", "production")) as connection:
        connection.execute("INSERT INTO notes (text, file) VALUES ('kept', 'notes/one.txt')")


def test_everything_comes_back_from_kit_and_store_and_passes_its_acceptance_tests(
    stack: RunningStack, journey: Journey, tmp_path: Path
):
    release = journey.deliver_as_it_is("with a database")
    with Visitors(stack.installation.ports["entry-production-alpha"]).visiting():
        journey.approve(release)
        journey.wait("rollout.completed", release=release, environment="production", limit_s=180)
    keep_something(stack)
    assert stack.slipway("backup", "kit", str(tmp_path / "kit")).returncode == 0
    done = stack.slipway("backup", "now")
    assert done.returncode == 0, done.stdout + done.stderr
    done = stack.slipway("prefect", "deployment", "run", "recovery_drill/recovery_drill", "--watch", timeout_s=600)
    shown = stack.slipway("ledger", "show", "--kind", "recovery_drill.completed", "--json")
    (drill,) = [json.loads(line) for line in shown.stdout.splitlines()][-1:]
    assert done.returncode == 0, (drill, done.stdout[-2000:] + done.stderr)
    assert drill["data"]["verdict"] == "PASS" and drill["data"]["signature"], drill
    assert 0 < drill["data"]["figures"]["rto_s"] < 600
    # nothing is left, and what serves was not touched
    room = stack.state / "work" / "recoveries"
    assert list(room.iterdir()) == []
    assert not [one for one in stack_members(room / f"recovery-{drill['run'][:8]}" / "state")]
    assert journey.is_wholly_on(release)
