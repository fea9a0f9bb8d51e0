"""What every ledger promises, in memory and in PostgreSQL."""

import select
import socket
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC
from threading import Barrier, Thread

import psycopg
import pytest

from blocks.journal import Journal
from blocks.ledger_postgres import PostgresLedger
from blocks.memory_ledger import MemoryLedger
from blocks.postgres_session import PostgresSession
from domain.errors import InvariantError, TransientError
from domain.ledger import GENESIS, Event, link_of, verify_chain
from domain.ports import Ledger

CHANGES = ["UPDATE ledger.event SET actor = 'eve'", "DELETE FROM ledger.event", "TRUNCATE ledger.event"]


@pytest.fixture(params=["memory", "journal", "postgres"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    if request.param == "memory":
        return MemoryLedger()
    if request.param == "journal":
        return Journal(request.getfixturevalue("tmp_path") / "journal.jsonl")
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


def test_links_are_the_entries_as_they_are_hashed(ledger: Ledger):
    entries = [
        ledger.append(Event(kind="ci.started", key=f"k{n}", data={"n": [n, 1e-7, -0.0, "ä\x01"]})) for n in range(5)
    ]
    assert list(ledger.links()) == [link_of(entry) for entry in entries]
    assert verify_chain(ledger.links()).head == entries[-1].hash


def test_keys_that_are_no_text_and_text_that_is_none_are_kept_as_readers_will_see_them(ledger: Ledger):
    data = {"pair": (1, 2), "bad": "\x00\ud800", "counts": {10: 1, 9: 2}}
    entry = ledger.append(Event(kind="ci.started", actor="a\x00", key="k\x00", data=data))
    assert entry.data == {"pair": [1, 2], "bad": "\ufffd\ufffd", "counts": {"10": 1, "9": 2}}
    assert ledger.append(Event(kind="ci.started", key="k\x00")) == entry == ledger.entries()[0]
    assert verify_chain(ledger.links()).broken_at is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_has_no_canonical_form_is_refused_and_leaves_nothing(ledger: Ledger, value: object):
    with pytest.raises((ValueError, TypeError)):
        ledger.append(Event(kind="ci.started", data={"n": value}))
    assert ledger.entries() == []


def test_twenty_appenders_at_once_leave_one_unbroken_chain(ledger_session: PostgresSession, ledger_url: str):
    url = psycopg.conninfo.make_conninfo(ledger_url, user="slipway", password="for-tests")
    sessions = [PostgresSession(url) for _ in range(20)]
    start = Barrier(20)

    def append(number: int) -> None:
        ledger = PostgresLedger(sessions[number])
        start.wait()
        for turn in range(10):
            ledger.append(Event(kind="check.passed", key=f"{turn}:{number // 2}", data={"n": turn}))

    try:
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(append, range(20)))
    finally:
        for session in sessions:
            session.close()
    # each key was appended by two of them at once, and is there once
    assert [entry.seq for entry in PostgresLedger(ledger_session).entries()] == list(range(1, 101))
    assert verify_chain(PostgresLedger(ledger_session).links()).entries == 100


def test_an_append_whose_answer_was_lost_is_not_repeated(ledger_session: PostgresSession, ledger_url: str):
    event = Event(kind="release.pinned", key="release:lost", data={"n": 1})
    with forgetful_line(ledger_url) as url:
        session = PostgresSession(psycopg.conninfo.make_conninfo(url, user="slipway", password="for-tests"))
        with pytest.raises(TransientError, match="went away"):
            PostgresLedger(session).append(event)
        session.close()
    (entry,) = PostgresLedger(ledger_session).entries()
    assert PostgresLedger(ledger_session).append(event) == entry
    assert len(PostgresLedger(ledger_session).entries()) == 1


@contextmanager
def forgetful_line(url: str) -> Generator[str]:
    """A line to PostgreSQL that lets a COMMIT through and is cut before its answer."""
    server = psycopg.conninfo.conninfo_to_dict(url)
    with socket.create_server(("127.0.0.1", 0)) as door:

        def carry() -> None:
            near, _ = door.accept()
            with near, socket.create_connection((str(server["host"]), int(str(server["port"])))) as far:
                is_committing = False
                while True:
                    ready, _, _ = select.select([near, far], [], [], 10)
                    if not ready:
                        return
                    if near in ready:
                        words = near.recv(65536)
                        is_committing = is_committing or b"COMMIT" in words
                        if not words:
                            return
                        far.sendall(words)
                    elif answer := far.recv(65536):
                        if is_committing:
                            return
                        near.sendall(answer)

        thread = Thread(target=carry)
        thread.start()
        yield psycopg.conninfo.make_conninfo(url, host="127.0.0.1", port=door.getsockname()[1])
        thread.join()


def test_nobody_who_can_log_in_owns_the_ledger_or_may_do_more_than_add_and_read(ledger_url: str):
    with psycopg.connect(ledger_url) as connection:
        owners = connection.execute(
            "SELECT DISTINCT o.rolname, o.rolcanlogin, o.rolsuper FROM pg_roles o WHERE o.oid IN ("
            " SELECT nspowner FROM pg_namespace WHERE nspname = 'ledger'"
            " UNION SELECT relowner FROM pg_class WHERE relnamespace = 'ledger'::regnamespace"
            " UNION SELECT proowner FROM pg_proc WHERE pronamespace = 'ledger'::regnamespace)"
        ).fetchall()
        assert owners == [("slipway_ledger_owner", False, False)]
        members = "SELECT member::regrole::text FROM pg_auth_members WHERE roleid = 'slipway_ledger_owner'::regrole"
        assert connection.execute(members).fetchall() == [], "nobody can become the owner"
        people = "SELECT rolname FROM pg_roles WHERE rolcanlogin AND NOT rolsuper"
        names = [name for (name,) in connection.execute(people).fetchall()]
        assert "slipway" in names
        for name in names:
            for privilege in ("UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "REFERENCES", "MAINTAIN"):
                asked = "SELECT has_table_privilege(%s, 'ledger.event', %s)"
                assert connection.execute(asked, (name, privilege)).fetchone() == (False,), (name, privilege)
            created = connection.execute("SELECT has_schema_privilege(%s, 'ledger', 'CREATE')", (name,)).fetchone()
            assert created == (False,), name
        attributes = "SELECT rolcreaterole, rolcreatedb, rolbypassrls, rolreplication FROM pg_roles WHERE rolname = %s"
        assert connection.execute(attributes, ("slipway",)).fetchone() == (False, False, False, False)


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
