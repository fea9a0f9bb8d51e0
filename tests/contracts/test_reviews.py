"""What is read of reviews: from a twin, and by HTTP from a server that speaks as GitHub's and Gitea's APIs do."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from blocks.memory_reviews import MemoryReviews
from blocks.reviews_http import PAGE, PAGES_MAX, HttpReviews
from domain.errors import ConfigError, TransientError
from domain.ports import Application, ForgeAccess, Reviews
from domain.pull_request import Opinion, PullRequest

TOKEN = "a-token"
MERGE, HEAD, OTHER = "a" * 40, "b" * 40, "c" * 40
PULL = PullRequest(
    7, "bob", HEAD, commits=(OTHER, HEAD), opinions=(Opinion("ann", "refused", OTHER), Opinion("ann", "approved", HEAD))
)


@dataclass
class ForgeApi:
    """A forge's API, as far as it is asked here. `broken` is sent instead of every answer."""

    kind: str
    pulls: dict[str, PullRequest] = field(default_factory=dict[str, PullRequest])
    extra_reviews: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    broken: tuple[int, bytes, dict[str, str]] | None = None
    asked: list[str] = field(default_factory=list[str])

    def answer(self, path: str, query: dict[str, list[str]], authorization: str) -> tuple[int, bytes, dict[str, str]]:
        self.asked.append(path)
        if self.broken is not None:
            return self.broken
        if authorization != f"{'Bearer' if self.kind == 'github' else 'token'} {TOKEN}":
            return 401, b'{"message": "Bad credentials"}', {}
        value = self._value(path)
        if value is None:
            return 404, b'{"message": "Not Found"}', {}
        if isinstance(value, list):
            size = int(query["per_page" if self.kind == "github" else "limit"][0])
            start = (int(query["page"][0]) - 1) * size
            value = value[start : start + size]
        return 200, json.dumps(value).encode(), {}

    def _value(self, path: str) -> Any:
        base = "/repos/team/desk/" if self.kind == "github" else "/api/v1/repos/team/desk/"
        if not path.startswith(base):
            return None
        noun, name, what = path.removeprefix(base).split("/")
        if noun == "commits":
            return self._of_commit(name, what)
        pull = next((one for one in self.pulls.values() if str(one.number) == name), None)
        if pull is None:
            return None
        if what == "commits":
            return [{"sha": sha, "commit": {"message": "x"}, "parents": []} for sha in pull.commits]
        return [self._review(number, one) for number, one in enumerate(pull.opinions)] + self.extra_reviews

    def _of_commit(self, commit: str, what: str) -> Any:
        """GitHub lists pull requests for any commit of one; Gitea gives the one with that merge commit, or 404."""
        if self.kind == "gitea":
            return self._pull(self.pulls[commit]) if what == "pull" and commit in self.pulls else None
        found = [one for merge, one in self.pulls.items() if commit == merge or commit in one.commits]
        opened = {**self._pull(PULL), "number": 99, "state": "open", "merged_at": None}
        return [opened, *(self._pull(one) for one in found)] if what == "pulls" else None

    def _pull(self, pull: PullRequest) -> dict[str, Any]:
        user = {"login": pull.author, "id": 1} if pull.author else None
        head = {"ref": "feature", "sha": pull.head, "repo": {}}
        merged = {"merged_at": "2026-01-31T12:00:00Z", "state": "closed"}
        return {"id": 10 + pull.number, "number": pull.number, "title": "x", "user": user, "head": head, **merged}

    def _review(self, number: int, opinion: Opinion) -> dict[str, Any]:
        github = {
            "approved": "APPROVED",
            "refused": "CHANGES_REQUESTED",
            "withdrawn": "DISMISSED",
            "other": "COMMENTED",
        }
        gitea = {"approved": "APPROVED", "refused": "REQUEST_CHANGES", "withdrawn": "APPROVED", "other": "COMMENT"}
        body = {"id": number, "user": {"login": opinion.reviewer}, "commit_id": opinion.commit, "body": ""}
        if self.kind == "github":
            return {**body, "state": github[opinion.state], "author_association": "MEMBER"}
        return {**body, "state": gitea[opinion.state], "stale": False, "dismissed": opinion.state == "withdrawn"}


@dataclass
class Forge:
    """A port, and the way to publish what it reads."""

    reviews: Reviews
    application: Application
    access: ForgeAccess
    publish: Callable[[str, PullRequest], None]
    api: ForgeApi | None = None
    twin: MemoryReviews | None = None

    def ask(self, commit: str, *, token: str = "") -> list[PullRequest]:
        access = ForgeAccess(self.access.url, token) if token else self.access
        return self.reviews.pull_requests(self.application, access, commit)


