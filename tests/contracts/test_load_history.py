"""What a history of the load promises, in memory and in PostgreSQL."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from blocks.load_history_postgres import PostgresLoadHistory
from blocks.memory_load_history import MemoryLoadHistory
from blocks.postgres_session import PostgresSession
from domain.load_policy import Look
from domain.ports_load import LoadHistory

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LOOK = Look(NOON, 12.5, 2, 3, "out", "3")


@pytest.fixture(params=["memory", "postgres"])
def history(request: pytest.FixtureRequest) -> LoadHistory:
    if request.param == "memory":
        return MemoryLoadHistory()
    session: PostgresSession = request.getfixturevalue("ledger_session")
    with psycopg.connect(request.getfixturevalue("ledger_url"), autocommit=True) as connection:
        connection.execute("TRUNCATE desk.load_look")
    return PostgresLoadHistory(session)


def test_looks_come_back_oldest_first_and_apart_by_place(history: LoadHistory) -> None:
    later = replace(LOOK, at=NOON + timedelta(minutes=1), decided="steady", detail="")
    for look in (later, LOOK):
        history.keep("desk", "production", look)
    assert history.looks("desk", "production", since=NOON) == [LOOK, later]
    assert history.looks("desk", "production", since=NOON + timedelta(seconds=1)) == [later]
    assert history.looks("desk", "staging", since=NOON) == history.looks("other", "production", since=NOON) == []


def test_the_same_moment_again_is_once_and_the_later_words_count(history: LoadHistory) -> None:
    history.keep("desk", "production", LOOK)
    again = replace(LOOK, decided="failed", detail="no room")
    history.keep("desk", "production", again)
    assert history.looks("desk", "production", since=NOON) == [again]


def test_a_load_that_is_not_known_stays_unknown(history: LoadHistory) -> None:
    history.keep("desk", "production", replace(LOOK, load=math.nan))
    assert math.isnan(history.looks("desk", "production", since=NOON)[0].load)


def test_it_is_bounded(history: LoadHistory) -> None:
    history.keep("desk", "production", LOOK)
    history.keep("desk", "production", replace(LOOK, at=NOON + timedelta(days=4)))
    assert len(history.looks("desk", "production", since=NOON)) == 1
