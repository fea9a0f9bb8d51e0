"""The ledger's database of the previous version is brought up, keeps what it holds, and still serves the previous code.

A run that waits goes on with the code that it began with, so that code must find what it needs in the new schema.
"""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import psycopg
import pytest

from blocks.ledger_postgres import PostgresLedger
from blocks.ledger_schema import install_schema
from blocks.postgres_roles import ensure_database
from blocks.postgres_session import LEDGER_ROLE, PostgresSession
from blocks.schema_version import KNOWN, read_version
from domain.ledger import verify_chain

ROOT = Path(__file__).parents[2]
PREVIOUS = "75747fd0"
NAME = "previous_test"

_INSTALL = "from blocks.ledger_schema import install_schema; install_schema(sys.argv[1])"
_WORK = """
from datetime import timedelta
from blocks.applications_postgres import PostgresApplications
from blocks.leases_postgres import PostgresLeases
from blocks.ledger_postgres import PostgresLedger
from blocks.postgres_session import PostgresSession
from blocks.seal import Seal
from domain.ledger import Event
from domain.ports import Application
session = PostgresSession(sys.argv[1])
seal = Seal("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
applications = PostgresApplications(session, seal)
applications.add(Application("desk", "gitea", "team/desk", "file:///desk"), webhook_secret="s")
assert applications.webhook_secret("desk") == "s"
leases = PostgresLeases(session)
leases.acquire("rollout:desk:production", owner="run", ttl_s=60)
ledger = PostgresLedger(session)
for kind in ("approval.requested", "approval.granted", "rollout.begun", "site.switched", "rollout.completed"):
    ledger.append(Event(kind, application="desk", environment="production", release="a" * 64, run="run"))
leases.release("rollout:desk:production", owner="run")
session.close()
"""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The previous version's rooms. Skips where the history is not at hand: an archive, or a shallow clone."""
    archive = subprocess.run(
        ["git", "archive", PREVIOUS, "domain", "blocks"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        asked = ["git", "rev-parse", "--is-shallow-repository"]
        is_whole = subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).stdout.strip() == b"false"
        assert not is_whole or not os.environ.get("CI"), f"commit {PREVIOUS} is not in a history that is whole"
        pytest.skip(f"the history does not reach commit {PREVIOUS}: clone without --depth")
    home = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(home, filter="data")
    return home


def _run(home: Path, program: str, url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}", url],
        cwd=home,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_what_it_holds_stays_and_the_previous_code_goes_on_with_it(postgres: str, previous: Path) -> None:
    ensure_database(postgres, NAME)
    url = postgres.rpartition("/")[0] + f"/{NAME}"
    _run(previous, _INSTALL, url)
    by_role = f"{url}?options=-c%20role%3D{LEDGER_ROLE}"  # its password is other tests'
    _run(previous, _WORK, by_role)
    assert read_version(url) == 1
    for _ in range(2):
        install_schema(url)
        assert read_version(url) == KNOWN
    _run(previous, _WORK, by_role)
    session = PostgresSession(by_role)
    entries = PostgresLedger(session).entries()
    session.close()
    assert len(entries) == 10 and verify_chain(entries).broken_at is None
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM desk.application").fetchone() == (1,)
