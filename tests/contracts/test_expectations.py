"""Great Expectations in its child: the library as locked, on a real server; and children that give no answer."""

import json
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures_door import free_port

from blocks.client_settings import DEFAULT_VARIABLES, passed_variables
from blocks.embedded_drills import data_python
from blocks.expectations import ExpectationsChild, run_expectations
from blocks.identity import find_python, give
from blocks.installation import Users
from blocks.packages_pip import PipPackages
from blocks.postgres_server import PostgresServer, wait_ready
from domain.drill import Outcome

EXAMPLE = Path(__file__).parents[2] / "examples/helpdesk"


@pytest.fixture
def place(postgres_bin: Path, users: Users, open_tmp: Path) -> Generator[dict[str, Any]]:
    """The helpdesk's database on a server that only its socket leads to."""
    sockets = open_tmp / "s"
    sockets.mkdir()
    give(sockets, users.database, mode=0o700)
    server = PostgresServer(postgres_bin, open_tmp / "p", free_port(), user=users.database, sockets=sockets)
    server.initialise("x", durable=False)
    (server.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    process = server.start(open_tmp / "log")
    try:
        wait_ready(server.url("x"), process=process)
        with psycopg.connect(server.url("x"), autocommit=True) as connection:
            for path in sorted((EXAMPLE / "migrations").glob("*.sql")):
                connection.execute(path.read_bytes())
            connection.execute("INSERT INTO customers (email, name) VALUES ('a@b.example', 'Ann')")
            connection.execute("INSERT INTO tickets (customer_id, subject, body) VALUES (1, 'Help', 'me')")
        yield {"socket": str(sockets), "port": server.port, "user": "postgres", "database": "postgres"}
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=30)


@pytest.mark.long
def test_the_suites_of_the_example_hold_and_a_broken_reference_is_found(
    place: dict[str, Any], users: Users, open_tmp_root: Path
):
    python = find_python(users.build, copy_to=open_tmp_root / "python")
    packages = PipPackages(open_tmp_root / "cache", python, passed_variables(DEFAULT_VARIABLES))
    packages.folder.mkdir(exist_ok=True)
    packages.folder.chmod(0o755)
    suites = {path.stem: json.loads(path.read_text()) for path in (EXAMPLE / "expectations").glob("*.json")}

    def judge(suites: dict[str, Any]) -> dict[str, Outcome]:
        found = run_expectations(lambda: data_python(packages), place, suites, user=users.database, limit_s=200)
        return {check.name.partition(".")[2]: check.outcome for check in found.checks}

    assert judge(suites) == dict.fromkeys(suites, Outcome.PASS)
    with psycopg.connect(host=place["socket"], port=place["port"], user="postgres", autocommit=True) as connection:
        connection.execute("ALTER TABLE tickets DROP CONSTRAINT tickets_customer_id_fkey")
        connection.execute("DELETE FROM customers")
    unknown = [{"type": "ExpectNothing", "table": "public.tickets"}]
    assert judge({**suites, "unknown": unknown}) == {
        **dict.fromkeys(suites, Outcome.PASS),
        "content": Outcome.FAIL,
        "unknown": Outcome.UNAVAILABLE,
    }


def test_a_child_without_the_library_is_unavailable_and_never_passed():
    place = {"socket": "/nowhere", "port": 1, "user": "postgres", "database": "postgres"}
    suites = {"x": [{"type": "ExpectColumnValuesToNotBeNull", "table": "t"}]}
    found = run_expectations(lambda: Path(sys.executable), place, suites, user=None, limit_s=60)
    assert [(check.name, check.outcome) for check in found.checks] == [("expectations.x", Outcome.UNAVAILABLE)]
    assert "great_expectations" in found.checks[0].values["reason"]


def test_a_suite_without_an_expectation_has_proven_nothing(tmp_path: Path):
    child = tmp_path / "python"
    child.write_text('#!/bin/sh\nread line\necho \'slipway-answer:{"x": {"count": 0, "failed": [], "lines": []}}\'\n')
    child.chmod(0o755)
    (check,) = run_expectations(lambda: child, {}, {"x": []}, user=None, limit_s=60).checks
    assert check.outcome is Outcome.UNAVAILABLE


CHILDREN = {
    "is killed": "kill -9 $$",
    "hangs": "exec sleep 60",
    "says something else": "echo nothing; echo more",
    "answers with something else": "echo 'slipway-answer:[1]'",
    "answers in pieces that never end": "while :; do printf xxxxxxxxxxxxxxxx; sleep 0.01; done",
}


@pytest.mark.parametrize("way", CHILDREN)
def test_a_child_that_gives_no_answer_is_unavailable_within_its_limit(way: str, tmp_path: Path):
    child = tmp_path / "python"
    child.write_text(f"#!/bin/sh\nread line\n{CHILDREN[way]}\n")
    child.chmod(0o755)
    (check,) = run_expectations(lambda: child, {}, {"x": []}, user=None, limit_s=2).checks
    assert check.outcome is Outcome.UNAVAILABLE and "Great Expectations" in check.values["reason"]


def test_one_child_is_asked_again_without_a_second_start(tmp_path: Path):
    python = tmp_path / "python"
    answer = 'slipway-answer:{"x": {"count": 1, "failed": [], "lines": []}}'
    python.write_text(f"#!/bin/sh\necho s >> {tmp_path / 'starts'}\nwhile read line; do echo '{answer}'; done\n")
    python.chmod(0o755)
    child = ExpectationsChild(python, user=None)
    try:
        for _ in range(2):
            found = run_expectations(lambda: python, {}, {"x": []}, user=None, limit_s=10, child=child)
            assert found.checks[0].outcome is Outcome.PASS
    finally:
        child.end()
    assert (tmp_path / "starts").read_text() == "s\n"
