"""What users of the desk must be able to do, tried through the entry of the test environment.

`SLIPWAY_URL` is the entry, `SLIPWAY_HOST` the Host header. These tests write: they are for the test environment.
"""

import os
import secrets

import pytest
from desk_client import DeskClient


@pytest.fixture(scope="module")
def desk() -> DeskClient:
    url = os.environ.get("SLIPWAY_URL", "")
    if not url:
        pytest.fail("SLIPWAY_URL is not set. Set it to the entry of a running desk.")
    return DeskClient(url, os.environ.get("SLIPWAY_HOST", ""))


def test_the_desk_is_ready_and_says_what_it_is(desk: DeskClient):
    assert desk.get("/readyz").json == {"ready": True, "reason": ""}
    assert desk.get("/version").json["name"] == "helpdesk"


def test_the_release_under_test_is_the_one_that_answers(desk: DeskClient):
    expected = os.environ.get("SLIPWAY_RELEASE")
    if not expected:
        pytest.skip("SLIPWAY_RELEASE is not set: this run does not say which release it tests")
    assert desk.get("/version").json["release"] == expected


def test_a_customer_is_helped_from_question_to_closing(desk: DeskClient):
    subject = f"Acceptance {secrets.token_hex(4)}"
    opened = desk.submit("/tickets", email="acceptance@example.com", name="Acc Tester", subject=subject, body="Help!")
    assert opened.status == 303
    path = opened.headers["location"]
    assert subject in desk.get("/tickets?status=open").text
    assert (
        desk.submit(f"{path}/comments", author="Desk", side="desk", body="Turn it off and on.", then="send").status
        == 303
    )
    page = desk.get(path).text
    assert "Turn it off and on." in page and "waiting" in page
    assert (
        desk.submit(f"{path}/comments", author="Acc Tester", side="customer", body="Thanks!", then="close").status
        == 303
    )
    assert "Open again" in desk.get(path).text
    assert desk.get(f"/api{path}").json["ticket"]["status"] == "closed"


def test_programs_do_the_same(desk: DeskClient):
    ticket = {"email": "program@example.com", "subject": f"From a program {secrets.token_hex(4)}", "body": "Beep."}
    answer = desk.post("/api/tickets", ticket)
    assert answer.status == 201
    path = answer.headers["location"]
    assert desk.post(f"{path}/comments", {"author": "Desk", "body": "Boop."}).status == 201
    shown = desk.get(path).json
    assert shown["ticket"]["status"] == "waiting" and len(shown["comments"]) == 1
    assert desk.patch(path, {"status": "closed", "priority": "low"}).json["ticket"]["priority"] == "low"


def test_an_article_answers_before_a_ticket_is_needed(desk: DeskClient):
    assert "Reset your password" in desk.get("/articles?q=forgot+password").text
    assert "spam folder" in desk.get("/articles/reset-your-password").text


def test_a_mistake_is_explained_and_nothing_is_written(desk: DeskClient):
    answer = desk.post("/api/tickets", {"email": "not-an-address", "subject": "x", "body": "y"})
    assert (answer.status, answer.json["field"]) == (422, "email")
