"""The door as a real process on a real PostgreSQL: every kind of bad delivery, and a database that goes away."""

import concurrent.futures
import socket
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import psutil
import pytest
from fixtures_door import REPOSITORY, RunningDoor, headers_for, make_door, push_body

from blocks.installation import Users
from deployments.door.web import BODY_BYTES_MAX


@pytest.fixture(scope="module")
def door(open_tmp_root: Path, users: Users, postgres_bin: Path) -> Generator[RunningDoor]:
    state = open_tmp_root / "door"
    state.mkdir()
    state.chmod(0o755)
    door = make_door(state, users, postgres_bin)
    # Prefect is away all the time: what is accepted has to wait
    door.environ = {"PREFECT_API_URL": f"http://127.0.0.1:{door.installation.ports['prefect']}/api"}
    door.start()
    yield door
    door.stop()
    door.stop_postgres()


def test_a_genuine_push_is_kept_within_milliseconds(door: RunningDoor):
    earlier, body = push_body(), push_body()
    door.post(earlier, headers_for(earlier))
    started = time.monotonic()
    answer = door.post(body, headers_for(body, delivery="kept-1"))
    assert answer.status_code == 202 and answer.json() == {"status": "stored"}
    assert time.monotonic() - started < 1
    assert door.deliveries()["kept-1"][0] == "waiting"


def test_the_same_delivery_twice_is_kept_once(door: RunningDoor):
    body = push_body()
    headers = headers_for(body, delivery="twice")
    assert [door.post(body, headers).json()["status"] for _ in range(2)] == ["stored", "known"]


def test_a_replayed_body_is_kept_settled_and_recorded_and_starts_nothing(door: RunningDoor):
    """The id of a delivery is not signed: the same body under another one, while the first still waits for Prefect."""
    body = push_body(before="1" * 40)
    assert door.post(body, headers_for(body, delivery="original")).status_code == 202
    assert door.post(body, headers_for(body, delivery="replay")).json() == {"status": "stored"}
    status, note = door.wait_settled("replay")
    assert status == "replayed" and "known already" in note
    assert door.deliveries()["original"][0] == "waiting"
    assert "replay" in [event.data["delivery_id"] for event in door.events("delivery.replayed")]
    received = [event.data["delivery_id"] for event in door.events("push.received")]
    assert "original" in received and "replay" not in received


def test_a_known_id_with_another_body_is_refused_and_recorded(door: RunningDoor):
    first, second = push_body(), push_body()
    assert door.post(first, headers_for(first, delivery="taken")).status_code == 202
    answer = door.post(second, headers_for(second, delivery="taken"))
    assert answer.status_code == 409 and "another body" in answer.json()["reason"]
    refused = [event.data for event in door.events("delivery.refused") if event.data["delivery_id"] == "taken"]
    assert len(refused) == 1 and "another body" in refused[0]["reason"]


@pytest.mark.parametrize("path", [f"/webhooks/gitea/{REPOSITORY.upper()}", f"/webhooks/gitea/{REPOSITORY}"])
def test_a_repository_is_known_in_any_letter_case(door: RunningDoor, path: str):
    body = push_body()
    assert door.post(body, headers_for(body), path=path).status_code == 202


def test_a_forged_delivery_is_refused_and_not_kept(door: RunningDoor):
    body = push_body()
    for headers in (
        headers_for(body, secret="guessed", delivery="forged"),
        {**headers_for(body, delivery="forged"), "x-gitea-signature": ""},
        {**headers_for(body, delivery="forged"), "x-gitea-signature": "é" * 3},
        {**headers_for(push_body(after="b" * 40)), "x-gitea-delivery": "forged"},
    ):
        encoded = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        answer = httpx.post(f"{door.url}/webhooks/gitea/{REPOSITORY}", content=body, headers=encoded, trust_env=False)
        assert answer.status_code == 401, answer.text
    unsigned = {name: value for name, value in headers_for(body, delivery="forged").items() if "signature" not in name}
    assert door.post(body, unsigned).status_code == 401
    assert "forged" not in door.deliveries()


@pytest.mark.parametrize(
    "path",
    ["/webhooks/gitea/team/other", "/webhooks/github/team/desk", "/webhooks/svn/team/desk", "/webhooks/gitea/a%00b/c"],
)
def test_an_unknown_repository_or_forge_is_not_found(door: RunningDoor, path: str):
    body = push_body()
    assert door.post(body, headers_for(body, delivery="unknown"), path=path).status_code == 404
    assert "unknown" not in door.deliveries()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"not json", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no push"),
        (b'{"ref": 5}', "no push"),
        (push_body(after="xyz"), "after"),
        (push_body(ref="refs/heads/a\x00b"), "ref"),
    ],
)
def test_a_genuine_but_unreadable_delivery_is_kept_as_refused_with_the_reason(
    door: RunningDoor, body: bytes, words: str
):
    headers = headers_for(body)
    answer = door.post(body, headers)
    assert answer.status_code == 400 and words in answer.json()["reason"]
    status, note = door.wait_settled(headers["x-gitea-delivery"])
    assert status == "refused" and words in note
    assert headers["x-gitea-delivery"] in [event.data["delivery_id"] for event in door.events("delivery.refused")]


