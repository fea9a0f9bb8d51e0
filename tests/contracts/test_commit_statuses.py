"""What sending a commit status promises: in memory, and by HTTP to a server that speaks as both forges do."""

import json
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from blocks.commit_statuses_http import HttpCommitStatuses
from blocks.memory_commit_statuses import MemoryCommitStatuses
from blocks.memory_world import MemoryWorld
from blocks.world import use_world
from domain.commit_status import DESCRIPTION_MAX, CommitStatus, status_of_end
from domain.errors import ConfigError, TransientError
from domain.ports import Application, CommitStatuses, ForgeAccess
from tasks.commit_status import tell_forge
from tasks.recording import without_engine

SHA = "a" * 40
STATUS = CommitStatus("ci", "failure", "check unit failed\nwith " + "x" * 300, "http://ui/run/1")


@dataclass
class Forge:
    """A forge's API for statuses, and what it was told; `code` is what it answers, after `slow_s`."""

    kind: str
    url: str = ""
    code: int = 201
    slow_s: float = 0
    asked: int = 0
    sent: list[tuple[str, dict[str, str]]] = field(default_factory=list[tuple[str, dict[str, str]]])

    def answer(self, path: str, authorization: str, body: dict[str, str]) -> int:
        self.asked += 1
        time.sleep(self.slow_s)
        scheme = "Bearer" if self.kind == "github" else "token"
        base = "/repos/team/desk/statuses/" if self.kind == "github" else "/api/v1/repos/team/desk/statuses/"
        if authorization != f"{scheme} a-token":
            return 401
        if not path.startswith(base):
            return 404
        if self.code == 201:
            self.sent.append((path.removeprefix(base), body))
        return self.code


@pytest.fixture(params=["gitea", "github"])
def forge(request: pytest.FixtureRequest) -> Generator[Forge]:
    forge = Forge(request.param)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            code = forge.answer(self.path, self.headers.get("Authorization", ""), body)
            self.send_response(code)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    forge.url = f"http://127.0.0.1:{server.server_port}" + ("/api/v1" if forge.kind == "gitea" else "")
    yield forge
    server.shutdown()
    server.server_close()


@pytest.fixture
def application(forge: Forge) -> Application:
    return Application("desk", forge.kind, "team/desk", "https://git.example.org/team/desk.git")


@pytest.mark.parametrize("port", ["memory", "http"])
def test_a_status_arrives_with_state_context_link_and_a_description_that_fits(
    port: str, forge: Forge, application: Application
):
    memory = MemoryCommitStatuses()
    statuses: CommitStatuses = memory if port == "memory" else HttpCommitStatuses()
    statuses.send(application, ForgeAccess(forge.url, "a-token"), SHA, STATUS)
    ((commit, body),) = memory.sent if port == "memory" else forge.sent
    assert commit == SHA and set(body) == {"state", "context", "description", "target_url"}
    assert (body["state"], body["context"], body["target_url"]) == ("failure", "slipway/ci", "http://ui/run/1")
    assert body["description"].startswith("check unit failed with xxx") and len(body["description"]) == DESCRIPTION_MAX


@pytest.mark.parametrize("code", [429, 500, 502, 503])
def test_an_overloaded_forge_may_be_asked_again(forge: Forge, application: Application, code: int):
    forge.code = code
    with pytest.raises(TransientError, match=str(code)):
        HttpCommitStatuses().send(application, ForgeAccess(forge.url, "a-token"), SHA, STATUS)


@pytest.mark.parametrize("code", [301, 403, 404, 422])
def test_a_refusal_names_what_to_do_and_no_redirect_gets_the_token(forge: Forge, application: Application, code: int):
    forge.code = code
    with pytest.raises(ConfigError, match=rf"\({code}\).*forge-token") as refused:
        HttpCommitStatuses().send(application, ForgeAccess(forge.url, "a-token"), SHA, STATUS)
    assert "a-token" not in str(refused.value) and forge.asked == 1


def test_a_wrong_token_and_a_forge_that_is_not_there(forge: Forge, application: Application):
    with pytest.raises(ConfigError, match=r"\(401\)"):
        HttpCommitStatuses().send(application, ForgeAccess(forge.url, "wrong"), SHA, STATUS)
    with pytest.raises(TransientError, match="does not answer"):
        HttpCommitStatuses().send(application, ForgeAccess("http://127.0.0.1:1", "a-token"), SHA, STATUS)


@pytest.fixture
def world(forge: Forge, application: Application) -> Generator[MemoryWorld]:
    world = MemoryWorld()
    world.applications.add(application, webhook_secret="s")
    world.applications.set_forge_access("desk", ForgeAccess(forge.url, "a-token"))
    world.commit_statuses = HttpCommitStatuses()  # pyright: ignore[reportAttributeAccessIssue]
    use_world(lambda: world)
    yield world
    use_world(None)


def tell(stage: str, state: str = "pending") -> bool:
    with without_engine():
        return tell_forge("run-1", "desk", SHA, stage, state, "x")


def test_a_dead_forge_delays_a_whole_run_by_seconds_and_fails_nothing(world: MemoryWorld, forge: Forge):
    forge.slow_s = 30
    begun = time.monotonic()
    assert [tell(stage) for stage in ("ci", "test", "staging", "production")] == [False] * 4
    assert time.monotonic() - begun < 6
    failed = world.ledger.entries(kinds=["ci.status_failed"])
    assert len(failed) == 4 and "does not answer" in failed[0].data["error"]


def test_one_bad_answer_is_made_good_by_the_second_attempt(world: MemoryWorld, forge: Forge):
    class Once(HttpCommitStatuses):
        tries = 0

        def send(self, application: Application, access: ForgeAccess, commit: str, status: CommitStatus) -> None:
            self.tries += 1
            forge.code = 503 if self.tries == 1 else 201
            super().send(application, access, commit, status)

    world.commit_statuses = Once()  # pyright: ignore[reportAttributeAccessIssue]
    assert tell("ci", "success")
    assert [body["state"] for _, body in forge.sent] == ["success"] and forge.asked == 2


def test_without_a_token_nothing_is_sent_and_nothing_written(world: MemoryWorld, forge: Forge):
    world.applications.set_forge_access("desk", None)
    assert not tell("ci")
    assert forge.asked == 0 and world.ledger.entries() == []


def test_each_end_has_its_state():
    ends = ["completed", "rolled_back", "failed", "reject", "superseded", "expired"]
    assert [status_of_end(end) for end in ends] == ["success", "failure", "failure", "failure", "error", "error"]
