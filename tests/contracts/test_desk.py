"""What inbox, register, approvers and leases promise, in memory and in PostgreSQL."""

import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlparse

import pyotp
import pytest
from cryptography.fernet import Fernet

from blocks.applications_postgres import PostgresApplications
from blocks.approvers_postgres import PostgresApprovers
from blocks.inbox_postgres import PostgresInbox
from blocks.leases_postgres import PostgresLeases
from blocks.memory_applications import MemoryApplications
from blocks.memory_approvers import MemoryApprovers
from blocks.memory_inbox import MemoryInbox
from blocks.memory_leases import MemoryLeases
from blocks.postgres_session import PostgresSession
from blocks.seal import Seal
from domain.errors import ConfigError, TransientError
from domain.ports import Application, Applications, Approver, Approvers, Inbox, Leases

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seal() -> Seal:
    return Seal(Fernet.generate_key().decode())


@pytest.fixture(params=["memory", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def session(kind: str, request: pytest.FixtureRequest) -> PostgresSession | None:
    return request.getfixturevalue("ledger_session") if kind == "postgres" else None


@pytest.fixture
def inbox(session: PostgresSession | None) -> Inbox:
    return PostgresInbox(session) if session else MemoryInbox()


@pytest.fixture
def leases(session: PostgresSession | None) -> Leases:
    return PostgresLeases(session) if session else MemoryLeases()


@pytest.fixture
def applications(session: PostgresSession | None, seal: Seal) -> Applications:
    return PostgresApplications(session, seal) if session else MemoryApplications()


@pytest.fixture
def approvers(session: PostgresSession | None, seal: Seal, clock: Clock) -> Approvers:
    return PostgresApprovers(session, seal, clock) if session else MemoryApprovers(clock)


def code_of(uri: str, at: datetime) -> str:
    return pyotp.TOTP(parse_qs(urlparse(uri).query)["secret"][0]).at(at)


def test_a_delivery_is_stored_once_byte_for_byte(inbox: Inbox):
    body = bytes(range(256))
    given = {"forge": "gitea", "repository": "a/b", "delivery_id": "1", "headers": {"x-y": "z"}, "body": body}
    assert inbox.store(**given) is True
    assert inbox.store(**given) is False
    assert inbox.store(**{**given, "repository": "a/c"}) is True
    waiting = inbox.waiting()
    assert (waiting[0].body, waiting[0].headers, waiting[0].status) == (body, {"x-y": "z"}, "waiting")
    assert len(waiting) == 2


def test_a_settled_delivery_waits_no_more(inbox: Inbox):
    inbox.store(forge="gitea", repository="a/b", delivery_id="1", headers={}, body=b"{}")
    inbox.settle(inbox.waiting()[0].id, status="started", note="run 1")
    assert inbox.waiting() == []


def test_a_lease_is_refused_to_another_with_owner_and_expiry(leases: Leases):
    leases.acquire("rollout:a:production", owner="run-1", ttl_s=60)
    with pytest.raises(TransientError, match=r"held by run-1 until \d{4}-"):
        leases.acquire("rollout:a:production", owner="run-2", ttl_s=60)
    leases.acquire("rollout:a:production", owner="run-1", ttl_s=60)
    leases.acquire("rollout:b:production", owner="run-2", ttl_s=60)
    assert [(lease.name, lease.owner) for lease in leases.held()] == [
        ("rollout:a:production", "run-1"),
        ("rollout:b:production", "run-2"),
    ]


def test_only_its_owner_gives_a_lease_back(leases: Leases):
    leases.acquire("x", owner="run-1", ttl_s=60)
    leases.release("x", owner="run-2")
    assert len(leases.held()) == 1
    leases.release("x", owner="run-1")
    assert leases.acquire("x", owner="run-2", ttl_s=60).owner == "run-2"


def test_an_expired_lease_is_free(leases: Leases):
    leases.acquire("x", owner="run-1", ttl_s=0.05)
    time.sleep(0.1)
    assert leases.held() == []
    assert leases.acquire("x", owner="run-2", ttl_s=60).owner == "run-2"


def test_applications_are_found_by_forge_and_repository(applications: Applications):
    helpdesk = Application(name="desk", forge="gitea", repository="Team/Desk", url="file:///x", branch="main")
    applications.add(helpdesk, webhook_secret="s3cret")
    assert applications.find(forge="gitea", repository="team/desk") == helpdesk
    assert applications.find(forge="github", repository="Team/Desk") is None
    assert applications.webhook_secret("desk") == "s3cret"
    applications.add(helpdesk, webhook_secret="other")
    assert applications.webhook_secret("desk") == "other"
    assert applications.list() == [helpdesk]


def test_an_unknown_application_names_those_that_exist(applications: Applications):
    applications.add(Application("desk", "gitea", "a/b", "file:///x"), webhook_secret="s")
    with pytest.raises(ConfigError, match=r"No application named 'dsek'\. Registered: desk"):
        applications.get("dsek")


def test_one_repository_belongs_to_one_application(applications: Applications):
    applications.add(Application("desk", "gitea", "a/b", "file:///x"), webhook_secret="s")
    with pytest.raises(ConfigError, match="belongs to 'desk'"):
        applications.add(Application("other", "gitea", "A/B", "file:///x"), webhook_secret="s")


def test_a_webhook_secret_rests_sealed(ledger_session: PostgresSession, seal: Seal):
    PostgresApplications(ledger_session, seal).add(Application("desk", "gitea", "a/b", "u"), webhook_secret="s3cret")
    stored = bytes(ledger_session.rows("SELECT webhook_secret FROM desk.application")[0]["webhook_secret"])
    assert b"s3cret" not in stored
    with pytest.raises(ConfigError, match="another key"):
        Seal(Fernet.generate_key().decode()).open(stored)


def test_a_right_code_is_good_once(approvers: Approvers, clock: Clock):
    uri = approvers.enrol(Approver("ann", logins=("ann@example.org",)))
    assert approvers.use_code("ann", code_of(uri, clock.now)) == "ok"
    assert approvers.use_code("ann", code_of(uri, clock.now)) == "used"
    clock.now += timedelta(seconds=30)
    assert approvers.use_code("ann", code_of(uri, clock.now)) == "ok"


@pytest.mark.parametrize(("steps", "answer"), [(-2, "wrong"), (-1, "ok"), (1, "ok"), (2, "wrong")])
def test_one_step_of_clock_skew_is_forgiven_and_no_more(approvers: Approvers, clock: Clock, steps: int, answer: str):
    uri = approvers.enrol(Approver("ann"))
    assert approvers.use_code("ann", code_of(uri, clock.now + timedelta(seconds=30 * steps))) == answer


def test_wrong_and_unknown_are_told_apart_for_the_record(approvers: Approvers):
    approvers.enrol(Approver("ann"))
    assert approvers.use_code("ann", "not-a-code") == "wrong"
    assert approvers.use_code("ann", "漢字") == "wrong"
    assert approvers.use_code("bob", "000000") == "unknown"


def test_enrolling_twice_is_refused_and_revoking_ends_it(approvers: Approvers):
    approvers.enrol(Approver("ann", roles=("approver", "administrator")))
    with pytest.raises(ConfigError, match="revoke ann"):
        approvers.enrol(Approver("ann"))
    assert approvers.get("ann") == Approver("ann", roles=("approver", "administrator"))
    approvers.revoke("ann")
    assert approvers.get("ann") is None
    assert approvers.use_code("ann", "000000") == "unknown"
