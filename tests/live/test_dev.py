"""`slipway dev` on the helpdesk: its database, its migrations, its page through the load balancer, and nothing left."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from running_stack import ROOT, RunningStack

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def checkout(stack: RunningStack) -> Path:
    place = stack.home.parent / "checkout" / "helpdesk"
    shutil.copytree(ROOT / "examples" / "helpdesk", place, ignore=shutil.ignore_patterns("__pycache__", ".venv"))
    return place


@pytest.fixture
def dev(stack: RunningStack, checkout: Path) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "deployments.cli", "dev", "--folder", str(checkout)]
    with (
        (checkout.parent / "dev.log").open("w") as log,
        subprocess.Popen(command, cwd=stack.home, env=stack.environ, stdout=log, stderr=log, text=True) as process,
    ):
        yield process
        if process.poll() is None:
            process.kill()


def _page(stack: RunningStack) -> httpx.Response | None:
    port = stack.installation.ports["entry-development-main"]
    headers = {"Host": "helpdesk.localhost"}
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", headers=headers, trust_env=False, timeout=10)
    except httpx.HTTPError:
        return None


def _wait_page(stack: RunningStack, process: subprocess.Popen[str], *, says: str, log: Path) -> None:
    deadline = time.monotonic() + 150
    while True:
        page = _page(stack)
        if page is not None and page.status_code == 200 and says in page.text:
            return
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)


def _works_in(folder: Path) -> list[int]:
    found: list[int] = []
    for process in psutil.process_iter(["cwd"]):
        if str(process.info["cwd"] or "").startswith(str(folder)):
            found.append(process.pid)
    return found


def test_the_application_answers_with_its_database_follows_its_files_and_leaves_nothing(
    stack: RunningStack, checkout: Path, dev: subprocess.Popen[str]
) -> None:
    log = checkout.parent / "dev.log"
    _wait_page(stack, dev, says="Helpdesk", log=log)
    assert "migrated" in log.read_text()
    page = checkout / "helpdesk" / "templates" / "base.html"
    page.write_text(page.read_text().replace("{{ desk_title }}", "Deskhelp"))
    _wait_page(stack, dev, says="Deskhelp", log=log)
    dev.send_signal(signal.SIGINT)
    assert dev.wait(timeout=60) == 0, log.read_text()
    assert _works_in(checkout) == []
    assert (found := _page(stack)) is not None and found.status_code == 404, "its route is gone"


def test_the_environment_is_printed_for_a_shell(stack: RunningStack, checkout: Path) -> None:
    program = 'eval "$(python -m deployments.cli dev --print-env --folder "$1")" && env'
    environ = {**stack.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", program, "sh", str(checkout)],
        cwd=stack.home,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert variables["SLIPWAY_ENVIRONMENT"] == "development" and variables["HELPDESK_DRAIN_S"] == "2"
    with psycopg.connect(variables["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("helpdesk_development",)


def test_a_check_runs_as_in_ci_and_says_why_it_is_red(stack: RunningStack, checkout: Path) -> None:
    words = ("dev", "--folder", str(checkout), "--check")
    unknown = stack.slipway(*words, "speed")
    assert unknown.returncode == 1 and "Use one of: unit, integration" in unknown.stderr
    mine = checkout / "tests" / "unit" / "test_of_the_developer.py"
    mine.write_text("def test_it():\n    assert 'red' == 'green'\n")
    red = stack.slipway(*words, "unit")
    assert red.returncode == 1 and "unit: failed" in red.stdout and "test_of_the_developer" in red.stdout, red.stdout
    mine.unlink()
    assert not list((stack.state / "work").glob("dev-*"))


def test_without_a_file_it_says_where_it_looked(stack: RunningStack, tmp_path: Path) -> None:
    done = stack.slipway("dev", "--folder", str(tmp_path))
    assert done.returncode == 1 and "No slipway.toml" in done.stderr and "Traceback" not in done.stderr
