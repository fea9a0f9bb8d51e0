"""Measure the journey on a stack of its own: `python -m benchmarks.journey [--full]`.

Prints a table: seconds from a push to the first line of `ci`; `ci` against a shell script that does the same steps by
hand, in turn; seconds from the click to the effect of a deployment and of a rollback; and the requests lost in rollouts
under load, counted by an outside client and in Traefik's own log. `--full` does 20 rollouts, without it 4.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# the outside of Slipway (a forge, visitors, people) is played by the same code as in the live tests
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "live")]

from journey import NAME, Journey, Visitors  # noqa: E402
from running_stack import RunningStack, copy_home, stack_environ  # noqa: E402

from domain.ports import Application  # noqa: E402

PUSHES = 5
ROUNDS = 3


@contextmanager
def a_stack() -> Generator[RunningStack]:
    """Bring up a stack of our own, and take everything of it away afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-", dir="/tmp"))
    folder.chmod(0o755)
    stack = RunningStack(home=copy_home(folder), state=folder / "state", environ=stack_environ(folder / "state"))
    begun = time.monotonic()
    done = stack.slipway("up")
    assert done.returncode == 0, done.stdout + done.stderr
    say("slipway up, from nothing", f"{time.monotonic() - begun:.1f} s")
    try:
        yield stack
    finally:
        stack.slipway("down")
        shutil.rmtree(folder, ignore_errors=True)


def say(what: str, figure: str) -> None:
    print(f"| {what} | {figure} |", flush=True)


def spread(values: list[float]) -> str:
    return f"median {statistics.median(values):.1f} s (from {min(values):.1f} to {max(values):.1f}, n={len(values)})"


def measure_push_to_ci(journey: Journey) -> None:
    seconds: list[float] = []
    for number in range(PUSHES):
        sha = journey.commit(f"push {number}")
        pushed = time.time()
        assert journey.push(sha).status_code == 202
        release = journey.wait_release(sha)
        started = next(e for e in journey.entries("ci.started") if sha in json.dumps(e.data))
        seconds.append(started.at.timestamp() - pushed)
        journey.approve(release, decision="reject")
    say("push → first line of `ci`", spread(seconds))


