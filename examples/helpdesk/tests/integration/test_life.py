"""The life of a process: not ready, ready, asked to go, gone, and no request lost on the way."""

import contextlib
import json
import threading
import time

import psycopg
import pytest
from conftest import free_port, run_desk
from desk_client import Answer, DeskClient
from helpdesk.migrate import apply_migrations, read_migrations

TICKET = {"email": "ann@example.com", "subject": "Slow", "body": "Takes its time."}


def wait_ready(desk: DeskClient, limit_s: float = 15) -> None:
    deadline = time.monotonic() + limit_s
    while (answer := desk.get("/readyz")).status != 200:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)


def test_without_a_database_it_lives_but_is_not_ready_and_says_so_to_people():
    with run_desk(f"postgresql://desk:desk@127.0.0.1:{free_port()}/desk", HELPDESK_WAIT_S="0.5") as desk:
        assert desk.client.get("/healthz").status == 200
        ready = desk.client.get("/readyz")
        assert ready.status == 503 and ready.json["reason"].startswith("database unreachable")
        page = desk.client.get("/")
        assert page.status == 503 and "try again in a moment" in page.text and page.headers["retry-after"] == "2"


def test_it_becomes_ready_when_its_migrations_are_applied(empty_database: str):
    with run_desk(empty_database) as desk:
        answer = desk.client.get("/readyz")
        assert answer.status == 503 and "migrations pending: 0001_desk.sql" in answer.json["reason"]
        list(apply_migrations(empty_database, read_migrations()))
        wait_ready(desk.client)


def test_a_database_that_a_newer_release_migrated_keeps_it_ready(empty_database: str):
    list(apply_migrations(empty_database, read_migrations()))
    with psycopg.connect(empty_database) as connection:
        connection.execute("INSERT INTO schema_migrations (name, sha256) VALUES ('9999_newer.sql', '')")
    with run_desk(empty_database) as desk:
        wait_ready(desk.client)


def test_lost_connections_are_replaced_before_a_visitor_notices(empty_database: str):
    list(apply_migrations(empty_database, read_migrations()))
    with run_desk(empty_database) as desk:
        wait_ready(desk.client)
        with psycopg.connect(empty_database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert desk.client.get("/tickets").status == 200


def test_asked_to_go_it_drains_finishes_what_runs_and_ends_with_zero(empty_database: str):
    list(apply_migrations(empty_database, read_migrations()))
    answers: list[Answer] = []
    with run_desk(empty_database, HELPDESK_DRAIN_S="0.6") as desk, psycopg.connect(empty_database) as blocker:
        wait_ready(desk.client)
        blocker.execute("LOCK TABLE tickets IN EXCLUSIVE MODE")
        slow = threading.Thread(target=lambda: answers.append(desk.client.post("/api/tickets", TICKET)))
        slow.start()
        wait_for_waiting_query(empty_database)

        desk.terminate()
        assert wait_draining(desk.client).json["reason"] == "shutting down"
        during = desk.client.get("/articles")
        assert during.status == 200 and during.headers["connection"] == "close"

        time.sleep(1.2)  # past the draining: the socket is closed, the slow request still runs
        with pytest.raises(OSError):
            desk.client.get("/healthz")
        assert desk.process.poll() is None and not answers
        blocker.rollback()
        slow.join(timeout=10)
        code, output = desk.wait()
    assert [answer.status for answer in answers] == [201]
    assert code == 0, output
    events = [json.loads(line)["event"] for line in output.splitlines() if line.startswith("{")]
    assert events.index("service.draining") < events.index("service.stopped")


def test_a_request_that_never_ends_does_not_keep_it_for_ever(empty_database: str):
    list(apply_migrations(empty_database, read_migrations()))
    with run_desk(empty_database, HELPDESK_FINISH_LIMIT_S="1") as desk, psycopg.connect(empty_database) as blocker:
        wait_ready(desk.client)
        blocker.execute("LOCK TABLE tickets IN EXCLUSIVE MODE")
        stuck = threading.Thread(target=lambda: ask_quietly(desk.client))
        stuck.start()
        wait_for_waiting_query(empty_database)
        started = time.monotonic()
        desk.terminate()
        desk.wait(15)
        assert time.monotonic() - started < 10
        stuck.join(timeout=10)


def test_without_its_variable_it_says_which_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    from helpdesk.__main__ import main

    monkeypatch.delenv("DATABASE_URL")
    assert main(["--port", "1"]) == 2
    assert "DATABASE_URL is not set" in capsys.readouterr().err


def ask_quietly(desk: DeskClient) -> None:
    with contextlib.suppress(OSError):  # cut off, as announced
        desk.post("/api/tickets", TICKET)


def wait_draining(desk: DeskClient) -> Answer:
    deadline = time.monotonic() + 5
    while (answer := desk.get("/readyz")).status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return answer


def wait_for_waiting_query(url: str) -> None:
    deadline = time.monotonic() + 10
    with psycopg.connect(url, autocommit=True) as connection:
        while not connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ).fetchone():
            assert time.monotonic() < deadline, "no request waits"
            time.sleep(0.02)
