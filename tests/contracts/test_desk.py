"""What inbox, register and leases promise, in memory and in PostgreSQL."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.fernet import Fernet

from blocks.applications_postgres import PostgresApplications
from blocks.inbox_postgres import PostgresInbox
from blocks.leases_postgres import PostgresLeases
from blocks.memory_applications import MemoryApplications
from blocks.memory_inbox import MemoryInbox
from blocks.memory_leases import MemoryLeases
from blocks.postgres_session import PostgresSession
from blocks.seal import Seal
from domain.errors import ConfigError, TransientError
from domain.ports import Application, Applications, ForgeAccess, Inbox, Leases


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


def test_a_delivery_is_stored_once_byte_for_byte(inbox: Inbox):
    body = bytes(range(256))
    given = {"forge": "gitea", "repository": "a/b", "delivery_id": "1", "headers": {"x-y": "z"}, "body": body}
    assert inbox.store(**given) is True
    assert inbox.store(**given) is False
    assert inbox.store(**{**given, "repository": "a/c"}) is True
    waiting = inbox.waiting()
    assert (waiting[0].body, waiting[0].headers, waiting[0].status) == (body, {"x-y": "z"}, "waiting")
    assert len(waiting) == 2


def test_a_delivery_is_found_by_its_id_and_a_second_body_does_not_replace_the_first(inbox: Inbox):
    given = {"forge": "gitea", "repository": "a/b", "delivery_id": "1"}
    assert inbox.find(**given) is None
    inbox.store(**given, headers={}, body=b"first")
    inbox.store(**given, headers={}, body=b"second")
    found = inbox.find(**given)
    assert found is not None and found.body == b"first"
    assert inbox.find(**{**given, "forge": "github"}) is None


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


def test_two_webhook_secrets_are_good_until_the_older_ones_time_is_over(applications: Applications):
    applications.add(Application("desk", "gitea", "a/b", "file:///x"), webhook_secret="old")
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert applications.webhook_secrets("desk", now=now) == ("old",)
    for _ in range(2):  # the second time changes nothing: a command that was killed is run again
        applications.replace_secret("desk", "new", old_until=now + timedelta(hours=1))
        assert applications.webhook_secrets("desk", now=now) == ("new", "old")
    assert applications.webhook_secrets("desk", now=now + timedelta(hours=1)) == ("new",)
    applications.replace_secret("desk", "new", old_until=now)
    assert applications.webhook_secrets("desk", now=now) == ("new",)
    assert applications.webhook_secret("desk") == "new"


def test_a_forges_token_is_kept_beside_the_application_and_forgotten_when_told(applications: Applications):
    applications.add(Application("desk", "gitea", "a/b", "file:///x"), webhook_secret="s")
    assert applications.forge_access("desk") is None and not applications.has_forge_access("desk")
    for token in ("first", "second"):
        applications.set_forge_access("desk", ForgeAccess("https://forge/api/v1", token))
    applications.add(Application("desk", "gitea", "a/b", "file:///y"), webhook_secret="s")
    assert applications.forge_access("desk") == ForgeAccess("https://forge/api/v1", "second")
    assert applications.has_forge_access("desk")
    applications.set_forge_access("desk", None)
    assert applications.forge_access("desk") is None
    with pytest.raises(ConfigError, match="No application named"):
        applications.set_forge_access("dsek", ForgeAccess("u", "t"))


def test_a_forges_token_rests_sealed(ledger_session: PostgresSession, seal: Seal):
    applications = PostgresApplications(ledger_session, seal)
    applications.add(Application("desk", "gitea", "a/b", "u"), webhook_secret="s")
    applications.set_forge_access("desk", ForgeAccess("u", "t0ken"))
    assert b"t0ken" not in bytes(ledger_session.rows("SELECT token FROM desk.forge_access")[0]["token"])


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