@pytest.mark.parametrize(
    ("body", "event", "words"),
    [
        (push_body(ref="refs/tags/v1"), "push", "not a branch"),
        (push_body(ref="refs/heads/other"), "push", "other"),
        (push_body(after="0" * 40), "push", "deleted"),
        (push_body().replace(b"team/desk", b"team/else"), "push", "team/else"),
        (b'{"zen": "x"}', "ping", "ping"),
    ],
)
def test_a_delivery_that_starts_nothing_is_settled_with_the_reason(
    door: RunningDoor, body: bytes, event: str, words: str
):
    headers = headers_for(body, event=event)
    assert door.post(body, headers).status_code == 202
    status, note = door.wait_settled(headers["x-gitea-delivery"])
    assert status == "ignored" and words in note


@pytest.mark.parametrize("without", ["x-gitea-delivery", "x-gitea-event"])
def test_a_missing_header_is_named(door: RunningDoor, without: str):
    body = push_body()
    headers = {name: value for name, value in headers_for(body).items() if name != without}
    answer = door.post(body, headers)
    assert answer.status_code == 400 and "header" in answer.json()["reason"].lower()


def test_a_body_of_the_limit_is_kept_and_one_byte_more_is_too_large(door: RunningDoor):
    room = BODY_BYTES_MAX - len(push_body())
    largest = push_body(filler="x" * room)
    assert len(largest) == BODY_BYTES_MAX
    assert door.post(largest, headers_for(largest, delivery="largest")).status_code == 202
    larger = push_body(filler="x" * (room + 1))
    answer = door.post(larger, headers_for(larger, delivery="larger"))
    assert answer.status_code == 413 and "25 000 000" in answer.json()["reason"]
    assert "larger" not in door.deliveries()


def test_an_endless_body_without_a_length_is_cut_off(door: RunningDoor):
    def pieces() -> Generator[bytes]:
        for _ in range(30):
            yield b"x" * 1_000_000

    headers = headers_for(b"", delivery="endless")
    with httpx.Client(trust_env=False, timeout=30) as client:
        answer = client.post(f"{door.url}/webhooks/gitea/{REPOSITORY}", content=pieces(), headers=headers)
    assert answer.status_code == 413


def raw_request(door: RunningDoor, body: bytes, *, announced: int, close: bool) -> bytes:
    """Send a request by hand, close our side, and read the answer."""
    lines = [f"POST /webhooks/gitea/{REPOSITORY} HTTP/1.1", "host: x", f"content-length: {announced}"]
    lines += [f"{name}: {value}" for name, value in headers_for(body, delivery="truncated").items()]
    with socket.create_connection(("127.0.0.1", door.installation.ports["door"]), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        if close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while (piece := connection.recv(65536)) and b"Deliver again" not in (answer := answer + piece):
            pass
    return answer


@pytest.mark.parametrize("close", [True, False])
def test_a_truncated_delivery_is_answered_and_not_kept(door: RunningDoor, close: bool):
    body = push_body()
    answer = raw_request(door, body, announced=len(body) + 10, close=close)
    assert answer.startswith(b"HTTP/1.1 400") and b"Deliver again" in answer
    assert "truncated" not in door.deliveries()


def test_a_burst_is_kept_whole(door: RunningDoor):
    body = push_body()
    ids = [f"burst-{number}" for number in range(100)]

    def send(delivery: str) -> int:
        return door.post(body, headers_for(body, delivery=delivery)).status_code

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert list(pool.map(send, ids)) == [202] * 100
    assert set(ids) <= set(door.deliveries())


def test_while_postgresql_is_away_the_answer_is_503_and_nothing_is_lost(door: RunningDoor):
    body = push_body()
    before = set(door.deliveries())
    assert door.post(body, headers_for(body, delivery="before")).status_code == 202
    door.stop_postgres()
    started = time.monotonic()
    answer = door.post(body, headers_for(body, delivery="during"))
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    assert time.monotonic() - started < 2
    assert httpx.get(f"{door.url}/healthz", trust_env=False).status_code == 200
    door.start_postgres()
    assert door.post(body, headers_for(body, delivery="during")).status_code == 202
    assert set(door.deliveries()) == before | {"before", "during"}


def test_a_postgresql_that_hangs_is_answered_for_before_the_forge_gives_up(door: RunningDoor):
    body = push_body()
    postmaster = psutil.Process(door.postgres.pid)
    everybody = [postmaster, *postmaster.children(recursive=True)]
    for process in everybody:
        process.suspend()
    try:
        started = time.monotonic()
        assert door.post(body, headers_for(body, delivery="hanging")).status_code == 503
        assert time.monotonic() - started < 5
    finally:
        for process in everybody:
            process.resume()
    assert door.post(body, headers_for(body, delivery="hanging")).status_code == 202
