"""What the register of approvers promises, in memory and in PostgreSQL: codes, locks, seeds, roles."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlparse

import psycopg
import pyotp
import pytest
from cryptography.fernet import Fernet

from blocks.approvers_postgres import PostgresApprovers
from blocks.kept_people import KeepingApprovers, KeptPeople
from blocks.ledger_schema import install_schema
from blocks.memory_approvers import MemoryApprovers
from blocks.postgres_session import PostgresSession
from blocks.seal import Seal
from domain.errors import ConfigError
from domain.lockout import LOCK_S, WRONG_CODES_MAX
from domain.ports import Approver, Approvers

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


@pytest.fixture(params=["memory", "postgres", "postgres with its copy"])
def approvers(request: pytest.FixtureRequest, seal: Seal, clock: Clock) -> Approvers:
    if request.param == "memory":
        return MemoryApprovers(clock)
    if request.param == "postgres with its copy":
        kept = KeptPeople(request.getfixturevalue("tmp_path") / "kept", seal, clock)
        return KeepingApprovers(request.getfixturevalue("ledger_session"), seal, kept, clock)
    return PostgresApprovers(request.getfixturevalue("ledger_session"), seal, clock)


def code_of(uri: str, at: datetime) -> str:
    return pyotp.TOTP(parse_qs(urlparse(uri).query)["secret"][0]).at(at)


def wrong_code(uri: str, at: datetime) -> str:
    """A code that is not right now, nor within the skew."""
    right = {code_of(uri, at + timedelta(seconds=30 * step)) for step in (-1, 0, 1)}
    return next(code for code in ("000000", "111111", "222222", "333333") if code not in right)


def test_a_right_code_is_good_once(approvers: Approvers, clock: Clock):
    uri = approvers.enrol(Approver("ann", logins=("ann@example.org",)))
    assert approvers.use_code("ann", code_of(uri, clock.now)).status == "ok"
    assert approvers.use_code("ann", code_of(uri, clock.now)).status == "used"
    clock.now += timedelta(seconds=30)
    assert approvers.use_code("ann", code_of(uri, clock.now)).status == "ok"


@pytest.mark.parametrize(("steps", "answer"), [(-2, "wrong"), (-1, "ok"), (1, "ok"), (2, "wrong")])
def test_one_step_of_clock_skew_is_forgiven_and_no_more(approvers: Approvers, clock: Clock, steps: int, answer: str):
    uri = approvers.enrol(Approver("ann"))
    assert approvers.use_code("ann", code_of(uri, clock.now + timedelta(seconds=30 * steps))).status == answer


def test_wrong_and_unknown_are_told_apart_for_the_record(approvers: Approvers):
    approvers.enrol(Approver("ann"))
    assert approvers.use_code("ann", "not-a-code").status == "wrong"
    assert approvers.use_code("ann", "漢字").status == "wrong"
    assert approvers.use_code("bob", "000000").status == "unknown"


def test_enrolling_twice_is_refused_and_revoking_ends_it(approvers: Approvers, clock: Clock):
    uri = approvers.enrol(Approver("ann", roles=("approver", "administrator")))
    with pytest.raises(ConfigError, match="revoke ann"):
        approvers.enrol(Approver("ann"))
    assert approvers.get("ann") == Approver("ann", roles=("approver", "administrator"))
    approvers.revoke("ann")
    assert approvers.get("ann") is None
    assert approvers.use_code("ann", code_of(uri, clock.now)).status == "unknown"


def test_five_wrong_codes_lock_for_fifteen_minutes_even_against_the_right_code(approvers: Approvers, clock: Clock):
    uri = approvers.enrol(Approver("ann"))
    wrong = wrong_code(uri, clock.now)
    uses = [approvers.use_code("ann", wrong) for _ in range(5)]
    until = clock.now + timedelta(minutes=15)
    assert [use.left for use in uses] == [4, 3, 2, 1, 0]
    assert [use.locked_until for use in uses] == [None, None, None, None, until]
    assert [use.begins_lock for use in uses] == [False, False, False, False, True]
    clock.now += timedelta(minutes=14, seconds=59)
    right = code_of(uri, clock.now)
    during = approvers.use_code("ann", right)
    assert (during.status, during.locked_until, during.begins_lock) == ("locked", until, False)
    assert approvers.use_code("ann", "000000").locked_until == until, "a lock is not made longer"
    clock.now = until
    assert approvers.use_code("ann", right).status == "used", "given while locked, it is used up"
    assert approvers.use_code("ann", code_of(uri, clock.now)).status == "ok"


def test_a_right_code_forgets_the_wrong_ones_and_a_used_one_is_none(approvers: Approvers, clock: Clock):
    uri = approvers.enrol(Approver("ann"))
    for _ in range(WRONG_CODES_MAX - 1):
        approvers.use_code("ann", wrong_code(uri, clock.now))
    right = code_of(uri, clock.now)
    assert approvers.use_code("ann", right).status == "ok"
    assert {approvers.use_code("ann", right).status for _ in range(WRONG_CODES_MAX)} == {"used"}
    assert approvers.use_code("ann", wrong_code(uri, clock.now)).left == WRONG_CODES_MAX - 1


def test_after_a_lock_it_takes_five_again(approvers: Approvers, clock: Clock):
    uri = approvers.enrol(Approver("ann"))
    for _ in range(WRONG_CODES_MAX):
        approvers.use_code("ann", wrong_code(uri, clock.now))
    clock.now += timedelta(seconds=LOCK_S)
    assert approvers.use_code("ann", wrong_code(uri, clock.now)).left == WRONG_CODES_MAX - 1


def test_one_persons_lock_is_not_anothers(approvers: Approvers, clock: Clock):
    ann, bob = approvers.enrol(Approver("ann")), approvers.enrol(Approver("bob"))
    for _ in range(WRONG_CODES_MAX):
        approvers.use_code("ann", wrong_code(ann, clock.now))
    assert approvers.use_code("bob", code_of(bob, clock.now)).status == "ok"


def test_a_new_seed_ends_the_old_one_at_once_and_a_lock_too(approvers: Approvers, clock: Clock):
    old = approvers.enrol(Approver("ann", roles=("administrator:desk",), logins=("a@example.org",)))
    for _ in range(WRONG_CODES_MAX):
        approvers.use_code("ann", wrong_code(old, clock.now))
    new = approvers.renew("ann")
    assert approvers.use_code("ann", code_of(old, clock.now)).status == "wrong"
    assert approvers.use_code("ann", code_of(new, clock.now)).status == "ok"
    assert approvers.get("ann") == Approver("ann", ("administrator:desk",), ("a@example.org",)), "the rest stays"


def test_a_new_seed_does_not_make_a_used_time_step_new(approvers: Approvers, clock: Clock):
    old = approvers.enrol(Approver("ann"))
    assert approvers.use_code("ann", code_of(old, clock.now)).status == "ok"
    new = approvers.renew("ann")
    assert approvers.use_code("ann", code_of(new, clock.now)).status == "used"


def test_roles_and_log_ins_are_replaced_and_nobody_else_is_touched(approvers: Approvers, clock: Clock):
    uri = approvers.enrol(Approver("ann"))
    approvers.enrol(Approver("bob"))
    changed = Approver("ann", ("administrator:desk/staging",), ("ann@example.org",))
    approvers.change(changed)
    assert approvers.list() == [changed, Approver("bob")]
    assert approvers.use_code("ann", code_of(uri, clock.now)).status == "ok"


@pytest.mark.parametrize("act", ["renew", "change"])
def test_nobody_can_be_changed_who_is_not_enrolled(approvers: Approvers, act: str):
    approvers.enrol(Approver("bob"))
    with pytest.raises(ConfigError, match=r"Nobody named 'ann' is enrolled\. Enrolled: bob"):
        approvers.renew("ann") if act == "renew" else approvers.change(Approver("ann"))


def test_a_seed_rests_sealed(ledger_session: PostgresSession, seal: Seal):
    uri = PostgresApprovers(ledger_session, seal).enrol(Approver("ann"))
    stored = bytes(ledger_session.rows("SELECT seed FROM desk.approver")[0]["seed"])
    assert parse_qs(urlparse(uri).query)["secret"][0].encode() not in stored


def test_of_many_connections_with_one_code_one_is_told_ok(
    ledger_session: PostgresSession, ledger_url: str, seal: Seal, clock: Clock
):
    """Ten processes, each with a connection of its own, race with one code; then with wrong ones."""
    uri = PostgresApprovers(ledger_session, seal, clock).enrol(Approver("ann"))
    sessions = [PostgresSession(_as_slipway(ledger_url)) for _ in range(10)]
    registers = [PostgresApprovers(session, seal, clock) for session in sessions]
    together = threading.Barrier(len(registers))

    def give(register: PostgresApprovers, code: str) -> str:
        together.wait(timeout=20)
        return register.use_code("ann", code).status

    with ThreadPoolExecutor(len(registers)) as pool:
        right = code_of(uri, clock.now)
        assert Counter(pool.map(lambda one: give(one, right), registers)) == {"ok": 1, "used": 9}
        wrong = wrong_code(uri, clock.now)
        assert Counter(pool.map(lambda one: give(one, wrong), registers)) == {"wrong": 5, "locked": 5}
    for session in sessions:
        session.close()


def test_an_installation_from_before_is_upgraded_and_its_people_have_their_roles_everywhere(
    ledger_session: PostgresSession, ledger_url: str, seal: Seal, clock: Clock
):
    """The table as the first version made it, with a row of that time."""
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE desk.approver DROP COLUMN wrong_codes, DROP COLUMN locked_until")
        seed = pyotp.random_base32()
        connection.execute(
            "INSERT INTO desk.approver (name, roles, logins, seed) VALUES ('ann', '{approver}', '{}', %s)",
            (seal.close(seed),),
        )
    install_schema(ledger_url)
    approvers = PostgresApprovers(ledger_session, seal, clock)
    assert approvers.list() == [Approver("ann", ("approver",))]
    assert approvers.use_code("ann", pyotp.TOTP(seed).at(clock.now)).status == "ok"


def test_the_role_that_slipway_uses_can_not_make_a_code_good_again(ledger_session: PostgresSession):
    ledger_session.rows("INSERT INTO desk.used_code (approver, time_step) VALUES ('ann', 1)")
    for statement in ("DELETE FROM desk.used_code", "UPDATE desk.used_code SET time_step = 2"):
        with pytest.raises(Exception, match="permission denied"):
            ledger_session.rows(statement)


def _as_slipway(ledger_url: str) -> str:
    return psycopg.conninfo.make_conninfo(ledger_url, user="slipway", password="for-tests")
