"""Commits, pushes, answers and visitors: the outside of Slipway, as the live tests play it."""

import hashlib
import hmac
import http.client
import json
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qs, urlparse
from uuid import uuid4

import httpx
import pyotp
from running_stack import RunningStack

from blocks.balancer_traefik import TraefikBalancer
from blocks.embedded_world import EmbeddedWorld
from domain.errors import TransientError
from domain.ledger import Entry
from domain.ports import Application, Approver
from domain.release import short

R = TypeVar("R")
TINY = Path(__file__).parent / "tiny"
NAME = "tiny"
REPOSITORY = "team/tiny"
SECRET = "a-webhook-secret-of-the-tests"
PUSHER = "bob"


def until(question: Callable[[], R | None], *, limit_s: float, what: str) -> R:
    """Ask until there is an answer; fails with `what` was waited for. A part that is away has no answer yet."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            if answer := question():
                return answer
        except (TransientError, httpx.HTTPError):
            pass
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.3)


class Journey:
    """One application on one stack."""

    _used: ClassVar[dict[str, int]] = {}
    """The time step of each person's last code: used up for whoever asks next on the same stack, too."""

    def __init__(self, stack: RunningStack, folder: Path) -> None:
        self.stack = stack
        self.world = EmbeddedWorld(stack.installation)
        self.repository = folder / "tiny"
        shutil.copytree(TINY, self.repository)
        self._git("init", "-q", "-b", "main")
        self._seeds: dict[str, str] = {}
        application = Application(NAME, "gitea", REPOSITORY, f"file://{self.repository}", "main")
        self.world.applications.add(application, webhook_secret=SECRET)
        self.enrol("ann", "approver", "administrator")
        self.enrol(PUSHER, "approver")

    # code -------------------------------------------------------------------------------------------------------

    def commit(
        self, message: str, *, settings: dict[str, str] | None = None, beside: bool = False, **constants: object
    ) -> str:
        """Commit the tiny service with some constants, and `slipway.toml` lines, changed; returns the SHA.

        `beside` puts it in the place of the last commit instead of after it: then neither is older than the other.
        """
        constants.setdefault("VERSION", message)
        self._rewrite("app.py", {name: repr(value) for name, value in constants.items()})
        self._rewrite("slipway.toml", settings or {})
        self._git("add", "-A")
        self._git(
            "-c",
            "user.name=Carl",
            "-c",
            "user.email=carl@example.org",
            "commit",
            "-q",
            "-m",
            message,
            *(["--amend"] if beside else []),
        )
        return self._git("rev-parse", "HEAD")

    def _rewrite(self, file: str, values: dict[str, str]) -> None:
        lines = [
            next((f"{name} = {value}" for name, value in values.items() if line.startswith(f"{name} = ")), line)
            for line in (TINY / file).read_text().splitlines()
        ]
        (self.repository / file).write_text("\n".join(lines) + "\n")

    def _git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.repository, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def push(self, sha: str, *, delivery: str = "") -> httpx.Response:
        """Send what Gitea sends for a push to main."""
        body = json.dumps(
            {
                "ref": "refs/heads/main",
                "before": "0" * 40,
                "after": sha,
                "commits": [],
                "repository": {"full_name": REPOSITORY},
                "pusher": {"login": PUSHER, "email": f"{PUSHER}@example.org"},
                "sender": {"login": PUSHER},
            }
        ).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Gitea-Event": "push",
            "X-Gitea-Delivery": delivery or str(uuid4()),
            "X-Gitea-Signature": hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
        }
        door = f"http://127.0.0.1:{self.stack.installation.ports['door']}/webhooks/gitea/{REPOSITORY}"
        return httpx.post(door, content=body, headers=headers, trust_env=False, timeout=20)

    def deliver(
        self, message: str, *, settings: dict[str, str] | None = None, beside: bool = False, **constants: object
    ) -> str:
        """Commit, push, and wait until the release is pinned; returns its digest."""
        sha = self.commit(message, settings=settings, beside=beside, **constants)
        assert self.push(sha).status_code == 202
        return self.wait_release(sha)

    def deliver_as_it_is(self, message: str) -> str:
        """Commit what lies in the repository, push it, and wait until the release is pinned; returns its digest."""
        self._git("add", "-A")
        self._git("-c", "user.name=Carl", "-c", "user.email=carl@example.org", "commit", "-q", "-m", message)
        sha = self._git("rev-parse", "HEAD")
        assert self.push(sha).status_code == 202
        return self.wait_release(sha)

    def wait_release(self, sha: str) -> str:
        def pinned() -> str | None:
            for entry in self.entries("release.pinned"):
                if entry.data["manifest"]["commit"] == sha:
                    return entry.event.release
            failed = [e for e in self.entries("ci.failed") if sha in json.dumps(e.data)]
            assert not failed, failed[0].data
            return None

        return until(pinned, limit_s=120, what=f"a release of {sha}")

    # the ledger -------------------------------------------------------------------------------------------------

    def entries(self, *kinds: str, release: str = "", environment: str = "", run: str = "") -> list[Entry]:
        return self.world.ledger.entries(
            kinds=kinds, application=NAME, release=release, environment=environment, run=run, newest_first=True
        )

    def wait(self, *kinds: str, release: str = "", environment: str = "", run: str = "", limit_s: float = 120) -> Entry:
        """Wait for the newest entry of one of these kinds."""

        def found() -> Entry | None:
            entries = self.entries(*kinds, release=release, environment=environment, run=run)
            return entries[0] if entries else None

        return until(found, limit_s=limit_s, what=f"{kinds} of {short(release)} {environment}")

    # people -----------------------------------------------------------------------------------------------------

    def enrol(self, name: str, *roles: str) -> None:
        if self.world.approvers.get(name) is not None:
            self.world.approvers.revoke(name)
        uri = self.world.approvers.enrol(Approver(name, roles=roles))
        self._seeds[name] = parse_qs(urlparse(uri).query)["secret"][0]

    def code(self, name: str) -> str:
        """A code that this person has not used yet; waits for the next step where needed."""
        step = until(
            lambda: s if (s := int(time.time()) // 30) > self._used.get(name, 0) else None,
            limit_s=40,
            what="a new code",
        )
        self._used[name] = step
        return pyotp.TOTP(self._seeds[name]).generate_otp(step)

    def last_code(self, name: str) -> str:
        """The code that this person used last."""
        return pyotp.TOTP(self._seeds[name]).generate_otp(self._used[name])

    # gates ------------------------------------------------------------------------------------------------------

    def wait_gate(self, release: str, *, after: str = "") -> tuple[str, str]:
        """Wait until the run of a release is suspended with a key other than `after`; returns run and key."""
        run = self.wait("approval.requested", release=release).event.run

        def suspended() -> str | None:
            state = self.stack.prefect("GET", f"/flow_runs/{run}")["state"]
            assert state["type"] not in ("FAILED", "CRASHED", "COMPLETED"), state
            key = state["state_details"].get("pause_key")
            return key if state["type"] == "PAUSED" and key != after else None

        return run, until(suspended, limit_s=90, what=f"another question about {short(release)}")

    def answer(self, run: str, **given: str) -> dict[str, Any]:
        """Hand in an answer through Prefect's API; returns what Prefect says of it."""
        run_input = {"decision": "approve", "approver": "ann", "comment": "from the tests", **given}
        return self.stack.prefect("POST", f"/flow_runs/{run}/resume", json={"run_input": run_input})

    def approve(self, release: str, *, decision: str = "approve") -> str:
        """Answer the gate of a release as ann; returns the run."""
        run, _ = self.wait_gate(release)
        assert self.answer(run, decision=decision, code=self.code("ann"))["status"] == "ACCEPT"
        return run

    def start_cd(self, release: str) -> str:
        """Start `cd` by hand; returns the run."""
        deployment = self.stack.prefect("GET", "/deployments/name/cd/cd")["id"]
        parameters = {"application": NAME, "release": release}
        return self.stack.prefect(
            "POST", f"/deployments/{deployment}/create_flow_run", json={"parameters": parameters}
        )["id"]

    def wait_end(self, run: str, *, limit_s: float = 240) -> dict[str, Any]:
        """Wait until a run is over; returns its state."""

        def ended() -> dict[str, Any] | None:
            state = self.stack.prefect("GET", f"/flow_runs/{run}")["state"]
            return state if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        try:
            return until(ended, limit_s=limit_s, what=f"the end of run {run}")
        except AssertionError as exc:
            told = [
                f"{entry.event.kind} {entry.event.site} {dict(entry.data)}"[:200] for entry in self.entries(run=run)
            ]
            exc.add_note("its last entries, newest first:\n" + "\n".join(told[:12]))
            raise

    # the world --------------------------------------------------------------------------------------------------

    def serving(self, site: str, *, environment: str = "production") -> dict[str, int]:
        """Who has which share of a site's traffic, read back from Traefik; by the first 12 digits."""
        balancer = TraefikBalancer(environment=environment, site=site, state=str(self.stack.state))
        return {short(arm.release): arm.weight_percent for arm in balancer.routes(NAME) if arm.weight_percent}

    def is_wholly_on(self, release: str) -> bool:
        return all(list(self.serving(site)) == [short(release)] for site in ("alpha", "beta"))


class Visitors:
    """An outside client: what it asked, what it got, and from which release."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: Counter[tuple[str, int]] = Counter()
        self._stop = threading.Event()
        self._guard = threading.Lock()

    def _visit(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self._stop.wait(0.04):
            release, status = "", 0
            try:
                connection.request("GET", "/", headers={"Host": f"{NAME}.localhost"})
                answer = connection.getresponse()
                answer.read()
                release, status = answer.headers.get("X-Release", "") or "", answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            with self._guard:
                self.answers[release, status] += 1
        connection.close()

    def failed_outside(self, release: str) -> dict[tuple[str, int], int]:
        """What did not get a 200 and was not answered by `release`."""
        return {key: count for key, count in self.answers.items() if key[1] != 200 and key[0] != release}

    @contextmanager
    def visiting(self, *, people: int = 6) -> Generator["Visitors"]:
        threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(people)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(timeout=15)
