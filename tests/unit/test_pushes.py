"""Replays of signed bodies: what the door starts and what it does not, in a world of twins with Gitea's real words."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from blocks.forge_gitea import GiteaForge
from blocks.forge_payload import signature_of
from blocks.memory_sources import MemoryCommit, MemoryRepository
from blocks.memory_world import MemoryWorld
from deployments.door.dispatcher import Dispatcher
from deployments.door.reception import Reception
from domain.delivery import Commit
from domain.ledger import Event
from domain.ports import Application, Forge
from domain.pushes import last_pusher, pushers_of

REPOSITORY, SECRET, NONE = "team/desk", "s3cret", "0" * 40
A, B, C = "a" * 40, "b" * 40, "c" * 40


@dataclass
class WorldWithGitea(MemoryWorld):
    def forge(self, name: str) -> Forge:
        return GiteaForge()


@dataclass
class Sent:
    """Deliveries to a door whose repository is in memory; ids are counted."""

    world: WorldWithGitea = field(default_factory=WorldWithGitea)
    count: int = 0

    def __post_init__(self) -> None:
        self.world.applications.add(Application("desk", "gitea", REPOSITORY, "/srv/desk.git"), webhook_secret=SECRET)
        commits = {sha: MemoryCommit(Commit(sha, "Ann", "a@x", "t"), {}) for sha in (A, B, C)}
        self.repository = self.world.sources.repositories["/srv/desk.git"] = MemoryRepository(commits)
        self.reception, self.dispatcher = Reception(self.world), Dispatcher(self.world)

    def body(self, before: str, after: str, *, ref: str = "refs/heads/main") -> bytes:
        person = {"login": "eve", "full_name": "Eve Roe", "email": "eve@example.org"}
        value = {"ref": ref, "before": before, "after": after, "repository": {"full_name": REPOSITORY}}
        return json.dumps({**value, "pusher": person, "sender": {"login": "merge-bot"}}).encode()

    def deliver(self, body: bytes, *, delivery: str = "") -> int:
        self.count += 1
        headers = {
            "x-gitea-delivery": delivery or f"id-{self.count}",
            "x-gitea-event": "push",
            "x-gitea-signature": signature_of(body, SECRET),
        }
        answer = self.reception.receive(forge="gitea", repository=REPOSITORY, headers=headers, body=body)
        self.dispatcher.settle_waiting()
        return answer.status

    def push(self, before: str, after: str) -> str:
        """Move the branch for good, and deliver what the forge says of it; what became of the delivery."""
        if after == NONE:
            self.repository.branches.pop("main", None)
        else:
            self.repository.branches["main"] = after
        return self.replay(before, after)

    def replay(self, before: str, after: str) -> str:
        """Deliver a body under a new id; nothing moved."""
        self.deliver(self.body(before, after))
        return self.world.inbox.deliveries[-1].status

    def started(self) -> list[str]:
        return [entry.data["commit"] for entry in self.world.ledger.entries(kinds=["delivery.started"])]


@pytest.fixture
def sent() -> Sent:
    return Sent()


def test_a_body_that_was_seen_starts_nothing_under_another_id_and_is_recorded(sent: Sent):
    assert sent.push(NONE, A) == "started"
    assert sent.push(A, B) == "started"
    assert sent.replay(A, B) == "replayed"
    assert sent.replay(NONE, A) == "replayed"
    assert sent.started() == [A, B] and len(sent.world.flow_runs.runs) == 2
    replayed = sent.world.ledger.entries(kinds=["delivery.replayed"])
    assert [entry.data["delivery_id"] for entry in replayed] == ["id-3", "id-4"]
    assert "known already" in sent.world.inbox.deliveries[2].note


def test_forcing_a_branch_back_and_forth_starts_ci_each_time(sent: Sent):
    moves = [(NONE, A), (A, B), (B, A), (A, B), (B, A)]
    assert [sent.push(*move) for move in moves] == ["started"] * len(moves)
    assert sent.started() == [A, B, A, B, A]


def test_after_forcing_back_and_forth_each_old_body_is_a_replay_still(sent: Sent):
    for move in [(NONE, A), (A, B), (B, A), (A, B)]:
        sent.push(*move)
    assert [sent.replay(*move) for move in [(A, B), (B, A), (NONE, A)]] == ["replayed"] * 3
    sent.push(B, A)
    assert sent.replay(A, B) == "replayed", "another push came in between, but the branch is not there"
    assert sent.started() == [A, B, A, B, A]


def test_a_deletion_is_no_way_around(sent: Sent):
    sent.push(NONE, A)
    assert sent.push(A, NONE) == "ignored"
    assert sent.push(NONE, A) == "started", "made anew for good"
    assert sent.push(A, B) == "started"
    assert sent.replay(A, NONE) == "replayed" and sent.replay(A, B) == "replayed"


def test_where_the_repository_does_not_answer_a_known_push_starts_nothing(sent: Sent):
    for move in [(NONE, A), (A, B), (B, A)]:
        sent.push(*move)
    sent.world.sources.repositories.clear()
    assert sent.replay(A, B) == "replayed"


def test_a_delivery_that_is_settled_again_after_a_crash_is_no_replay_of_itself(sent: Sent):
    sent.push(NONE, A)
    sent.world.inbox.settle(1, status="waiting")
    sent.dispatcher.settle_waiting()
    assert sent.world.inbox.deliveries[0].status == "started"


def test_another_branch_is_another_push(sent: Sent):
    sent.push(NONE, A)
    sent.deliver(sent.body(NONE, A, ref="refs/heads/other"))
    assert sent.world.inbox.deliveries[-1].status == "ignored"
    assert sent.world.ledger.entries(kinds=["delivery.replayed"]) == []


def test_what_was_started_before_pushes_were_written_down_is_known_too(sent: Sent):
    data = {"commit": A, "branch": "main", "requester": "eve", "delivery_id": "old", "repository": REPOSITORY}
    sent.world.ledger.append(Event("delivery.started", application="desk", actor="eve", data=data))
    assert sent.replay(NONE, A) == "replayed"


def test_a_known_id_with_another_body_is_refused_and_recorded_once(sent: Sent):
    first, other = sent.body(NONE, A), sent.body(NONE, B)
    assert sent.deliver(first, delivery="one") == 202
    assert [sent.deliver(other, delivery="one") for _ in range(2)] == [409, 409]
    assert sent.deliver(first, delivery="one") == 202
    (refused,) = sent.world.ledger.entries(kinds=["delivery.refused"])
    assert refused.data["delivery_id"] == "one" and "another body" in refused.data["reason"]
    assert sent.started() == [A] and sent.world.inbox.deliveries[0].body == first


def test_the_pusher_is_known_by_every_name_that_was_signed(sent: Sent):
    sent.push(NONE, A)
    sent.push(A, B)
    entries = sent.world.ledger.entries(kinds=["push.received"])
    assert pushers_of(entries, {A}) == {"eve", "Eve Roe", "eve@example.org", "merge-bot"}
    assert pushers_of(entries, {C}) == frozenset() and pushers_of(entries, None) == pushers_of(entries, {A})
    assert (last_pusher(entries, A), last_pusher(entries, C)) == ("eve", "")


def test_a_fact_kept_by_an_earlier_version_takes_defaults_for_what_came_since():
    state: list[Any] = ["a" * 40, "Ann", "ann@example.org", "title"]
    commit = Commit.__new__(Commit)
    commit.__setstate__(state)
    assert commit == Commit(*state) and commit.people == {"Ann", "ann@example.org"}
