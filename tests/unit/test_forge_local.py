"""A push into a repository of our own reaches a webhook as a Gitea server would send it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blocks.forge_gitea import GiteaForge
from blocks.forge_github import GitHubForge
from blocks.forge_local import LocalForge
from domain.delivery import ZERO_SHA, Ignored, Push
from domain.errors import ConfigError

HOOK = Path(__file__).resolve().parents[2] / "examples" / "forge" / "post_receive.py"
SECRET = "a secret of forty characters, more or less"


class Door:
    """An HTTP server that keeps what it was sent, and answers with the statuses that it was told, then 202."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        door = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                door.received.append((self.path, headers, body))
                self.send_response(door.answers.pop(0) if door.answers else 202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks/gitea/demo/helpdesk"


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    thread = threading.Thread(target=door.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield door
    door.server.shutdown()
    thread.join()
    door.server.server_close()


@pytest.fixture
def forge(tmp_path: Path, door: Door) -> LocalForge:
    forge = LocalForge(bare=tmp_path / "helpdesk.git", work=tmp_path / "work")
    forge.ensure()
    forge.install_hook(HOOK, url=door.url, secret=SECRET, repository="demo/helpdesk")
    return forge


def commit(forge: LocalForge, title: str = "a change", **files: str) -> str:
    forge.write(files or {"README.md": title})
    return forge.commit(title, author="Dana", email="dana@example.com")


def test_a_push_arrives_signed_as_from_gitea(forge: LocalForge, door: Door):
    sha = commit(forge)
    said = forge.push(pusher="dana")
    ((path, headers, body),) = door.received
    assert path == "/webhooks/gitea/demo/helpdesk"
    gitea = GiteaForge()
    assert gitea.is_genuine(headers=headers, body=body, secret=SECRET)
    assert not gitea.is_genuine(headers=headers, body=body + b" ", secret=SECRET)
    delivery = gitea.delivery_id(headers)
    assert gitea.read_push(headers=headers, body=body) == Push(
        delivery, "demo/helpdesk", "main", ZERO_SHA, sha, "dana", "dana@localhost", ("dana", "dana@localhost")
    )
    assert f"delivery {delivery}: 202" in said


def test_it_sends_githubs_headers_too_as_gitea_does(forge: LocalForge, door: Door):
    commit(forge)
    forge.push(pusher="dana")
    ((_, headers, body),) = door.received
    assert GitHubForge().is_genuine(headers=headers, body=body, secret=SECRET)


def test_the_body_names_commits_and_what_they_changed(forge: LocalForge, door: Door):
    first = commit(forge, "one", **{"a.txt": "1", "b.txt": "1"})
    forge.push(pusher="dana")
    (forge.work / "b.txt").unlink()
    second = commit(forge, "two", **{"a.txt": "2", "über.txt": "3"})
    forge.push(pusher="dana")
    body = json.loads(door.received[1][2])
    assert (body["before"], body["after"], body["ref"]) == (first, second, "refs/heads/main")
    (described,) = body["commits"]
    assert described["message"] == "two\n"
    assert (described["added"], described["removed"], described["modified"]) == (["über.txt"], ["b.txt"], ["a.txt"])


def test_the_body_has_the_keys_of_a_real_one(forge: LocalForge, door: Door):
    commit(forge)
    forge.push(pusher="dana")
    body = json.loads(door.received[0][2])
    real = "ref before after compare_url commits repository pusher sender"
    assert set(real.split()) <= body.keys()
    assert {"login", "username", "email"} <= body["pusher"].keys()
    assert {"full_name", "clone_url", "default_branch", "owner"} <= body["repository"].keys()


def test_a_door_that_is_busy_is_asked_again_with_the_same_delivery(forge: LocalForge, door: Door):
    door.answers = [503, 503]
    commit(forge)
    assert ": 202" in forge.push(pusher="dana")
    assert len(door.received) == 3
    assert len({headers["x-gitea-delivery"] for _, headers, _ in door.received}) == 1


def test_a_door_that_refuses_is_not_asked_again_and_the_push_stands(forge: LocalForge, door: Door):
    door.answers = [401]
    commit(forge)
    assert "failed: 401" in forge.push(pusher="dana")
    assert len(door.received) == 1
    assert forge.has_commits()


def test_a_deleted_branch_is_a_delete_event_which_starts_nothing(forge: LocalForge, door: Door, tmp_path: Path):
    import subprocess

    commit(forge)
    forge.push(pusher="dana")
    for refspec in ("HEAD:refs/heads/side", ":refs/heads/side"):
        subprocess.run(["git", "push", "--quiet", "origin", refspec], cwd=forge.work, check=True, capture_output=True)
    _, headers, body = door.received[-1]
    assert headers["x-gitea-event"] == "delete" and json.loads(body)["ref"] == "side"
    assert isinstance(GiteaForge().read_push(headers=headers, body=body), Ignored)


def test_the_secret_is_readable_by_its_owner_only(forge: LocalForge):
    assert (forge.bare / "hook.json").stat().st_mode & 0o077 == 0


def test_what_an_interrupted_run_left_is_thrown_away_and_commits_stay(forge: LocalForge):
    commit(forge)
    forge.push(pusher="dana")
    forge.write({"half.txt": "half a"})
    forge.ensure()
    assert not (forge.work / "half.txt").exists() and (forge.work / "README.md").exists()


def test_files_are_replaced_and_those_to_keep_stay(forge: LocalForge, tmp_path: Path):
    commit(forge, **{"old.txt": "1", "migrations/0009_mine.sql": "1"})
    source = tmp_path / "source"
    (source / "migrations").mkdir(parents=True)
    (source / "__pycache__").mkdir()
    (source / "new.txt").write_text("2")
    (source / "migrations/0001_first.sql").write_text("2")
    (source / "__pycache__/x.pyc").write_text("")
    forge.replace_files(source, keep="migrations/*.sql")
    found = sorted(
        str(path.relative_to(forge.work))
        for path in forge.work.rglob("*")
        if path.is_file() and ".git" not in path.parts
    )
    assert found == ["migrations/0001_first.sql", "migrations/0009_mine.sql", "new.txt"]


def test_a_patch_that_does_not_fit_says_so(forge: LocalForge, tmp_path: Path):
    patch = tmp_path / "x.patch"
    patch.write_text("--- a/none.txt\n+++ b/none.txt\n@@ -1 +1 @@\n-a\n+b\n")
    with pytest.raises(ConfigError, match="git apply"):
        forge.apply(patch)
