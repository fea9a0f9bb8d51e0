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
from deployments.door.statuses import StatusSender
from domain.authority import may_general_write
from domain.commit_status import ANSWERED_KINDS, DELAYS_S, DESCRIPTION_MAX, CommitStatus, status_of_end
from domain.errors import ConfigError, TransientError
from domain.ledger import Event
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


@dataclass
class Hours:
    """A clock that the test moves."""

    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


def tell(stage: str, state: str = "pending", text: str = "x") -> bool:
    with without_engine():
        return tell_forge("run-1", "desk", SHA, stage, state, text)


def shown(forge: Forge) -> list[tuple[str, str]]:
    return [(body["context"], body["state"]) for _, body in forge.sent]


def test_what_runs_ask_for_is_sent_once_in_its_order_with_the_link_to_the_run(world: MemoryWorld, forge: Forge):
    assert all(tell(stage) for stage in ("ci", "test", "production"))
    sender = StatusSender(world)  # pyright: ignore[reportArgumentType]
    assert sender.send_wanted() == 3 and sender.send_wanted() == 0
    assert shown(forge) == [("slipway/ci", "pending"), ("slipway/test", "pending"), ("slipway/production", "pending")]
    assert forge.sent[0][1]["target_url"] == world.run_records.url("run-1")
    assert StatusSender(world).send_wanted() == 0, "a door that starts again"  # pyright: ignore[reportArgumentType]
    kinds = [entry.kind for entry in world.ledger.entries(kinds=ANSWERED_KINDS)]
    assert kinds == ["ci.status_sent", "cd.status_sent", "cd.status_sent"]


def test_a_run_waits_for_no_forge_and_a_dead_one_is_given_up_after_minutes_with_the_reason(
    world: MemoryWorld, forge: Forge
):
    forge.slow_s = 30
    begun = time.monotonic()
    assert all(tell(stage) for stage in ("ci", "test", "staging", "production"))
    assert time.monotonic() - begun < 1
    world.commit_statuses = away = MemoryCommitStatuses()
    away.is_away = True
    hours = Hours()
    sender = StatusSender(world, monotonic=hours)  # pyright: ignore[reportArgumentType]
    sender.send_wanted()
    assert away.asked == 1, "one that did not answer is not asked for the others at once"
    while hours.at < 1000 + 2 * sum(DELAYS_S):
        hours.at += 1
        sender.send_wanted()
    failed = world.ledger.entries(kinds=["ci.status_failed", "cd.status_failed"])
    assert len(failed) == 4 and "does not answer" in failed[0].data["error"]
    assert away.asked == 4 * (1 + len(DELAYS_S)) and sender.send_wanted() == 0


def test_a_forge_that_comes_back_shows_the_newest_of_each_stage_only(world: MemoryWorld, forge: Forge):
    forge.code = 503
    hours = Hours()
    sender = StatusSender(world, monotonic=hours)  # pyright: ignore[reportArgumentType]
    tell("ci", "pending")
    sender.send_wanted()
    tell("ci", "success", "release abc")
    tell("test", "pending")
    hours.at += DELAYS_S[0]
    forge.code = 201
    assert sender.send_wanted() == 2
    assert shown(forge) == [("slipway/ci", "success"), ("slipway/test", "pending")]


def test_a_refusal_is_written_down_at_once_and_not_asked_again(world: MemoryWorld, forge: Forge):
    world.applications.set_forge_access("desk", ForgeAccess(forge.url, "wrong"))
    tell("ci")
    sender = StatusSender(world)  # pyright: ignore[reportArgumentType]
    sender.send_wanted()
    assert sender.send_wanted() == 0 and forge.asked == 1
    (failed,) = world.ledger.entries(kinds=["ci.status_failed"])
    assert "forge-token" in failed.data["error"] and "wrong" not in str(failed.data)


def test_what_the_worker_of_builds_writes_about_an_environment_counts_for_nothing(world: MemoryWorld, forge: Forge):
    data = {"stage": "production", "state": "success", "commit": SHA, "description": "live"}
    world.ledger.append(Event("ci.status_wanted", application="desk", run="run-1", data=data))
    assert not may_general_write("cd.status_wanted")
    assert StatusSender(world).send_wanted() == 0 and not forge.sent  # pyright: ignore[reportArgumentType]


def test_without_a_token_nothing_is_sent_and_nothing_written(world: MemoryWorld, forge: Forge):
    world.applications.set_forge_access("desk", None)
    assert not tell("ci")
    assert forge.asked == 0 and world.ledger.entries() == []


def test_each_end_has_its_state():
    ends = ["completed", "rolled_back", "failed", "reject", "superseded", "expired"]
    assert [status_of_end(end) for end in ends] == ["success", "failure", "failure", "failure", "error", "error"]
