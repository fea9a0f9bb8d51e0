"""`ci` killed at its effects and started once more: the end is that of a run that nobody disturbed."""

from collections.abc import Generator
from pathlib import Path

import pytest
from fixtures_ci import Repository, make_installation

from blocks.installation import Users
from blocks.memory_ledger import MemoryLedger
from blocks.memory_world import MemoryWorld
from blocks.packages_pip import PipPackages
from blocks.runner_local import LocalRunner
from blocks.sources_git import GitSources
from blocks.world import use_world
from domain.ledger import Entry, Event
from domain.ports import Application
from flows.ci import ci

FILES = {
    "slipway.toml": """
[application]
name = "tiny"
[[check]]
name = "unit"
command = ["true"]
[service]
command = ["serve"]
""",
    "requirements.lock": "",
}


class Killed(BaseException):
    """What a process does not survive; nothing of ours may catch it."""


class MortalLedger(MemoryLedger):
    """A ledger whose writer dies before or after it has written one kind of event."""

    deadly = ""
    writes_first = False

    def append(self, event: Event) -> Entry:
        if event.kind == self.deadly and not self.writes_first:
            raise Killed
        entry = super().append(event)
        if event.kind == self.deadly:
            raise Killed
        return entry


@pytest.fixture
def world(open_tmp: Path, open_tmp_root: Path, users: Users) -> Generator[MemoryWorld]:
    state = open_tmp / "state"
    state.mkdir()
    installation = make_installation(state, users, open_tmp_root / "binaries")
    world = MemoryWorld(
        ledger=MortalLedger(),
        runner=LocalRunner(state=str(state)),  # pyright: ignore[reportArgumentType]
        sources=GitSources(state=str(state)),  # pyright: ignore[reportArgumentType]
        packages=PipPackages.of(installation),  # pyright: ignore[reportArgumentType]
    )
    repository = Repository.make(open_tmp / "tiny", FILES)
    world.applications.add(Application("tiny", "gitea", "team/tiny", repository.url), webhook_secret="s")
    use_world(lambda: world)
    yield world
    use_world(None)


@pytest.mark.parametrize("writes_first", [False, True])
@pytest.mark.parametrize("deadly", ["bundle.packed", "bundle.stored", "release.pinned", "handover.completed"])
def test_killed_and_started_again_it_ends_as_if_undisturbed(world: MemoryWorld, deadly: str, writes_first: bool):
    ledger = world.ledger
    assert isinstance(ledger, MortalLedger)
    registered = world.applications.get("tiny")
    world.sources.fetch("tiny", registered.url)
    commit = world.sources.head("tiny", "main")
    ledger.deadly, ledger.writes_first = deadly, writes_first
    with pytest.raises(Killed):
        ci("tiny", commit)
    ledger.deadly = ""
    assert ci("tiny", commit, return_state=True).is_completed()
    pinned = ledger.entries(kinds=["release.pinned"])
    assert len(pinned) == 1 and len(world.store.blobs) == 1
    assert ledger.entries(kinds=["ci.completed"])
    assert {run.parameters["release"] for run in world.flow_runs.runs.values()} == {pinned[0].event.release}
