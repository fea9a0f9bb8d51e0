"""What a forge's adapter promises, on Gitea's and GitHub's own words."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.forge_gitea import GiteaForge
from blocks.forge_github import GitHubForge
from blocks.forge_payload import signature_of
from domain.delivery import Ignored, Push, explain_ignored
from domain.errors import ConfigError
from domain.ports import Forge

DATA = Path(__file__).parent.parent / "data" / "webhooks"
SECRET = "It's a Secret to Everybody"
Headers = Callable[..., dict[str, str]]


def gitea_headers(body: bytes, *, event: str = "push", secret: str = SECRET) -> dict[str, str]:
    # Gitea sends GitHub's headers too: the address decides which are read, never a header
    return {
        "x-gitea-delivery": "1b2c",
        "x-gitea-event": event,
        "x-gitea-signature": signature_of(body, secret),
        "x-github-delivery": "other",
        "x-github-event": "ping",
    }


def github_headers(body: bytes, *, event: str = "push", secret: str = SECRET) -> dict[str, str]:
    signature = f"sha256={signature_of(body, secret)}"
    return {"x-github-delivery": "1b2c", "x-github-event": event, "x-hub-signature-256": signature}


@pytest.fixture(params=["gitea", "github"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def forge(kind: str) -> Forge:
    return GiteaForge() if kind == "gitea" else GitHubForge()


@pytest.fixture
def headers(kind: str) -> Headers:
    return gitea_headers if kind == "gitea" else github_headers


def body_of(name: str) -> bytes:
    return (DATA / f"{name}.json").read_bytes()


def test_the_published_vector_is_genuine():
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": expected}
    assert GitHubForge().is_genuine(headers=headers, body=b"Hello, World!", secret=SECRET)
    assert not GitHubForge().is_genuine(headers=headers, body=b"Hello, World?", secret=SECRET)


def test_only_the_right_secret_and_the_very_body_are_genuine(forge: Forge, headers: Headers):
    body = body_of("gitea-push")
    assert forge.is_genuine(headers=headers(body), body=body, secret=SECRET)
    assert not forge.is_genuine(headers=headers(body), body=body + b" ", secret=SECRET)
    assert not forge.is_genuine(headers=headers(body), body=body, secret="another")
    assert not forge.is_genuine(headers={}, body=body, secret=SECRET)


@given(given_signature=st.text(max_size=200))
def test_whatever_is_sent_as_a_signature_is_an_answer_and_no_error(given_signature: str):
    for forge, name in ((GiteaForge(), "x-gitea-signature"), (GitHubForge(), "x-hub-signature-256")):
        try:
            assert not forge.is_genuine(headers={name: given_signature}, body=b"x", secret=SECRET)
        except UnicodeEncodeError:
            # a lone surrogate can't come out of an HTTP header
            assert any(0xD800 <= ord(letter) <= 0xDFFF for letter in given_signature)


def test_a_push_is_read(kind: str, forge: Forge, headers: Headers):
    body = body_of(f"{kind}-push")
    push = forge.read_push(headers=headers(body), body=body)
    assert isinstance(push, Push)
    value = json.loads(body)
    assert (push.delivery_id, push.branch) == ("1b2c", "master")
    assert (push.before, push.after) == (value["before"], value["after"])
    assert push.repository == value["repository"]["full_name"]
    assert push.pusher == value["sender"]["login"] and "@" in push.pusher_email


def test_every_name_of_the_pusher_is_read(kind: str, forge: Forge, headers: Headers):
    body = body_of(f"{kind}-push")
    push = forge.read_push(headers=headers(body), body=body)
    assert isinstance(push, Push)
    value = json.loads(body)
    names = {value[who].get(key) for who in ("pusher", "sender") for key in ("login", "name", "email", "username")}
    assert names - {None, ""} <= set(push.pusher_names) and "" not in push.pusher_names


def test_the_same_push_as_a_form_is_the_same(kind: str, forge: Forge, headers: Headers):
    body = body_of(f"{kind}-push")
    form = urlencode({"payload": body.decode()}).encode()
    sent = {**headers(form), "content-type": "application/x-www-form-urlencoded"}
    assert forge.is_genuine(headers=sent, body=form, secret=SECRET)
    assert forge.read_push(headers=sent, body=form) == forge.read_push(headers=headers(body), body=body)


@pytest.mark.parametrize(("name", "event"), [("github-ping", "ping"), ("gitea-tag_create", "create")])
def test_another_event_starts_nothing(forge: Forge, headers: Headers, name: str, event: str):
    body = body_of(name)
    read = forge.read_push(headers=headers(body, event=event), body=body)
    assert isinstance(read, Ignored) and event in read.reason


def test_a_tag_is_not_a_branch(forge: Forge, headers: Headers):
    body = body_of("github-push-tag-deleted")
    read = forge.read_push(headers=headers(body), body=body)
    assert isinstance(read, Ignored) and "simple-tag" in read.reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nope",
        b"\xff\x00",
        b"[" * 200_000,
        b"9" * 10_000,
        b"null",
        b'"push"',
        b"{}",
        b'{"ref": "refs/heads/\\u0000", "before": "x"}',
        b'{"ref": "refs/heads/\\ud800"}',
        body_of("gitea-branch_delete"),
    ],
)
def test_a_body_that_is_no_push_is_named_as_such(forge: Forge, headers: Headers, body: bytes):
    with pytest.raises(ConfigError, match=r"not JSON|no push"):
        forge.read_push(headers=headers(body), body=body)


@pytest.mark.parametrize("value", ["", "a b", "x" * 129, "ü", "a\nb"])
def test_a_delivery_needs_an_id(kind: str, forge: Forge, value: str):
    with pytest.raises(ConfigError, match=f"(?i)x-{kind}-delivery"):
        forge.delivery_id({f"x-{kind}-delivery": value})


def push(**changes: str) -> Push:
    facts = {"repository": "team/desk", "branch": "main", "after": "a" * 40, "before": "0" * 40, "pusher": "ann"}
    return Push(delivery_id="1", **{**facts, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"repository": "Team/Desk"}, ""),
        ({"repository": "team/other"}, "team/other"),
        ({"branch": "feature"}, "feature"),
        ({"after": "0" * 40}, "deleted"),
    ],
)
def test_only_the_registered_branch_of_the_registered_repository_starts_something(changes: dict[str, str], words: str):
    reason = explain_ignored(push(**changes), repository="team/desk", branch="main")
    assert bool(reason) == bool(words) and words in reason
