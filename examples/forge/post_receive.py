"""A post-receive hook that tells a webhook about pushes exactly as a Gitea server would. Standard library only.

Put it into a bare repository as `hooks/post-receive` (executable) with `hook.json` beside `HEAD`, mode 0600:

    {"url": "http://127.0.0.1:4201/webhooks/gitea/demo/helpdesk", "secret": "…", "repository": "demo/helpdesk"}

Body and headers are those of Gitea's `push` (and `delete` for a removed branch). `FORGE_PUSHER` in the environment of
`git push` names who pushed, else the user who runs this. A door that is away or answers 503 is asked again for half a
minute: unlike a forge, a hook has nobody who could press "redeliver". A push stays pushed whatever happens here.
"""

import getpass
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

ZERO = "0" * 40
COMMITS_MAX = 30
TRIES = 12
PAUSE_S_MAX = 4.0
ANSWER_LIMIT_S = 5


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def describe_repository(settings: dict[str, str]) -> dict[str, object]:
    owner, name = settings["repository"].split("/")
    page = settings.get("page", f"http://127.0.0.1/{owner}/{name}")
    return {
        "id": 1,
        "owner": describe_person(owner, f"{owner}@localhost", id=1),
        "name": name,
        "full_name": f"{owner}/{name}",
        "description": "",
        "empty": False,
        "private": True,
        "fork": False,
        "template": False,
        "parent": None,
        "mirror": False,
        "html_url": page,
        "url": page,
        "ssh_url": str(Path.cwd()),
        "clone_url": str(Path.cwd()),
        "website": "",
        "default_branch": git("symbolic-ref", "--short", "HEAD").strip(),
        "archived": False,
        "permissions": {"admin": True, "push": True, "pull": True},
    }


def describe_person(login: str, email: str, *, id: int = 2) -> dict[str, object]:
    return {
        "id": id,
        "login": login,
        "login_name": "",
        "full_name": "",
        "email": email,
        "avatar_url": "",
        "is_admin": False,
        "username": login,
    }


def list_commits(before: str, after: str, page: str) -> list[dict[str, object]]:
    """Describe the commits of a push, newest first, as Gitea does."""
    wanted = after if before == ZERO else f"{before}..{after}"
    shas = git("rev-list", f"--max-count={COMMITS_MAX}", wanted).split()
    return [describe_commit(sha, page) for sha in shas]


def describe_commit(sha: str, page: str) -> dict[str, object]:
    fields = git("show", "-s", "--format=%an%x00%ae%x00%cn%x00%ce%x00%cI%x00%B", sha).split("\x00")
    changes: dict[str, list[str]] = {"added": [], "removed": [], "modified": []}
    lines = git("diff-tree", "--root", "--no-commit-id", "--name-status", "--no-renames", "-r", "-z", sha).split("\x00")
    for kind, path in zip(lines[::2], lines[1::2], strict=False):
        changes[{"A": "added", "D": "removed"}.get(kind, "modified")].append(path)
    return {
        "id": sha,
        "message": fields[5].rstrip("\n") + "\n",
        "url": f"{page}/commit/{sha}",
        "author": {"name": fields[0], "email": fields[1], "username": fields[0].lower()},
        "committer": {"name": fields[2], "email": fields[3], "username": fields[2].lower()},
        "verification": None,
        "timestamp": fields[4],
        **changes,
    }


def make_event(before: str, after: str, ref: str, settings: dict[str, str]) -> tuple[str, dict[str, object]]:
    """Return the event's name and body."""
    repository = describe_repository(settings)
    pusher = os.environ.get("FORGE_PUSHER") or getpass.getuser()
    person = describe_person(pusher, f"{pusher}@localhost")
    if after == ZERO:
        kind, _, name = ref.removeprefix("refs/").partition("/")
        body = {"ref": name, "ref_type": "branch" if kind == "heads" else "tag", "pusher_type": "user"}
        return "delete", {**body, "repository": repository, "sender": person}
    page = str(repository["html_url"])
    commits = list_commits(before, after, page)
    return "push", {
        "ref": ref,
        "before": before,
        "after": after,
        "compare_url": f"{page}/compare/{before}...{after}",
        "commits": commits,
        "total_commits": len(commits),
        "head_commit": commits[0] if commits else None,
        "repository": repository,
        "pusher": person,
        "sender": person,
    }


def make_headers(event: str, body: bytes, secret: str, delivery: str) -> dict[str, str]:
    sha256 = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    sha1 = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    headers = {"Content-Type": "application/json", "User-Agent": "Go-http-client/1.1"}
    for name in ("Gitea", "Gogs", "GitHub"):
        headers |= {f"X-{name}-Delivery": delivery, f"X-{name}-Event": event, f"X-{name}-Event-Type": event}
    signatures = {"X-Gitea-Signature": sha256, "X-Gogs-Signature": sha256}
    return headers | signatures | {"X-Hub-Signature": f"sha1={sha1}", "X-Hub-Signature-256": f"sha256={sha256}"}


def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    """Send once; 0 and the reason where nobody answered."""
    # Never through a proxy: the door is on this machine, and a proxy would see the body.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, headers, method="POST"), timeout=ANSWER_LIMIT_S) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read(256).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as exc:
        return 0, str(getattr(exc, "reason", exc))


def deliver(event: str, value: dict[str, object], settings: dict[str, str]) -> bool:
    body = json.dumps(value, indent=2, ensure_ascii=False).encode()
    delivery = str(uuid.uuid4())
    headers = make_headers(event, body, settings["secret"], delivery)
    status, reason = 0, ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(min(PAUSE_S_MAX, 0.25 * 2 ** (attempt - 1)))
        begun = time.monotonic()
        status, reason = post(settings["url"], body, headers)
        if 200 <= status < 300:
            print(f"webhook: delivery {delivery}: {status} in {(time.monotonic() - begun) * 1000:.0f} ms")
            return True
        if status not in (0, 503):
            break
    print(f"webhook: delivery {delivery} failed: {status or 'no answer'} {reason}".rstrip(), file=sys.stderr)
    return False


def main() -> int:
    settings = json.loads(Path("hook.json").read_text(encoding="utf-8"))
    delivered = [
        deliver(*make_event(*line.split(maxsplit=2), settings), settings) for line in sys.stdin.read().splitlines()
    ]
    return 0 if all(delivered) else 1


if __name__ == "__main__":
    sys.exit(main())
