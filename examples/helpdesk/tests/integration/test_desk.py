import hashlib
import hmac
import re
import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest
from desk_client import Answer, DeskClient


def open_ticket(desk: DeskClient, **changes: object) -> Answer:
    ticket = {"email": "ann@example.com", "name": "Ann", "subject": "Printer is gone", "body": "Since noon."}
    return desk.post("/api/tickets", ticket | changes)


def test_a_ticket_is_opened_answered_closed_and_opened_again(desk: DeskClient):
    answer = open_ticket(desk, priority="high")
    assert answer.status == 201
    path = answer.headers["location"]
    assert desk.get(path).json["ticket"]["status"] == "open"

    assert desk.post(f"{path}/comments", {"author": "Desk", "body": "Found it."}).status == 201
    assert desk.get(path).json["ticket"]["status"] == "waiting"

    closed = desk.patch(path, {"status": "closed"}).json["ticket"]
    assert closed["status"] == "closed" and closed["closed_at"]

    desk.post(f"{path}/comments", {"author": "Ann", "side": "customer", "body": "Gone again!"})
    after = desk.get(path).json
    assert after["ticket"]["status"] == "open" and after["ticket"]["closed_at"] is None
    assert [comment["body"] for comment in after["comments"]] == ["Found it.", "Gone again!"]


def test_an_address_is_one_customer_whatever_its_capitals(desk: DeskClient):
    address = f"{secrets.token_hex(5)}@example.com"
    first, second = open_ticket(desk, email=address), open_ticket(desk, email=address.upper())
    customers = {desk.get(answer.headers["location"]).json["ticket"]["customer_id"] for answer in (first, second)}
    assert len(customers) == 1


def test_one_customer_written_by_many_at_once_is_added_once(desk: DeskClient):
    address = f"{secrets.token_hex(5)}@example.com"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: open_ticket(desk, email=address), range(16)))
    assert {answer.status for answer in answers} == {201}
    (customer,) = desk.get(f"/api/customers?q={address}").json["customers"]
    assert customer["tickets"] == 16


def test_filters_and_search_narrow_the_list(desk: DeskClient):
    word = f"w{secrets.token_hex(4)}"
    open_ticket(desk, subject=f"The {word} is broken", priority="low")
    other = open_ticket(desk, subject=f"Another {word}", priority="high").headers["location"]
    desk.patch(other, {"status": "closed"})
    found = desk.get(f"/api/tickets?q={word}").json["tickets"]
    assert [ticket["subject"] for ticket in found] == [f"Another {word}", f"The {word} is broken"]
    assert [ticket["priority"] for ticket in desk.get(f"/api/tickets?q={word}&status=open").json["tickets"]] == ["low"]
    assert desk.get(f"/api/tickets?q={word}&priority=normal").json["tickets"] == []


def test_long_lists_have_pages(desk: DeskClient):
    word = f"w{secrets.token_hex(4)}"
    for number in range(23):
        open_ticket(desk, subject=f"{word} {number}")
    first = desk.get(f"/api/tickets?q={word}").json
    second = desk.get(f"/api/tickets?q={word}&page={first['next_page']}").json
    assert (len(first["tickets"]), len(second["tickets"]), second["next_page"]) == (20, 3, None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"subject": ""}, "subject"),
        ({"body": 5}, "body"),
        ({"priority": "now"}, "priority"),
    ],
)
def test_a_wrong_field_is_named(desk: DeskClient, changes: dict[str, object], field: str):
    answer = open_ticket(desk, **changes)
    assert (answer.status, answer.json["field"]) == (422, field)


@pytest.mark.parametrize(
    "path", ["/api/tickets/999999999", f"/api/tickets/{10**30}", "/tickets/999999999", "/articles/none", "/x"]
)
def test_what_is_not_there_is_404(desk: DeskClient, path: str):
    assert desk.get(path).status == 404


def test_signs_that_the_database_does_not_store_are_the_callers_mistake(desk: DeskClient):
    assert desk.get("/articles/a%00b").status == 400


def test_a_body_without_end_is_refused(desk: DeskClient):
    assert open_ticket(desk, body="x" * 300_000).status == 413


@pytest.mark.parametrize("value", [[], "text", 7])
def test_json_that_is_no_object_is_refused(desk: DeskClient, value: object):
    assert desk.post("/api/tickets", value).status == 400


