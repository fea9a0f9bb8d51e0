"""What every ledger promises, in memory and in PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC

import psycopg
import pytest

from blocks.ledger_postgres import PostgresLedger
from blocks.memory_ledger import MemoryLedger
from blocks.postgres_session import PostgresSession
from domain.errors import InvariantError, TransientError
from domain.ledger import GENESIS, Event, verify_chain
from domain.ports import Ledger

CHANGES = ["UPDATE ledger.event SET actor = 'eve'", "DELETE FROM ledger.event", "TRUNCATE ledger.event"]


@pytest.fixture(params=["memory", "postgres"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    if request.param == "memory":
        return MemoryLedger()
    return PostgresLedger(request.getfixturevalue("ledger_session"))


def test_entries_are_chained_from_the_genesis_without_gaps(ledger: Ledger):
    entries = [ledger.append(Event(kind="delivery.received", data={"n": n, "ä": [1.5, None, "漢"]})) for n in range(5)]
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5]
    assert entries[0].prev_hash == GENESIS
    assert [entry.prev_hash for entry in entries[1:]] == [entry.hash for entry in entries[:-1]]
    assert entries == ledger.entries()
    assert verify_chain(ledger.entries()).broken_at is None


def test_the_same_key_is_appended_once(ledger: Ledger):
    first = ledger.append(Event(kind="release.pinned", key="release:a", data={"n": 1}))
    again = ledger.append(Event(kind="release.pinned", key="release:a", data={"n": 2}))
    assert again == first
    assert len(ledger.entries()) == 1


def test_filters_narrow_together_and_order_is_by_choice(ledger: Ledger):
    ledger.append(Event(kind="site.switched", application="a", environment="test", release="r1", run="x"))
    ledger.append(Event(kind="site.switched", application="a", environment="production", release="r2", run="x"))
    ledger.append(Event(kind="verdict.given", application="b", environment="production", release="r2", run="y"))
    assert [e.seq for e in ledger.entries(kinds=["site.switched"], application="a")] == [1, 2]
    assert [e.seq for e in ledger.entries(environment="production", run="x")] == [2]
    assert [e.seq for e in ledger.entries(release="r2", newest_first=True)] == [3, 2]
    assert [e.seq for e in ledger.entries(after=1, limit=1)] == [2]
    assert ledger.entries(application="nobody") == []


def test_times_are_aware_and_in_utc(ledger: Ledger):
    at = ledger.append(Event(kind="ci.started")).at
    assert at.tzinfo is not None and at.utcoffset() == UTC.utcoffset(None)


def test_concurrent_appends_leave_one_unbroken_chain(ledger_session: PostgresSession):
    ledger = PostgresLedger(ledger_session)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ledger.append(Event(kind="check.passed", data={"n": n})), range(40)))
    report = verify_chain(ledger.entries())
    assert (report.entries, report.broken_at) == (40, None)


@pytest.mark.parametrize("statement", CHANGES)
def test_our_role_can_neither_change_nor_remove_an_entry(ledger_session: PostgresSession, statement: str):
    PostgresLedger(ledger_session).append(Event(kind="ci.started"))
    with pytest.raises(InvariantError, match=r"permission denied|append-only"):
        ledger_session.rows(statement)


@pytest.mark.parametrize("statement", CHANGES)
def test_even_the_superuser_meets_the_trigger(ledger_session: PostgresSession, ledger_url: str, statement: str):
    PostgresLedger(ledger_session).append(Event(kind="ci.started"))
    with psycopg.connect(ledger_url) as connection, pytest.raises(psycopg.Error, match="append-only"):
        connection.execute(statement)


def test_a_row_changed_behind_the_trigger_is_found_by_its_number(ledger_session: PostgresSession, ledger_url: str):
    ledger = PostgresLedger(ledger_session)
    for _ in range(4):
        ledger.append(Event(kind="ci.started", data={"n": 1}))
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE ledger.event DISABLE TRIGGER ALL")
        connection.execute("""UPDATE ledger.event SET data = '{"n":2}' WHERE seq = 3""")
        connection.execute("ALTER TABLE ledger.event ENABLE TRIGGER ALL")
    assert verify_chain(ledger.entries()).broken_at == 3


def test_a_server_that_is_away_is_a_transient_error():
    with pytest.raises(TransientError, match="slipway status"):
        PostgresLedger(PostgresSession("postgresql://x@127.0.0.1:1/x")).append(Event(kind="ci.started"))


def test_a_connection_cut_by_the_server_is_replaced(ledger_session: PostgresSession, ledger_url: str):
    ledger = PostgresLedger(ledger_session)
    ledger.append(Event(kind="ci.started"))
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'slipway'")
    assert ledger.append(Event(kind="ci.started")).seq == 2