def measure_ci_against_a_script(stack: RunningStack, journey: Journey, folder: Path) -> None:
    """In turn, after one warming round each, so that both have pip's cache."""
    repository = folder / "helpdesk"
    shutil.copytree(ROOT / "examples" / "helpdesk", repository, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    _git(repository, "init", "-q", "-b", "main")
    journey.world.applications.add(
        Application("helpdesk", "gitea", "team/helpdesk", f"file://{repository}"), webhook_secret="not used here"
    )
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(ROUNDS + 1):
        (repository / "CHANGES").write_text(f"{number}\n")
        _git(repository, "add", "-A")
        _git(repository, "-c", "user.name=Carl", "-c", "user.email=c@example.org", "commit", "-qm", f"round {number}")
        commit = _git(repository, "rev-parse", "HEAD")
        ours.append(_time_ci(journey, commit))
        theirs.append(_time_script(stack, repository, commit, folder / f"by-hand-{number}"))
    ratios = [a / b for a, b in zip(ours[1:], theirs[1:], strict=True)]
    say("`ci` of the helpdesk", spread(ours[1:]))
    say("the same steps by a shell script", spread(theirs[1:]))
    say("ratio, in turn", f"median {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")


def _time_ci(journey: Journey, commit: str) -> float:
    deployment = journey.stack.prefect("GET", "/deployments/name/ci/ci")["id"]
    parameters = {"application": "helpdesk", "commit": commit}
    begun = time.monotonic()
    run = journey.stack.prefect("POST", f"/deployments/{deployment}/create_flow_run", json={"parameters": parameters})[
        "id"
    ]
    state = journey.wait_end(run, limit_s=600)
    assert state["type"] == "COMPLETED", state
    seconds = time.monotonic() - begun
    for entry in journey.world.ledger.entries(kinds=["cd.started"], application="helpdesk"):
        journey.world.run_records.cancel(entry.event.run)
    return seconds


def _time_script(stack: RunningStack, repository: Path, commit: str, folder: Path) -> float:
    """Run the script as the user who runs builds, on the interpreter and the PostgreSQL that builds use."""
    installation = stack.installation
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    subprocess.run(["chmod", "-R", "a+rX", str(repository)], check=True)
    script = ["sh", str(Path(__file__).parent / "by_hand.sh"), f"file://{repository}", commit]
    script += [str(installation.python), str(installation.postgres_bin), str(folder)]
    user = installation.users.build
    begun = time.monotonic()
    done = subprocess.run(
        script,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        env={
            **stack.environ,
            "HOME": str(folder),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return time.monotonic() - begun


def _git(repository: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=repository, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def measure_rollouts(stack: RunningStack, journey: Journey, rollouts: int) -> None:
    """Take two good releases in turn to production under load, then go back and forth by hand."""
    settings = {"steps": "[{ weight_percent = 20, watch_s = 8 }]", "watch_after_s": "0"}
    releases = [journey.deliver(f"turn {letter}", settings=settings) for letter in "ab"]
    journey.wait_end(journey.approve(releases[0]))
    journey.wait_end(journey.approve(releases[1], decision="reject"))
    ports = [stack.installation.ports[f"entry-production-{site}"] for site in ("alpha", "beta")]
    deploys: list[float] = []
    backs: list[float] = []
    with Visitors(ports[0]).visiting() as visitors, Visitors(ports[1]).visiting(people=2) as beside:
        for number in range(rollouts):
            release = releases[(number + 1) % 2]
            run = journey.start_cd(release)
            journey.wait("approval.requested", run=run)
            journey.wait_gate(release)
            given = journey.code("ann")
            clicked = time.time()
            journey.answer(run, code=given)
            state = journey.wait_end(run)
            assert state["type"] == "COMPLETED", state
            full = journey.entries("site.switched", run=run, environment="production")[0]
            deploys.append(full.at.timestamp() - clicked - 8)
        for _ in range(max(2, rollouts // 4)):
            live = journey.entries("site.switched", environment="production")[0].event.release
            backs.append(_time_rollback(journey, next(release for release in releases if release != live)))
    answers = visitors.answers + beside.answers
    lost = sum(count for (_, status), count in answers.items() if status != 200)
    say("click → full share on both sites, without the watch", spread(deploys))
    say("click → all traffic on the release before (rollback)", spread(backs))
    say(f"requests in {rollouts} rollouts and {len(backs)} rollbacks", f"{answers.total()}, lost {lost}")
    say("failed in Traefik's log", str(_failed_in_traefiks_log(stack)))


def _time_rollback(journey: Journey, release: str) -> float:
    given = journey.code("ann")
    deployment = journey.stack.prefect("GET", "/deployments/name/rollback/rollback")["id"]
    parameters = {
        "application": NAME,
        "environment": "production",
        "reason": "measured",
        "administrator": "ann",
        "code": given,
        "release": release,
    }
    clicked = time.time()
    run = journey.stack.prefect("POST", f"/deployments/{deployment}/create_flow_run", json={"parameters": parameters})[
        "id"
    ]
    assert journey.wait_end(run)["type"] == "COMPLETED"
    return journey.entries("site.switched", run=run)[0].at.timestamp() - clicked


def _failed_in_traefiks_log(stack: RunningStack) -> int:
    """Count answers of 500 and above in the access logs of production's sites."""
    failed = 0
    for path in (stack.state / "logs").glob("traefik-production-*.log*"):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("{") and NAME in line:
                failed += json.loads(line).get("DownstreamStatus", 0) >= 500
    return failed


def main() -> None:
    rollouts = 20 if "--full" in sys.argv else 4
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-files-", dir="/tmp"))
    folder.chmod(0o755)
    print("| what | figure |\n| --- | --- |")
    try:
        with a_stack() as stack:
            journey = Journey(stack, folder)
            measure_push_to_ci(journey)
            measure_rollouts(stack, journey, rollouts)
            measure_ci_against_a_script(stack, journey, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