def test_a_person_writes_reads_answers_and_closes_by_forms(desk: DeskClient):
    subject = f"<b>{secrets.token_hex(4)}</b> & co"
    sent = desk.submit(
        "/tickets", email="ann@example.com", name="Ann", subject=subject, body="Help!", priority="normal"
    )
    assert sent.status == 303
    path = sent.headers["location"]
    page = desk.get(path).text
    assert subject not in page and subject.replace("<", "&lt;").replace(">", "&gt;").replace("& ", "&amp; ") in page

    assert desk.submit(f"{path}/comments", body="We are on it.", author="", side="desk", then="close").status == 303
    page = desk.get(path).text
    assert "We are on it." in page and "Open again" in page
    assert desk.submit(f"{path}/status", status="open").status == 303
    assert "Close ticket" in desk.get(path).text


def test_a_form_with_a_mistake_comes_back_with_what_was_typed(desk: DeskClient):
    answer = desk.submit("/tickets", email="nobody", name="Ann", subject="Keep me", body="Help!")
    assert answer.status == 422
    assert "is not an e-mail address" in answer.text and 'value="Keep me"' in answer.text


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "", "Origin": "http://evil.example"}]
)
def test_another_sites_form_is_refused(desk: DeskClient, headers: dict[str, str]):
    answer = desk.submit("/tickets", headers=headers, email="ann@example.com", subject="s", body="b")
    assert answer.status == 403


def test_articles_are_found_by_their_words_and_the_place_is_marked(desk: DeskClient):
    word = f"zq{secrets.token_hex(4)}"
    text = f"First a sentence. Then the {word} stands here, among others."
    answer = desk.submit("/articles", title="An article about finding", body=text)
    assert answer.status == 303
    assert f"<mark>{word}</mark>" in desk.get(f"/articles?q={word}").text
    assert desk.get("/api/articles?q=resetting+passwords").json["articles"][0]["slug"] == "reset-your-password"
    path = answer.headers["location"]
    assert desk.submit(path, title="An article about finding", body="Changed.").status == 303
    assert "Changed." in desk.get(path).text


def test_two_articles_with_one_title_get_two_addresses(desk: DeskClient):
    article = {"title": f"Twice {secrets.token_hex(4)}", "body": "Text."}
    first, second = (desk.post("/api/articles", article).json["slug"] for _ in "ab")
    assert second == f"{first}-2"


@pytest.mark.parametrize(
    "path", ["/", "/tickets", "/tickets/new", "/customers", "/articles", "/articles/new", "/nothing"]
)
def test_every_page_says_what_runs_and_takes_nothing_from_elsewhere(desk: DeskClient, path: str):
    answer = desk.get(path)
    assert "<code>abababababab</code>" in answer.text and "<code>cdcdcdcdcdcd</code>" in answer.text
    assert answer.headers["x-release"] == "ab" * 32
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_version_says_release_commit_and_migrations(desk: DeskClient):
    version = desk.get("/version").json
    assert (version["release"], version["commit"]) == ("ab" * 32, "cd" * 20)
    assert version["migrations"][0] == "0001_desk.sql"
    assert (version["title"], version["settings"]) == ("Acme support", "7")
    assert version["signature"] == hmac.new(b"a key of the tests", b"ab" * 32, hashlib.sha256).hexdigest()


def test_the_title_that_was_set_is_on_every_page(desk: DeskClient):
    for path in ("/", "/tickets", "/articles"):
        assert "Acme support" in desk.get(path).text


def test_metrics_count_by_route_and_not_by_address(desk: DeskClient):
    path = open_ticket(desk).headers["location"]
    desk.get(path)
    text = desk.get("/metrics").text
    assert re.search(
        r'helpdesk_http_requests_total\{method="GET",route="/api/tickets/\{id:int\}",status="200"\} [1-9]', text
    )
    assert path not in text
    assert 'helpdesk_tickets_opened_total{through="api"}' in text


def test_a_callers_request_id_is_kept_and_a_strange_one_is_not(desk: DeskClient):
    assert desk.get("/", **{"X-Request-Id": "abc-123"}).headers["x-request-id"] == "abc-123"
    assert desk.get("/", **{"X-Request-Id": "a b{c}"}).headers["x-request-id"] != "a b{c}"
