"""`ci` as a whole, on a real Prefect server: real Git, real processes, real pip; store, ledger and `cd` in memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from fixtures_ci import Repository, make_installation
from prefect.client.schemas.objects import State

from blocks.databases_postgres import PostgresDatabases
from blocks.installation import Users
from blocks.memory_world import MemoryWorld
from blocks.packages_pip import PipPackages
from blocks.runner_local import LocalRunner
from blocks.sources_git import GitSources
from blocks.world import use_world
from domain.authority import RELEASE_KEY, may_general_write
from domain.ports import Application
from domain.release import bundle_key, read_manifest
from flows.ci import ci

SLIPWAY = """
[application]
name = "tiny"
[build]
requirements = "empty.lock"
[[check]]
name = "unit"
command = ["python", "-m", "unittest", "-q", "tests.unit"]
limit_s = 20
[[check]]
name = "integration"
kind = "integration"
command = ["python", "integration.py"]
database = true
limit_s = 20
[service]
command = ["python", "-m", "http.server", "{port}"]
[database]
migrate = ["true"]
"""
UNIT = """
import unittest

class Sums(unittest.TestCase):
    def test_one_and_one(self):
        self.assertEqual(1 + 1, 2)
"""
# speaks just enough of PostgreSQL's protocol to know that a server answers
INTEGRATION = """
import os, socket, struct
from urllib.parse import urlparse
url = urlparse(os.environ["DATABASE_URL"])
with socket.create_connection((url.hostname, url.port), timeout=5) as connection:
    connection.sendall(struct.pack("!ii", 8, 80877103))
    assert connection.recv(1) == b"N", "a PostgreSQL without TLS answers N"
