"""Migrations: what can't share a schema is refused before it starts, what fails leaves the old release, and back is not
always possible."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from prefect import flow
from stage import APPLICATION, FILE, Stage, approve
from test_settling import Person, back

from blocks.bundle import pack_bundle
from blocks.memory_runner import Answer, Call
from domain.errors import RefusedError
from domain.ledger import Event
from domain.release import Manifest, bundle_key
from domain.schema import LockWait
from domain.service import Outcome
from flows.fitness import refuse_unfit
from flows.rollout_canary import rollout_canary
from flows.rollout_direct import rollout_direct
from flows.schema import prove_schema
from tasks.approval import read_live

M1, M2, M3 = "0001_first.sql", "0002_second.sql", "0003_third.sql"
WITH_CHECK = FILE.replace(
    "[service]",
    """[[check]]
name = "with-database"
kind = "integration"
command = ["check"]
database = true
[[check]]
name = "from-nothing"
kind = "integration"
command = ["check-from-nothing"]
database = true
on_new_schema = false
[service]""",
)


def pin(stage: Stage, folder: Path, letter: str, migrations: Sequence[str], declared: str = "") -> str:
    """Pin a release with a real bundle, so that its checks can be run once more."""
    file = WITH_CHECK.replace("[database]", f"[database]\n{declared}")
    source = folder / letter
    source.mkdir()
    (source / "slipway.toml").write_text(file)
    (source / "requirements.lock").write_text("")
    (source / "release").write_text(letter)
    archive = folder / f"{letter}.tar"
    manifest = Manifest(APPLICATION, letter * 40, pack_bundle(archive, source=source, wheels=[]), tuple(migrations))
    key = bundle_key(APPLICATION, manifest.bundle.sha256)
    stage.world.store.put(key, archive, sha256=manifest.bundle.sha256)
    for site in stage.world.sites.values():
        site.target.add(manifest, {"slipway.toml": file})
    data = {"manifest": manifest.as_dict(), "requester": "bob"}
    stage.world.ledger.append(Event(kind="release.pinned", application=APPLICATION, release=manifest.digest, data=data))
    return manifest.digest


def canary(release: str, *, live: str, run: str = "run-1") -> dict[str, str]:
    approve(release, run=run)
    return rollout_canary(run, APPLICATION, "production", release, live, 0, 0)


def go_live(stage: Stage, release: str) -> str:
    ended = canary(release, live=read_live.fn(APPLICATION, "production"), run=f"run-{release[:6]}")
    assert ended["outcome"] == "completed"
    return release


def programs(stage: Stage, *, check: Answer | None = None) -> list[tuple[str, str, str]]:
    """Let commands of builds and checks end well; returns what ran: command, whose source, which database."""
    ran: list[tuple[str, str, str]] = []

    def note(name: str, answer: Answer) -> None:
        def run(call: Call) -> Answer:
            source = (call.directory / "release").read_text()
            ran.append((name, source, call.environment["DATABASE_URL"].rpartition("/")[2]))
            return answer

        stage.world.runner.programs[name] = run

    note("migrate", Answer())
    note("check", check or Answer())
    note("check-from-nothing", Answer(exit_code=1))
    return ran


@flow
def prove(release: str) -> str:
    return prove_schema("run-1", APPLICATION, "production", release)


@flow
def check_fitness(release: str) -> None:
    refuse_unfit("run-1", APPLICATION, release)


def test_new_migrations_that_are_not_declared_are_refused_before_anything_starts(stage: Stage, tmp_path: Path):
    go_live(stage, pin(stage, tmp_path, "a", [M1]))
    release = pin(stage, tmp_path, "b", [M1, M2])
    with pytest.raises(RefusedError, match=f"{M2}.+compatible_with_live = true.+two releases"):
        check_fitness(release)
    assert stage.kinds(run="run-1") == ["preparation.begun", "preparation.completed", "cd.refused"]


def test_a_release_without_new_migrations_needs_no_declaration_and_no_check(stage: Stage, tmp_path: Path):
    go_live(stage, pin(stage, tmp_path, "a", [M1]))
    release, ran = pin(stage, tmp_path, "b", [M1]), programs(stage)
    check_fitness(release)
    assert prove(release) == "" and ran == []


def test_the_checks_of_the_live_release_are_run_on_the_schema_of_the_new_one(stage: Stage, tmp_path: Path):
    live = go_live(stage, pin(stage, tmp_path, "a", [M1]))
    release = pin(stage, tmp_path, "b", [M1, M2], "compatible_with_live = true")
    ran = programs(stage)
    check_fitness(release)
    assert prove(release) == ""
    assert ran == [("migrate", "b", "template1"), ("migrate", "b", "postgres"), ("check", "a", "postgres")]
    (proof,) = stage.world.ledger.entries(kinds=["proof.given"], run="run-1")
    assert live[:12] in proof.data["what"] and proof.data["result"] == "passed"
    assert not list(stage.world.runner.work.glob("schema-*")), "nothing of it is left"


def test_a_live_release_whose_checks_fail_on_the_new_schema_stops_the_delivery(stage: Stage, tmp_path: Path):
    go_live(stage, pin(stage, tmp_path, "a", [M1]))
    release = pin(stage, tmp_path, "b", [M1, M2], "compatible_with_live = true")
    programs(stage, check=Answer(exit_code=1, output="UndefinedColumn: tickets.subject"))
    check_fitness(release)
    problem = prove(release)
    assert "check 'with-database' of the live release failed" in problem and "tickets.subject" in problem
    (proof,) = stage.world.ledger.entries(kinds=["proof.given"], run="run-1")
    assert proof.data["result"] == "failed"


def test_a_migration_that_meets_a_lock_is_tried_again_and_ends_with_who_holds_it(stage: Stage, tmp_path: Path):
    old = go_live(stage, pin(stage, tmp_path, "a", [M1]))
    bad = pin(stage, tmp_path, "b", [M1, M2], "compatible_with_live = true")
    target = stage.world.target("production", "alpha")
    target.answer = lambda command: Outcome(1, 5.1, tail="canceling statement due to lock timeout")
    stage.world.databases.waits = [LockWait("AccessExclusiveLock on tickets", 5.0, ("pid 7 of desk (report)",))]
    ended = canary(bad, live=old)
    assert ended["outcome"] == "failed"
    assert "AccessExclusiveLock on tickets" in ended["cause"] and "pid 7 of desk (report)" in ended["cause"]
    tries = [command for command in target.commands if command.release == bad]
    assert len(tries) == 3
    assert all("desk_production_migrate" in command.environment["DATABASE_URL"] for command in tries)
    (entry,) = stage.world.ledger.entries(kinds=["migration.ended"], release=bad)
    assert (entry.data["result"], entry.data["attempts"], entry.data["new"]) == ("failed", 3, [M2])
    for site in ("alpha", "beta"):
        assert stage.serving("production", site) == {old: 100}
        assert stage.running("production", site) == {old}
    assert stage.world.leases.held() == []


def test_a_migration_that_fails_for_another_reason_is_not_tried_again(stage: Stage, tmp_path: Path):
    stage.world.target("test", "main").answer = lambda command: Outcome(1, 0.1, tail="syntax error")
    release = pin(stage, tmp_path, "a", [M1])
    assert rollout_direct("run-1", APPLICATION, "test", release, True)["outcome"] == "failed"
    assert len(stage.world.target("test", "main").commands) == 1


def test_a_rollback_over_a_declared_migration_is_done_and_over_another_one_refused(stage: Stage, tmp_path: Path):
    first = go_live(stage, pin(stage, tmp_path, "a", [M1]))
    second = go_live(stage, pin(stage, tmp_path, "b", [M1, M2], "compatible_with_live = true"))
    third = go_live(stage, pin(stage, tmp_path, "c", [M1, M2, M3], "compatible_with_live = true"))
    with pytest.raises(RefusedError, match=f"can't come back: .+{M3}.+{M2}"):
        back(Person(stage, "ann", "administrator"), release=first)
    (refused,) = stage.world.ledger.entries(kinds=["rollback.refused"])
    assert refused.event.actor == "ann" and M3 in refused.data["cause"]
    assert stage.serving("production", "alpha") == {third: 100}
    assert stage.world.leases.held() == []
    assert back(Person(stage, "eve", "administrator"))["release"] == second
    commands = [command.release for command in stage.world.target("production", "alpha").commands]
    assert commands == [first, second, third], "nothing was migrated back"


def test_a_release_from_before_a_migration_that_is_there_is_refused_for_users(stage: Stage, tmp_path: Path):
    go_live(stage, pin(stage, tmp_path, "a", [M1]))
    go_live(stage, pin(stage, tmp_path, "b", [M1, M2]))
    with pytest.raises(RefusedError, match=f"the migration {M2}"):
        check_fitness(pin(stage, tmp_path, "c", [M1]))
