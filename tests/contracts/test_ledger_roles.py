"""What each role of the ledger's database may do, on a real server: who authorises, and who builds."""

from collections.abc import Generator
from uuid import uuid4

import psycopg
import pytest

from blocks.applications_postgres import PostgresApplications
from blocks.ledger_postgres import PostgresLedger
from blocks.ledger_schema import install_schema
from blocks.postgres_roles import ensure_database, ensure_role, grant_entry
from blocks.postgres_session import GENERAL_ROLE, LEDGER_ROLE, PostgresSession
from domain.authority import GENERAL_NOUNS
from domain.errors import InvariantError
from domain.ledger import Event, verify_chain
from domain.ports import Application, ForgeAccess

DECIDING = ("approval.granted", "rollback.authorised", "rollout.completed", "digest.unblocked", "proof.given")


def _no_seal() -> None:
    raise AssertionError("the general worker has no key")


@pytest.fixture(scope="module")
def sessions(postgres: str) -> Generator[dict[str, PostgresSession]]:
    """A database of its own with both roles in it."""
    name = f"roles_{uuid4().hex[:8]}"
    ensure_database(postgres, name)
    url = postgres.rpartition("/")[0] + f"/{name}"
    install_schema(url)
    install_schema(url)
    found: dict[str, PostgresSession] = {}
    for role in (LEDGER_ROLE, GENERAL_ROLE):
        ensure_role(postgres, role, password="of-the-tests")
        grant_entry(postgres, name, role=role)
        found[role] = PostgresSession(psycopg.conninfo.make_conninfo(url, user=role, password="of-the-tests"))
    yield found
    for session in found.values():
        session.close()


@pytest.fixture
def general(sessions: dict[str, PostgresSession]) -> PostgresSession:
    return sessions[GENERAL_ROLE]


def test_the_general_worker_writes_what_becomes_of_a_commit_in_one_chain_with_the_rest(
    sessions: dict[str, PostgresSession],
) -> None:
    general, own = PostgresLedger(sessions[GENERAL_ROLE]), PostgresLedger(sessions[LEDGER_ROLE])
    for noun in GENERAL_NOUNS:
        general.append(Event(f"{noun}.ended", run="r", key=f"{noun}.ended:r"))
        own.append(Event("verdict.given", run="r", key=f"verdict.given:{noun}"))
    general.append(Event("release.pinned", "desk", release="a" * 64, key=f"release:desk:{'a' * 64}"))
    assert verify_chain(own.entries()).broken_at is None
    assert len(general.entries()) == 2 * len(GENERAL_NOUNS) + 1


@pytest.mark.parametrize("kind", DECIDING)
def test_the_general_worker_cannot_write_what_decides(general: PostgresSession, kind: str) -> None:
    ledger = PostgresLedger(general)
    before = len(ledger.entries())
    with pytest.raises(InvariantError, match=f"may not write {kind}"):
        ledger.append(Event(kind, "desk", "production", release="a" * 64, run="r", key=f"{kind}:r"))
    assert len(ledger.entries()) == before


@pytest.mark.parametrize("key", [None, "approval.granted:r:desk", f"release:desk:{'b' * 64}"])
def test_the_general_worker_cannot_take_the_key_of_an_entry_that_others_will_write(
    general: PostgresSession, key: str | None
) -> None:
    with pytest.raises(InvariantError, match=r"key of ci\.started"):
        PostgresLedger(general).append(Event("ci.started", run="r", key=key))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM desk.approver",
        "SELECT seed FROM desk.approver",
        "INSERT INTO desk.used_code (approver, time_step) VALUES ('ann', 1)",
        "DELETE FROM desk.used_code",
        "SELECT webhook_secret FROM desk.application",
        "SELECT token FROM desk.forge_access",
        "UPDATE desk.application SET url = 'file:///evil'",
        "SELECT * FROM desk.delivery",
        "INSERT INTO desk.lease VALUES ('rollout:desk:production', 'me', now() + interval '1 day')",
        "SELECT * FROM desk.settings",
        "SELECT * FROM desk.secret",
        "UPDATE ledger.event SET kind = 'approval.granted'",
        "DELETE FROM ledger.event",
        "ALTER TABLE ledger.event DISABLE TRIGGER refuse_foreign_kind",
        "DROP FUNCTION ledger.refuse_foreign_kind() CASCADE",
        "CREATE TABLE ledger.mine (x int)",
        f"SET ROLE {LEDGER_ROLE}",
        "SET ROLE slipway_ledger_owner",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_the_general_worker_reaches_nothing_of_approvers_settings_and_deliveries(
    general: PostgresSession, statement: str
) -> None:
    with pytest.raises(InvariantError, match="PostgreSQL refused"):
        general.rows(statement)


def test_the_general_worker_reads_an_application_without_its_webhook_secret(
    sessions: dict[str, PostgresSession],
) -> None:
    from cryptography.fernet import Fernet

    from blocks.seal import Seal

    desk = Application("desk", "gitea", "team/desk", "file:///x", "main")
    seal = Seal(Fernet.generate_key().decode())
    PostgresApplications(sessions[LEDGER_ROLE], seal).add(desk, webhook_secret="s")
    assert PostgresApplications(sessions[GENERAL_ROLE], _no_seal).get("desk") == desk  # pyright: ignore[reportArgumentType]


def test_the_general_worker_knows_whether_there_is_a_forges_token_and_never_which(
    sessions: dict[str, PostgresSession],
) -> None:
    from cryptography.fernet import Fernet

    from blocks.seal import Seal

    own = PostgresApplications(sessions[LEDGER_ROLE], Seal(Fernet.generate_key().decode()))
    own.add(Application("told", "gitea", "team/told", "file:///y", "main"), webhook_secret="s")
    general = PostgresApplications(sessions[GENERAL_ROLE], _no_seal)  # pyright: ignore[reportArgumentType]
    assert not general.has_forge_access("told")
    own.set_forge_access("told", ForgeAccess("https://forge", "t"))
    assert general.has_forge_access("told")
    with pytest.raises(InvariantError, match="PostgreSQL refused"):
        general.forge_access("told")
