"""Whose answer counts, and for what: the effects of `flows/asking.py` in a world of twins.

They are called as a flow calls them, one after another; suspending takes a worker (`tests/live/test_journey.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlparse

import pyotp
import pytest
from stage import APPLICATION, FILE, Stage

from blocks.memory_sources import MemoryCommit, MemoryRepository
from domain.delivery import Commit
from domain.ledger import Event
from domain.ports import Approver
from domain.release import Bundle, Manifest
from tasks.approval import authorise, record_proof, show_request, weigh_answer

OLD, NEW = "a" * 40, "b" * 40
MIDDLE = "c" * 40


@dataclass
class Gate:
    """A release that waits for an answer: `OLD` is live, then came `MIDDLE` by eve and `NEW` by carl, pushed by bob."""

    stage: Stage
    release: str = ""
    seeds: dict[str, str] = field(default_factory=dict[str, str])
    attempt: int = 0
    run: str = "run-1"

    def __post_init__(self) -> None:
        commits = {
            OLD: MemoryCommit(Commit(OLD, "Ann", "ann@example.org", "first"), {}),
            MIDDLE: MemoryCommit(Commit(MIDDLE, "Eve Roe", "eve@example.org", "x", "Mia", "mia@example.org"), {}, OLD),
            NEW: MemoryCommit(
                Commit(NEW, "Carl", "carl@example.org", "y", co_authors=("Zoe <zoe@example.org>",)), {}, MIDDLE
            ),
        }
        world = self.stage.world
        world.sources.repositories["file:///x"] = MemoryRepository(commits, {"main": NEW})
        world.sources.fetch(APPLICATION, "file:///x")
        live = self.stage.pin("a")
        world.ledger.append(Event("rollout.completed", APPLICATION, "production", release=live, run="run-0"))
        self.release = self.pin_new()
        self.push(NEW, "bob", "Bob Doe", "bob@example.org")
        for environment in ("test", "staging"):
            record_proof.fn(self.run, APPLICATION, environment, self.release, "acceptance tests", "passed", 100)

    def pin_new(self, *, migrations: tuple[str, ...] = ()) -> str:
        """Pin a release of `NEW`; what the parameters of the run said of the requester is a lie."""
        manifest = Manifest(APPLICATION, NEW, Bundle("b" * 64, 10), migrations=migrations)
        for site in self.stage.world.sites.values():
            site.target.add(manifest, {"slipway.toml": FILE})
        data = {"manifest": manifest.as_dict(), "requester": "somebody else", "requester_email": ""}
        event = Event("release.pinned", application=APPLICATION, release=manifest.digest, data=data)
        self.stage.world.ledger.append(event)
        return manifest.digest

    def push(self, commit: str, login: str, *names: str) -> None:
        data = {"commit": commit, "branch": "main", "requester": login, "requester_names": [login, *names]}
        self.stage.world.ledger.append(Event("push.received", APPLICATION, actor=login, data=data))

    def enrol(self, name: str, *roles: str, logins: tuple[str, ...] = ()) -> None:
        uri = self.stage.world.approvers.enrol(Approver(name, roles or ("approver",), logins))
        self.seeds[name] = parse_qs(urlparse(uri).query)["secret"][0]

    def code(self, name: str) -> str:
        return pyotp.TOTP(self.seeds[name]).at(datetime.now(UTC))

    def show(self) -> str:
        """Show the request; the hash of what was shown."""
        self.attempt += 1
        gate = "production-1"
        return show_request.fn(self.run, APPLICATION, "production", self.release, gate, self.attempt).hash

    def answer(self, name: str, *, code: str = "", shown: str = "") -> dict[str, str]:
        shown = shown or self.show()
        answer = {"decision": "approve", "approver": name, "code": code or self.code(name), "comment": ""}
        return weigh_answer.fn(
            self.run, APPLICATION, "production", self.release, "production-1", self.attempt, shown, answer
        )

    def last_refusal(self) -> str:
        return self.stage.world.ledger.entries(kinds=["approval.refused"])[-1].data["refusal"]


@pytest.fixture
def gate(stage: Stage) -> Gate:
    return Gate(stage)


@pytest.mark.parametrize(
    ("name", "logins"),
    [
        ("bob", ()),
        ("BOB", ()),
        ("robert", ("Bob Doe",)),
        ("robert", ("bob@EXAMPLE.org",)),
        ("carl", ()),
        ("eve", ("eve@example.org",)),
        ("mia", ()),
        ("zoe", ("zoe@example.org",)),
        ("x", ("Somebody Else",)),
    ],
)
def test_who_pushed_wrote_or_committed_any_of_it_can_not_approve(gate: Gate, name: str, logins: tuple[str, ...]):
    gate.enrol(name, "approver", "administrator", logins=logins)
    ended = gate.answer(name)
    assert ended["outcome"] == "refused" and gate.last_refusal() == "self"
    assert "Somebody else has to decide" in ended["reason"]


def test_who_wrote_only_what_is_live_already_can_approve(gate: Gate):
    gate.enrol("ann", logins=("ann@example.org",))
    assert gate.answer("ann")["outcome"] == "approve"


def test_who_pushed_what_came_before_the_last_push_counts_too(gate: Gate):
    gate.push(MIDDLE, "frank")
    gate.push(OLD, "grace")
    gate.enrol("frank")
    gate.enrol("grace")
    assert gate.answer("frank")["outcome"] == "refused" and gate.last_refusal() == "self"
    assert gate.answer("grace")["outcome"] == "approve", "what she pushed is live"


def test_the_form_names_who_was_authenticated_not_who_was_claimed(gate: Gate):
    shown = show_request.fn(gate.run, APPLICATION, "production", gate.release, "g", 1)
    assert (shown.requester, shown.is_push_signed) == ("bob", True)


def test_without_a_signed_push_the_form_says_so_and_the_authors_count(stage: Stage):
    gate = Gate(stage)
    stage.world.ledger = type(stage.world.ledger)()
    live = stage.pin("a")
    stage.world.ledger.append(Event("rollout.completed", APPLICATION, "production", release=live, run="run-0"))
    gate.release = gate.pin_new()
    shown = show_request.fn(gate.run, APPLICATION, "production", gate.release, "g", 1)
    assert (shown.requester, shown.is_push_signed) == ("somebody else", False)
    gate.enrol("carl")
    assert gate.answer("carl")["outcome"] == "refused"


def test_five_wrong_codes_lock_across_gates_rollback_and_unblock_and_are_told(gate: Gate, stage: Stage):
    gate.enrol("ann", "administrator")
    for run in ("run-1", "run-2"):
        gate.run = run
        assert "server's time is" in gate.answer("ann", code="no code")["reason"]
    for act in ("rollback", "unblock"):
        said = authorise.fn(f"run-{act}", APPLICATION, "production", gate.release, act, "ann", "no code", "why")
        assert "wrong or too old" in said
    assert "locked until" in authorise.fn("run-5", APPLICATION, "test", gate.release, "rollback", "ann", "no", "why")
    gate.run = "run-6"
    locked = gate.answer("ann")
    assert locked["outcome"] == "refused" and gate.last_refusal() == "locked"
    (entry,) = stage.world.ledger.entries(kinds=["approver.locked"])
    assert (entry.data["name"], entry.event.run) == ("ann", "run-5")
    assert entry.data["until"][:16].replace("T", " ") in locked["reason"], "the time when it ends"
    assert len([m for m in stage.world.notifier.messages if "locked" in m.subject]) == 1


def test_a_code_is_used_up_by_a_decision_that_is_refused(gate: Gate):
    gate.enrol("bob")
    code = gate.code("bob")
    assert gate.answer("bob", code=code)["outcome"] == "refused" and gate.last_refusal() == "self"
    gate.answer("bob", code=code)
    assert gate.last_refusal() == "used"


def test_a_code_for_a_gate_is_none_for_a_rollback(gate: Gate):
    gate.enrol("ann", "administrator", logins=("annlee",))
    code = gate.code("ann")
    assert gate.answer("ann", code=code)["outcome"] == "approve"
    said = authorise.fn("run-r", APPLICATION, "production", gate.release, "rollback", "ann", code, "why")
    assert "used before" in said


@pytest.mark.parametrize(
    ("roles", "outcome"),
    [
        (("approver",), "approve"),
        (("approver:desk/production",), "approve"),
        (("administrator:desk",), "approve"),
        (("approver:shop",), "refused"),
        (("approver:desk/staging",), "refused"),
        (("administrator:*/staging",), "refused"),
    ],
)
def test_an_approver_decides_in_their_place_only(gate: Gate, roles: tuple[str, ...], outcome: str):
    gate.enrol("ann", *roles)
    assert gate.answer("ann")["outcome"] == outcome


@pytest.mark.parametrize(
    ("role", "environment", "act", "allowed"),
    [
        ("administrator:*/staging", "staging", "rollback", True),
        ("administrator:*/staging", "production", "rollback", False),
        ("administrator:desk/production", "production", "rollback", True),
        ("administrator:shop", "production", "rollback", False),
        ("approver", "production", "rollback", False),
        ("administrator:desk/production", "", "unblock", False),
        ("administrator:desk", "", "unblock", True),
    ],
)
def test_an_administrator_acts_in_their_place_only(gate: Gate, role: str, environment: str, act: str, allowed: bool):
    gate.enrol("ann", role)
    said = authorise.fn("run-r", APPLICATION, environment, gate.release, act, "ann", gate.code("ann"), "why")
    assert (said == "") is allowed and ("does not have the role" in said) is not allowed


def test_whoever_is_revoked_while_a_gate_waits_can_not_answer_it(gate: Gate, stage: Stage):
    gate.enrol("ann")
    shown = gate.show()
    stage.world.approvers.revoke("ann")
    assert gate.answer("ann", shown=shown)["outcome"] == "refused" and gate.last_refusal() == "unknown"


def _set(gate: Gate, **given: dict[str, str]) -> None:
    gate.stage.world.settings.change(APPLICATION, "production", actor="ops", **given)  # pyright: ignore[reportArgumentType]


def _release_of_other_bytes(gate: Gate) -> None:
    gate.release = gate.pin_new(migrations=("0001_x.sql",))
    for environment in ("test", "staging"):
        record_proof.fn(gate.run, APPLICATION, environment, gate.release, "acceptance tests", "passed", 100)


def _live_changes(gate: Gate) -> None:
    manifest = Manifest(APPLICATION, MIDDLE, Bundle("e" * 64, 10))
    for site in gate.stage.world.sites.values():
        site.target.add(manifest, {"slipway.toml": FILE})
    data = {"manifest": manifest.as_dict(), "requester": "x"}
    ledger = gate.stage.world.ledger
    ledger.append(Event("release.pinned", application=APPLICATION, release=manifest.digest, data=data))
    ledger.append(Event("rollout.completed", APPLICATION, "production", release=manifest.digest, run="run-x"))


def _file_changes(gate: Gate) -> None:
    """What is the same in the live release and in the new one is in no difference; both change here, as one."""
    target = gate.stage.world.target("staging", "main")
    for letter in ("a", "b"):
        manifest = Manifest(APPLICATION, letter * 40, Bundle(letter * 64, 10))
        target.tamper(manifest.digest, "slipway.toml", FILE.replace("watch_after_s = 5", "watch_after_s = 4"))


CHANGES: dict[str, Callable[[Gate], None]] = {
    "digest and migrations": _release_of_other_bytes,
    "live": _live_changes,
    "rendered configuration": _file_changes,
    "a setting": lambda gate: _set(gate, config={"PAGE_SIZE": "50"}),
    "a secret": lambda gate: _set(gate, secrets={"MAIL_KEY": "s3cret"}),
    "evidence": lambda gate: record_proof.fn(gate.run, APPLICATION, "staging", gate.release, "more", "passed", 1),
    "a pusher": lambda gate: gate.push(MIDDLE, "late"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_one_thing_alone_is_asked_anew(gate: Gate, change: str):
    gate.enrol("ann", logins=("ann@example.org",))
    shown = gate.show()
    CHANGES[change](gate)
    ended = gate.answer("ann", shown=shown)
    assert ended["outcome"] == "refused" and gate.last_refusal() == "drift"
    again = show_request.fn(gate.run, APPLICATION, "production", gate.release, "production-1", 99)
    assert again.hash != shown and "s3cret" not in f"{again} {gate.stage.world.ledger.entries()}"


def test_a_new_value_of_a_secret_is_asked_anew_though_its_name_is_the_same(gate: Gate):
    gate.enrol("ann", logins=("ann@example.org",))
    _set(gate, secrets={"MAIL_KEY": "first"})
    shown = gate.show()
    _set(gate, secrets={"MAIL_KEY": "second"})
    assert gate.answer("ann", shown=shown)["outcome"] == "refused" and gate.last_refusal() == "drift"


def test_a_change_of_settings_alone_is_asked_for_by_who_made_it_not_by_who_wrote_the_live_code(gate: Gate):
    event = Event("rollout.completed", APPLICATION, "production", release=gate.release, run="run-y")
    gate.stage.world.ledger.append(event)
    _set(gate, config={"PAGE_SIZE": "50"})
    gate.enrol("carl")
    gate.enrol("ops")
    assert gate.answer("ops")["outcome"] == "refused" and gate.last_refusal() == "self"
    assert gate.answer("carl")["outcome"] == "approve"


def test_another_build_of_the_live_commit_is_asked_for_by_who_pushed_and_wrote_it(gate: Gate):
    event = Event("rollout.completed", APPLICATION, "production", release=gate.release, run="run-y")
    gate.stage.world.ledger.append(event)
    live, gate.release = gate.release, gate.pin_new(migrations=("0001_other_bytes",))
    assert live != gate.release
    for name in ("bob", "carl"):
        gate.enrol(name)
        assert gate.answer(name)["outcome"] == "refused" and gate.last_refusal() == "self"


def test_without_a_change_the_answer_counts(gate: Gate):
    gate.enrol("ann", logins=("ann@example.org",))
    assert gate.answer("ann", shown=gate.show())["outcome"] == "approve"