def serve(api: ForgeApi) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, body, headers = api.answer(parts.path, parse_qs(parts.query), self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@contextmanager
def forge_of(kind: str) -> Generator[Forge]:
    api = ForgeApi(kind)
    server = serve(api)
    url = f"http://127.0.0.1:{server.server_port}" + ("" if kind == "github" else "/api/v1")
    access, application = ForgeAccess(url, TOKEN), Application("desk", kind, "team/desk", "x")
    yield Forge(HttpReviews(), application, access, lambda sha, pull: api.pulls.update({sha: pull}), api=api)
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["memory", "github", "gitea"])
def forge(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[Forge]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if request.param != "memory":
        with forge_of(request.param) as forge:
            yield forge
        return
    twin = MemoryReviews(TOKEN)
    application, access = Application("desk", "github", "team/desk", "x"), ForgeAccess("https://forge", TOKEN)
    yield Forge(twin, application, access, lambda sha, pull: twin.pulls.update({sha: [pull]}), twin=twin)


@pytest.fixture(params=["github", "gitea"])
def http_forge(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[Forge]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with forge_of(request.param) as forge:
        yield forge


def test_the_merged_pull_request_of_a_commit_is_read_with_all_that_was_said(forge: Forge):
    forge.publish(MERGE, PULL)
    assert forge.ask(MERGE) == [PULL]


@pytest.mark.parametrize("state", ["approved", "refused", "withdrawn", "other"])
def test_every_kind_of_opinion_is_told_apart(forge: Forge, state: Any):
    pull = PullRequest(8, "bob", HEAD, (HEAD,), (Opinion("eve", state, HEAD),))
    forge.publish(MERGE, pull)
    assert forge.ask(MERGE)[0].opinions == pull.opinions


def test_a_commit_without_a_merged_pull_request_has_none(forge: Forge):
    assert forge.ask(OTHER) == []


def test_a_refused_token_is_a_wrong_setting_and_is_not_in_the_message(forge: Forge):
    with pytest.raises(ConfigError, match="forge-token") as caught:
        forge.ask(MERGE, token="another-token")
    assert "another-token" not in str(caught.value) + repr(ForgeAccess("u", "another-token"))


def test_a_forge_that_is_away_is_worth_asking_again(forge: Forge):
    if forge.twin:
        forge.twin.is_away = True
    else:
        forge.access = ForgeAccess("http://127.0.0.1:9", TOKEN)
    with pytest.raises(TransientError):
        forge.ask(MERGE)


def test_a_list_of_many_pages_is_read_to_its_end(http_forge: Forge):
    many = tuple(Opinion(f"p{number}", "approved", HEAD) for number in range(PAGE * 2 + 1))
    http_forge.publish(MERGE, PullRequest(7, "bob", HEAD, (HEAD,), many))
    assert http_forge.ask(MERGE)[0].opinions == many


def test_a_list_without_an_end_is_no_answer(http_forge: Forge):
    many = tuple(Opinion("p", "approved", HEAD) for _ in range(PAGE * PAGES_MAX))
    http_forge.publish(MERGE, PullRequest(7, "bob", HEAD, (HEAD,), many))
    with pytest.raises(TransientError, match="more than"):
        http_forge.ask(MERGE)


@pytest.mark.parametrize(
    "broken",
    [
        (500, b"", {}),
        (429, b"{}", {"Retry-After": "60"}),
        (200, b"<html>", {}),
        (200, b'{"number": "x"}', {}),
        (200, b'[{"number": null}]', {}),
        (302, b"", {"Location": "http://127.0.0.1:9/elsewhere"}),
    ],
)
def test_whatever_else_a_forge_says_is_no_answer(http_forge: Forge, broken: tuple[int, bytes, dict[str, str]]):
    assert http_forge.api is not None
    http_forge.api.broken = broken
    with pytest.raises(TransientError):
        http_forge.ask(MERGE)


def test_a_deleted_reviewer_and_a_stale_approval_say_nothing(http_forge: Forge):
    assert http_forge.api is not None
    http_forge.publish(MERGE, PullRequest(7, "", HEAD, (HEAD,), ()))
    http_forge.api.extra_reviews = [
        {"id": 1, "user": None, "state": "APPROVED", "commit_id": HEAD},
        {"id": 2, "user": {"login": "eve"}, "state": "APPROVED", "commit_id": None, "stale": True},
    ]
    (pull,) = http_forge.ask(MERGE)
    assert pull.author == "" and pull.opinions == (Opinion("", "approved", HEAD), Opinion("eve", "withdrawn", ""))
