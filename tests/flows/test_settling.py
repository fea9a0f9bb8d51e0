"""Going back by hand, unblocking, and settling what died."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlparse

import pyotp
import pytest
from stage import APPLICATION, Stage
from test_rollouts import canary, go_live

from domain.ledger import Event
from domain.ports import Approver, RunRecord
from flows.reconcile import reconcile
from flows.rollback import rollback
from flows.unblock import unblock


class Person:
    def __init__(self, stage: Stage, name: str, role: str) -> None:
        uri = stage.world.approvers.enrol(Approver(name, roles=(role,)))
        self.name = name
        self._totp = pyotp.TOTP(parse_qs(urlparse(uri).query)["secret"][0])

    @property
    def code(self) -> str:
        return self._totp.now()


def two_releases(stage: Stage) -> tuple[str, str]:
    old = go_live(stage)
    new = stage.pin("b")
    canary(new, live=old, run="run-b")
    return old, new


def back(person: Person, **changes: object) -> dict[str, str]:
    given = {
        "application": APPLICATION,
        "environment": "production",
        "reason": "search is slow",
        "administrator": person.name,
        "code": person.code,
    }
    return rollback(**{**given, **changes})


def test_an_administrator_goes_back_alone_and_it_is_verified_and_recorded(stage: Stage):
    old, new = two_releases(stage)
    ann = Person(stage, "ann", "administrator")
    ended = back(ann)
    assert (ended["release"], ended["left"]) == (old, new)
    for site in ("alpha", "beta"):
        assert stage.serving("production", site) == {old: 100}
    (done,) = stage.world.ledger.entries(kinds=["rollback.completed"])
    assert (done.event.actor, done.data["reason"], done.data["verified"]) == ("ann", "search is slow", "yes")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": "000000"}, "wrong or too old"),
        ({"administrator": "nobody"}, "Nobody named 'nobody'"),
        ({"reason": "  "}, "needs a reason"),
        ({"environment": "prod"}, "No environment named 'prod'. Use one of"),
        ({"release": "f" * 64}, "was never live"),
    ],
)
def test_a_rollback_is_refused_with_the_reason(stage: Stage, change: dict[str, str], message: str):
    _, new = two_releases(stage)
    ann = Person(stage, "ann", "administrator")
    with pytest.raises(Exception, match=message):
        back(ann, **change)
    assert stage.serving("production", "alpha") == {new: 100}


def test_an_approver_is_no_administrator(stage: Stage):
    two_releases(stage)
    with pytest.raises(Exception, match="does not have the role"):
        back(Person(stage, "bob", "approver"))
    assert "rollback.refused" in stage.kinds()


def test_a_code_is_good_once(stage: Stage):
    two_releases(stage)
    ann = Person(stage, "ann", "administrator")
    code = ann.code
    back(ann, code=code)
    with pytest.raises(Exception, match="used before"):
        back(ann, code=code)


def test_going_back_can_block_what_is_left_until_it_is_unblocked_with_a_reason(stage: Stage):
    _, new = two_releases(stage)
    back(Person(stage, "ann", "administrator"), block=True)
    bob = Person(stage, "bob", "administrator")
    with pytest.raises(Exception, match="needs a reason"):
        unblock(APPLICATION, new, "", bob.name, bob.code)
    unblock(APPLICATION, new, "it was the database", bob.name, bob.code)
    carl = Person(stage, "carl", "administrator")
    with pytest.raises(Exception, match="is not blocked"):
        unblock(APPLICATION, new, "again", carl.name, carl.code)


def test_a_rollback_ends_the_run_that_is_rolling_out(stage: Stage):
    old, new = two_releases(stage)
    stage.world.run_records.records["run-c"] = RunRecord("run-c", "cd", "x", "running")
    third = stage.pin("c")
    stage.world.ledger.append(
        Event("rollout.begun", APPLICATION, "production", release=third, run="run-c", data={"previous": new})
    )
    back(Person(stage, "ann", "administrator"))
    assert stage.world.run_records.records["run-c"].state == "cancelled"
    assert stage.serving("production", "alpha") == {new: 100}, "the way back from a canary is what is live"
    assert reconcile()["rollouts"] == 0
    assert old != new


def test_a_run_whose_process_died_before_its_first_line_is_called_crashed_after_minutes(stage: Stage):
    long_ago = datetime.now(UTC) - timedelta(minutes=6)
    states = {"stuck": "pending", "late": "scheduled", "at work": "running", "starting": "pending"}
    for name, state in states.items():
        since = datetime.now(UTC) if name == "starting" else long_ago
        stage.world.run_records.records[name] = RunRecord(name, "follow_load", "x", state, since=since)
    reconcile()
    found = {name: stage.world.run_records.records[name].state for name in states}
    assert found == {**states, "stuck": "crashed"}


def died(stage: Stage, run: str, state: str = "crashed") -> None:
    stage.world.run_records.records[run] = RunRecord(run, "cd", "x", state)


def test_a_rollout_whose_run_died_is_brought_back_everywhere(stage: Stage):
    old = go_live(stage)
    new = stage.pin("b")
    stage.world.sites["production", "alpha"].metrics.users_per_s = 1
    canary(new, live=old, run="run-b")
    died(stage, "run-b")
    assert reconcile()["rollouts"] == 1
    for site in ("alpha", "beta"):
        assert stage.serving("production", site) == {old: 100}
        assert stage.running("production", site) == {old}
    (closed,) = stage.world.ledger.entries(kinds=["rollout.rolled_back"])
    assert closed.event.run == "run-b" and "crashed" in closed.data["cause"]
    assert "incident.opened" in stage.kinds()
    assert reconcile()["rollouts"] == 0, "settled once"


def test_what_still_runs_or_waits_is_left_alone(stage: Stage):
    old = go_live(stage)
    new = stage.pin("b")
    stage.world.sites["production", "alpha"].metrics.users_per_s = 1
    canary(new, live=old, run="run-b")
    for state in ("running", "paused", "pending", "scheduled"):
        died(stage, "run-b", state)
        assert reconcile()["rollouts"] == 0
    assert stage.serving("production", "alpha") == {new: 20, old: 80}


def test_a_rollback_that_died_is_finished_in_its_own_direction(stage: Stage):
    old, new = two_releases(stage)
    stage.world.ledger.append(Event("rollback.authorised", APPLICATION, "production", run="run-r", actor="ann"))
    stage.world.ledger.append(
        Event("rollback.begun", APPLICATION, "production", release=old, run="run-r", data={"previous": new})
    )
    died(stage, "run-r")
    reconcile()
    assert stage.serving("production", "alpha") == {old: 100}
    assert stage.world.ledger.entries(kinds=["rollback.completed"])[0].event.run == "run-r"


def test_silence_is_recorded_as_no_though_no_process_is_left(stage: Stage):
    new = stage.pin("b")
    data = {"gate": "production-1", "deadline": "2026-01-31T12:00:00+00:00"}
    stage.world.ledger.append(
        Event("approval.requested", APPLICATION, "production", release=new, run="run-b", data=data)
    )
    died(stage, "run-b", "paused")
    assert reconcile()["gates"] == 0
    died(stage, "run-b", "failed")
    assert reconcile()["gates"] == 1
    (expired,) = stage.world.ledger.entries(kinds=["approval.expired"])
    assert "nobody answered" in expired.data["reason"]
    assert any("nobody answered" in message.subject for message in stage.world.notifier.messages)
    assert reconcile()["gates"] == 0
