"""Pull requests of strangers start nothing: only a push to the registered branch of the registered repository does."""

import json

import pytest
from test_forge import body_of, gitea_headers, github_headers

from blocks.forge_gitea import GiteaForge
from blocks.forge_github import GitHubForge
from domain.delivery import Ignored, Push, explain_ignored

FORGES = {"gitea": (GiteaForge(), gitea_headers), "github": (GitHubForge(), github_headers)}
EVENTS = (
    "pull_request",
    "pull_request_target",
    "pull_request_sync",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_comment",
    "issue_comment",
    "fork",
    "create",
    "workflow_run",
    "check_suite",
    "status",
)
PULL_REQUEST = {
    "action": "opened",
    "number": 1,
    "ref": "refs/heads/main",
    "before": "0" * 40,
    "after": "a" * 40,
    "pull_request": {"head": {"ref": "main", "sha": "a" * 40, "repo": {"full_name": "stranger/desk", "fork": True}}},
    "repository": {"full_name": "team/desk"},
    "pusher": {"login": "ann"},
    "sender": {"login": "stranger"},
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("kind", FORGES)
def test_no_event_but_a_push_starts_anything(kind: str, event: str):
    forge, headers = FORGES[kind]
    body = json.dumps(PULL_REQUEST).encode()
    assert isinstance(forge.read_push(headers=headers(body, event=event), body=body), Ignored)


@pytest.mark.parametrize(
    "ref", ["refs/pull/1/head", "refs/pull/1/merge", "refs/merge-requests/1/head", "refs/tags/main"]
)
@pytest.mark.parametrize("kind", FORGES)
def test_a_push_to_what_a_forge_keeps_for_pull_requests_starts_nothing(kind: str, ref: str):
    forge, headers = FORGES[kind]
    body = json.dumps({**json.loads(body_of(f"{kind}-push")), "ref": ref}).encode()
    assert isinstance(forge.read_push(headers=headers(body), body=body), Ignored)


@pytest.mark.parametrize("branch", ["feature", "pull/1/head", "main2", "refs/heads/main", "MAIN"])
@pytest.mark.parametrize("kind", FORGES)
def test_a_push_to_another_branch_starts_nothing(kind: str, branch: str):
    forge, headers = FORGES[kind]
    body = json.dumps({**json.loads(body_of(f"{kind}-push")), "ref": f"refs/heads/{branch}"}).encode()
    push = forge.read_push(headers=headers(body), body=body)
    assert isinstance(push, Push) and push.branch == branch
    assert explain_ignored(push, repository=push.repository, branch="main")


@pytest.mark.parametrize("kind", FORGES)
def test_a_push_to_a_fork_starts_nothing(kind: str):
    forge, headers = FORGES[kind]
    value = json.loads(body_of(f"{kind}-push"))
    value["repository"]["full_name"] = "stranger/desk"
    body = json.dumps({**value, "ref": "refs/heads/main"}).encode()
    push = forge.read_push(headers=headers(body), body=body)
    assert isinstance(push, Push) and explain_ignored(push, repository="team/desk", branch="main")
