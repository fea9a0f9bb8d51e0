"""A change of settings is a rollout: the release beside itself, judged, and back to the old settings if it fails."""

from collections.abc import Mapping

import pytest
from prefect import flow
from stage import APPLICATION, FILE, Stage, approve
from test_settling import Person, back

from blocks.memory_sources import MemoryCommit, MemoryRepository
from blocks.memory_world import Behaviour
from domain.delivery import Commit
from domain.errors import RefusedError
from domain.revision import name_revision
from domain.service import Outcome
from flows.fitness import refuse_unfit
from flows.rollout_canary import rollout_canary
from flows.rollout_direct import rollout_direct
from tasks.approval import look_at_request, read_live
from tasks.settings import choose_settings

SITES = ("alpha", "beta")
SECRET = "correct horse battery staple"


def configure(stage: Stage, *, environment: str = "production", secret: str = "", **config: str) -> int:
    secrets = {"KEY": secret} if secret else {}
    made = stage.world.settings.change(APPLICATION, environment, actor="carol", config=config, secrets=secrets)
    return made.version


def canary(revision: str, *, live: str = "", run: str = "run-1") -> dict[str, str]:
    approve(revision, run=run)
    return rollout_canary(run, APPLICATION, "production", revision, live, 0, 0)


def go_live(stage: Stage, revision: str) -> str:
    live = read_live.fn(APPLICATION, "production")
    assert canary(revision, live=live, run=f"run-{revision[:4]}{revision[64:]}")["outcome"] == "completed"
    return revision


@flow
def check(run: str, application: str, release: str) -> None:
    refuse_unfit(run, application, release)


def environments_of(stage: Stage, revision: str) -> list[Mapping[str, str]]:
    target = stage.world.target("production", "alpha")
    return [spec.environment for name, spec in target._specs.items() if name == revision]


def test_a_change_of_settings_runs_beside_the_old_ones_and_takes_all_traffic(stage: Stage):
    release = stage.pin("a")
    configure(stage, TITLE="Old")
    old = go_live(stage, name_revision(release, 1))
    configure(stage, TITLE="New")
    new = name_revision(release, 2)
    assert canary(new, live=old)["outcome"] == "completed"
    for site in SITES:
        assert stage.serving("production", site) == {new: 100}
        assert stage.running("production", site) == {old, new}, "the old settings stay warm"
    assert [environment["TITLE"] for environment in environments_of(stage, new)] == ["New"]
    shares = [entry.data["shares"] for entry in stage.world.ledger.entries(kinds=["traffic.shifted"], run="run-1")]
    assert {f"{release[:12]}@1": 80, f"{release[:12]}@2": 20} in shares
    assert read_live.fn(APPLICATION, "production") == new
    completed = stage.world.ledger.entries(kinds=["rollout.completed"])[-1]
    assert (completed.event.release, completed.data["settings"]) == (release, 2)


def test_settings_that_fail_requests_go_back_and_block_only_themselves(stage: Stage):
    release = stage.pin("a")
    configure(stage, TITLE="Old")
    old = go_live(stage, name_revision(release, 1))
    configure(stage, TITLE="Bad")
    bad = name_revision(release, 2)
    stage.world.behaviour[bad] = Behaviour(fails_every=3)
    assert canary(bad, live=old)["outcome"] == "rolled_back"
    for site in SITES:
        assert stage.serving("production", site) == {old: 100}
        assert stage.running("production", site) == {old}
    assert read_live.fn(APPLICATION, "production") == old
    other = stage.pin("b")
    with pytest.raises(RefusedError, match="Settings 2 of production are blocked"):
        check("run-2", APPLICATION, other)
    configure(stage, TITLE="Right")
    check("run-3", APPLICATION, other)
    check("run-3", APPLICATION, release)


def test_a_bad_release_is_blocked_whatever_its_settings(stage: Stage):
    configure(stage, TITLE="Old")
    old = go_live(stage, name_revision(stage.pin("a"), 1))
    configure(stage, TITLE="New")
    bad = name_revision(stage.pin("b"), 2)
    stage.world.behaviour[bad] = Behaviour(fails_every=3)
    assert canary(bad, live=old)["outcome"] == "rolled_back"
    blocked = stage.world.ledger.entries(kinds=["digest.blocked"])
    assert [(entry.event.release, entry.data.get("settings")) for entry in blocked] == [(bad[:64], None)]


