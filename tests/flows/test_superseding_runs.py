"""A newer commit closes what waits, an older one is not handed on, and nothing older than what is live goes live."""

import pytest
from stage import APPLICATION, Stage

from blocks.memory_sources import MemoryCommit, MemoryRepository
from domain.delivery import Commit
from domain.ledger import Event
from domain.ports import RunRecord
from flows.overtaking import find_overtaking
from flows.reconcile import reconcile
from tasks.recording import without_engine
from tasks.superseding import read_newer

A, B, C = "a" * 40, "b" * 40, "c" * 40


def history(stage: Stage, **parents: str) -> None:
    commits = {
        letter * 40: MemoryCommit(Commit(letter * 40, "ann", "", "x"), {}, parent * 40 if parent else None)
        for letter, parent in parents.items()
    }
    stage.world.sources.repositories["file:///x"] = MemoryRepository(commits, {"main": B})
    stage.world.sources.fetch(APPLICATION, "file:///x")


def append(stage: Stage, kind: str, *, run: str = "", release: str = "", environment: str = "", **data: str) -> None:
    stage.world.ledger.append(Event(kind, APPLICATION, environment, release=release, run=run, data=data))


def push(stage: Stage, commit: str, before: str = "0" * 40) -> None:
    append(stage, "push.received", commit=commit, before=before, branch="main")


@pytest.fixture
def waiting(stage: Stage) -> str:
    """A release of commit a that waits for production's approval in run-a, handed over by `ci`."""
    history(stage, a="", b="a", c="")
    push(stage, A)
    release = stage.pin("a")
    append(stage, "handover.completed", release=release, cd_run="run-a")
    append(stage, "cd.started", run="run-a", release=release)
    deadline = "2099-01-31T12:00:00+00:00"
    gate = {"gate": "production-1", "deadline": deadline}
    append(stage, "approval.requested", run="run-a", release=release, environment="production", **gate)
    stage.world.run_records.records["run-a"] = RunRecord("run-a", "cd", "x", "paused")
    return release


def settle() -> dict[str, int]:
    with without_engine():
        return reconcile.fn()


def test_a_waiting_run_is_closed_with_the_newer_commit_named_and_people_are_told(stage: Stage, waiting: str):
    assert settle()["superseded"] == 0
    push(stage, B, A)
    assert settle()["superseded"] == 1 and settle()["superseded"] == 0
    record = stage.world.run_records.records["run-a"]
    assert record.state == "completed" and B[:12] in record.message
    (closed,) = stage.world.ledger.entries(kinds=["cd.superseded"])
    assert (closed.event.run, closed.data["newer"]) == ("run-a", B)
    assert stage.kinds(run="run-a")[-1] == "approval.superseded"
    assert any("superseded by bbbbbbbbbbbb" in message.subject for message in stage.world.notifier.messages)
    assert settle()["gates"] == 0, "its gate is closed for good"


def test_what_is_in_productions_rollout_already_goes_on(stage: Stage, waiting: str):
    append(stage, "rollout.begun", run="run-a", release=waiting, environment="production")
    push(stage, B, A)
    with without_engine():
        assert find_overtaking("run-a", APPLICATION, waiting) == {}


def test_a_run_in_test_or_staging_ends_before_its_next_stage(stage: Stage, waiting: str):
    append(stage, "rollout.begun", run="run-a", release=waiting, environment="staging")
    push(stage, B, A)
    with without_engine():
        assert find_overtaking("run-a", APPLICATION, waiting) == {"outcome": "superseded", "cause": B}


def test_the_build_of_an_older_commit_that_ends_last_is_not_handed_on(stage: Stage, waiting: str):
    append(stage, "ci.started", run="ci-a", delivery="1")
    append(stage, "ci.started", run="ci-hand")
    with without_engine():
        assert read_newer("ci-a", APPLICATION, A) == ""
        push(stage, B, A)
        assert read_newer("ci-a", APPLICATION, A) == B
        append(stage, "ci.started", run="ci-later")
        assert read_newer("ci-later", APPLICATION, A) == "", "somebody wants that commit built, knowing of the newer"


def live(stage: Stage, letter: str) -> str:
    release = stage.pin(letter)
    append(stage, "rollout.completed", run=f"run-{letter}", release=release, environment="production")
    return release


def test_an_older_commit_than_the_live_one_is_refused_also_when_a_person_starts_it(stage: Stage, waiting: str):
    live(stage, "b")
    append(stage, "cd.started", run="run-hand", release=waiting)
    with without_engine():
        ended = find_overtaking("run-hand", APPLICATION, waiting)
    assert ended["outcome"] == "refused"
    assert "older than what is live" in ended["cause"] and "slipway rollback" in ended["cause"]


def test_the_live_commit_again_and_one_of_another_history_may_go_live(stage: Stage, waiting: str):
    live(stage, "c")
    for letter in "ac":
        release = stage.pin(letter)
        append(stage, "cd.started", run=f"hand-{letter}", release=release)
        with without_engine():
            assert find_overtaking(f"hand-{letter}", APPLICATION, release) == {}