assert "SLIPWAY_STATE" not in os.environ and "PREFECT_API_URL" not in os.environ
"""
FILES = {
    "slipway.toml": SLIPWAY,
    "empty.lock": "# nothing\n",
    "tests/__init__.py": "",
    "tests/unit.py": UNIT,
    "integration.py": INTEGRATION,
    "migrations/0002_b.sql": "select 2;",
    "migrations/0001_a.sql": "select 1;",
}


@dataclass
class Place:
    """A repository, and the world in which it is built."""

    world: MemoryWorld
    repository: Repository
    state: Path

    def run(self, commit: str, **parameters: str) -> State[None]:
        return cast("State[None]", ci("tiny", commit, requester="ann", return_state=True, **parameters))

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.world.ledger.entries()]

    def report(self) -> str:
        return self.world.screen.reports["ci-tiny"][-1]


@pytest.fixture
def place(open_tmp: Path, open_tmp_root: Path, users: Users):
    state = open_tmp / "state"
    state.mkdir()
    installation = make_installation(state, users, open_tmp_root / "binaries")
    world = MemoryWorld(
        runner=LocalRunner(state=str(state)),  # pyright: ignore[reportArgumentType]
        sources=GitSources(state=str(state)),  # pyright: ignore[reportArgumentType]
        packages=PipPackages.of(installation),  # pyright: ignore[reportArgumentType]
        databases=PostgresDatabases(state=str(state)),  # pyright: ignore[reportArgumentType]
    )
    repository = Repository.make(open_tmp / "tiny", FILES)
    world.applications.add(Application("tiny", "gitea", "team/tiny", repository.url), webhook_secret="s")
    use_world(lambda: world)
    yield Place(world, repository, state)
    use_world(None)
    for entry in world.ledger.entries():
        # the database refuses the worker of `ci` everything else
        begins = (f"{entry.kind}:", RELEASE_KEY if entry.kind == "release.pinned" else f"{entry.kind}:")
        assert may_general_write(entry.kind) and (entry.event.key or "").startswith(begins), entry


def test_a_good_commit_becomes_one_release_however_often_it_is_built(place: Place):
    commit = place.repository.git("rev-parse", "HEAD")
    first, second = place.run(commit), place.run(commit)
    assert first.is_completed() and second.is_completed(), (first.message, second.message)
    pinned = place.world.ledger.entries(kinds=["release.pinned"])
    assert len(pinned) == 1
    manifest = read_manifest(pinned[0].data["manifest"])
    assert manifest.digest == pinned[0].event.release and manifest.commit == commit
    assert manifest.migrations == ("0001_a.sql", "0002_b.sql")
    assert place.world.store.exists(bundle_key("tiny", manifest.bundle.sha256))
    assert [check["result"] for check in pinned[0].data["checks"]] == ["passed"] * 3
    assert pinned[0].data["requester"] == "ann" and pinned[0].data["commits"][0]["sha"] == commit
    # each run hands the release to cd once
    assert [run.parameters["release"] for run in place.world.flow_runs.runs.values()] == [manifest.digest] * 2
    assert not list((place.state / "work").iterdir())
    assert "passed" in place.report()


def test_a_red_check_ends_it_with_the_first_failing_test_and_its_last_lines(place: Place):
    broken = UNIT.replace("1 + 1, 2", "1 + 1, 3, 'a figure to find'")
    commit = place.repository.commit({"tests/unit.py": broken})
    ended = place.run(commit)
    assert (
        ended.is_failed()
        and ended.message == "Check 'unit' failed: test_one_and_one (tests.unit.Sums.test_one_and_one)"
    )
    report = place.report()
    assert "a figure to find" in report and "not run" in report
    assert "release.pinned" not in place.kinds() and not place.world.store.blobs
    failed = place.world.ledger.entries(kinds=["ci.failed"])[0]
    assert failed.data["cause"] == ended.message
    assert not place.world.flow_runs.runs


def test_an_unknown_commit_leaves_nothing_half_done(place: Place):
    ended = place.run("0123456789" * 4)
    assert ended.is_failed() and "has no commit 0123456789" in str(ended.message)
    assert place.kinds() == ["ci.started", "checkout.begun", "checkout.failed", "ci.failed"]
    assert not list((place.state / "work").glob("ci-*/source"))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (SLIPWAY.replace("limit_s = 20", 'limit_s = "long"', 1), ["slipway.toml", "check.0.limit_s", "long"]),
        (SLIPWAY + "[rollback]\nfast = true\n", ["slipway.toml", "unknown key 'rollback'", "rollout"]),
        (SLIPWAY.replace('name = "tiny"', 'name = "other"'), ["application.name", "other", "tiny"]),
        (SLIPWAY.replace("empty.lock", "missing.lock"), ["build.requirements", "missing.lock"]),
        ("[application\n", ["slipway.toml", "not valid TOML"]),
    ],
)
def test_a_wrong_slipway_toml_is_named_by_file_and_key(place: Place, file: str, words: list[str]):
    ended = place.run(place.repository.commit({"slipway.toml": file}))
    assert ended.is_failed()
    assert all(word in str(ended.message) for word in words), ended.message


def test_a_check_that_hangs_is_ended_with_its_children_and_said_so(place: Place):
    hanging = "import subprocess, time\nsubprocess.Popen(['sleep', '1234'], start_new_session=True)\ntime.sleep(1000)\n"
    file = SLIPWAY.replace('"-m", "unittest", "-q", "tests.unit"', '"hang.py"').replace(
        "limit_s = 20", "limit_s = 1", 1
    )
    ended = place.run(place.repository.commit({"slipway.toml": file, "hang.py": hanging}))
    assert ended.is_failed() and "did not end within 1 s" in str(ended.message)
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x001234" in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_what_the_build_makes_is_released_and_what_checks_leave_behind_is_not(place: Place):
    file = SLIPWAY.replace(
        "[build]", "[build]\ncommands = [[\"python\", \"-c\", \"open('made.txt', 'w').write('made')\"]]"
    ).replace(
        '"-m", "unittest", "-q", "tests.unit"', "\"-c\", \"assert open('made.txt').read() == 'made'; open('x', 'w')\""
    )
    ended = place.run(place.repository.commit({"slipway.toml": file}))
    assert ended.is_completed(), ended.message
    bundle = next(iter(place.world.store.blobs.values()))
    assert b"source/made.txt" in bundle and b"source/x\0" not in bundle


def test_an_image_is_built_once_for_a_bundle(place: Place):
    place.world.images.available = True
    commit = place.repository.commit({"slipway.toml": SLIPWAY + "[image]\n", "Dockerfile": "FROM scratch\n"})
    assert place.run(commit).is_completed() and place.run(commit).is_completed()
    assert len(place.world.images.built) == 1
    pinned = place.world.ledger.entries(kinds=["release.pinned"])
    assert len(pinned) == 1 and pinned[0].data["manifest"]["image"]["digest"].startswith("sha256:")