def test_each_environment_gets_its_own_newest_settings_in_every_process_and_nothing_of_another(stage: Stage):
    release = stage.pin("a")
    configure(stage, environment="test", TITLE="Test", secret=SECRET)
    configure(stage, environment="staging", TITLE="Staging")
    for environment in ("test", "staging"):
        revision = choose_settings.fn("run-1", APPLICATION, environment, release)
        rollout_direct("run-1", APPLICATION, environment, revision, True)
    test, staging = stage.world.target("test", "main"), stage.world.target("staging", "main")
    assert {command.environment["TITLE"] for command in test.commands} == {"Test"}
    assert {command.environment["KEY"] for command in test.commands} == {SECRET}, "migrations and acceptance tests"
    (spec,) = test._specs.values()
    assert (spec.environment["KEY"], spec.environment["SLIPWAY_SETTINGS"]) == (SECRET, "1")
    assert all("KEY" not in command.environment for command in staging.commands)


def test_a_secret_is_nowhere_in_the_ledger_even_where_a_migration_prints_it(stage: Stage):
    release = stage.pin("a")
    configure(stage, environment="test", secret=SECRET)
    stage.world.target("test", "main").answer = lambda command: Outcome(1, 0.1, tail=f"bad key {SECRET}")
    revision = choose_settings.fn("run-1", APPLICATION, "test", release)
    ended = rollout_direct("run-1", APPLICATION, "test", revision, True)
    assert ended["outcome"] == "failed" and "bad key [KEY]" in ended["cause"]
    assert all(SECRET not in str(entry) for entry in stage.world.ledger.entries())


def test_what_a_release_needs_and_an_environment_lacks_is_refused_before_anything_starts(stage: Stage):
    needs = '[service]\nconfig = ["TITLE"]\nsecrets = ["KEY"]'
    release = stage.pin("a", file=FILE.replace("[service]", needs))
    configure(stage, environment="test", TITLE="x", secret=SECRET)
    configure(stage, environment="staging", TITLE="x")
    with pytest.raises(RefusedError, match=r"slipway secret set desk staging KEY"):
        check("run-1", APPLICATION, release)
    refused = stage.world.ledger.entries(kinds=["cd.refused"])
    assert [entry.event.environment for entry in refused] == ["staging"]
    assert not [kind for kind in stage.kinds() if kind.startswith(("start", "rollout", "migration"))]


def test_an_address_of_middleware_that_an_environment_lacks_is_refused_with_the_command_that_sets_it(stage: Stage):
    release = stage.pin("a", file=FILE.replace("[service]", "[middleware]\nredis = true\n[service]"))
    configure(stage, environment="test", REDIS_URL="redis://cache/0")
    with pytest.raises(RefusedError, match=r"staging lacks secret REDIS_URL \(`slipway secret set desk staging"):
        check("run-1", APPLICATION, release)


def test_an_approval_shows_the_settings_and_an_answer_to_old_ones_does_not_count(stage: Stage):
    release = stage.pin("a")
    commits = {"a" * 40: MemoryCommit(Commit("a" * 40, "Eve", "eve@example.org", "First"), {})}
    stage.world.sources.repositories["file:///x"] = MemoryRepository(commits)
    stage.world.sources.fetch(APPLICATION, "file:///x")
    configure(stage, TITLE="Old")
    go_live(stage, name_revision(release, 1))
    configure(stage, TITLE="New", secret=SECRET)
    shown = look_at_request("run-9", APPLICATION, "production", release)
    assert (shown.settings_version, shown.secrets) == (2, ("KEY@1",))
    differences = {d.key: (d.before, d.after) for d in shown.configuration}
    assert differences == {"TITLE": ("Old", "New"), "KEY": ("", "secret, version 1")}
    assert "carol" in shown.requesters
    configure(stage, TITLE="Newer")
    assert look_at_request("run-9", APPLICATION, "production", release).hash != shown.hash


def test_a_rollback_without_a_name_goes_back_to_the_settings_before(stage: Stage):
    release = stage.pin("a")
    configure(stage, TITLE="Old")
    old = go_live(stage, name_revision(release, 1))
    configure(stage, TITLE="New")
    go_live(stage, name_revision(release, 2))
    assert back(Person(stage, "ann", "administrator"))["release"] == old
    for site in SITES:
        assert stage.serving("production", site) == {old: 100}
    assert read_live.fn(APPLICATION, "production") == old


def test_a_rollback_to_a_release_takes_the_settings_with_which_it_was_live(stage: Stage):
    configure(stage, TITLE="Old")
    old = go_live(stage, name_revision(stage.pin("a"), 1))
    configure(stage, TITLE="New")
    go_live(stage, name_revision(stage.pin("b"), 2))
    assert back(Person(stage, "ann", "administrator"), release=old[:64])["release"] == old
    assert [environment["TITLE"] for environment in environments_of(stage, old)] == ["Old"]
