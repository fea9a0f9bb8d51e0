"""What a runner promises, in memory and with real processes; and how a command fails to get away from the real one."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from fixtures_ci import make_installation
from needs_bubblewrap import needs_bubblewrap

from blocks.client_settings import lend_settings, passed_variables
from blocks.databases_postgres import PostgresDatabases
from blocks.installation import Users
from blocks.memory_runner import Answer, Call, MemoryRunner
from blocks.runner_local import LocalRunner
from domain.ports import Runner
from domain.service import Outcome

PATH = {"PATH": os.path.dirname(sys.executable)}  # noqa: PTH120


def say(call: Call) -> Answer:
    return Answer(output="\n".join([*call.arguments, call.environment.get("WORD", "")]))


PROGRAMS: dict[str, Callable[[Call], Answer]] = {
    "true": lambda call: Answer(),
    "false": lambda call: Answer(exit_code=1),
    "sleep": lambda call: Answer(seconds=float(call.arguments[0])),
    "echo": say,
}


@pytest.fixture
def local(open_tmp: Path, open_tmp_root: Path, users: Users) -> LocalRunner:
    state = open_tmp / "state"
    state.mkdir(mode=0o711)
    make_installation(state, users, open_tmp_root / "binaries")
    return LocalRunner(state=str(state))


@pytest.fixture(params=["memory", "local"])
def runner(request: pytest.FixtureRequest) -> Runner:
    if request.param == "memory":
        return MemoryRunner(PROGRAMS)
    return request.getfixturevalue("local")


def run(runner: Runner, *command: str, directory: Path, limit_s: float = 20, log: Path | None = None) -> Outcome:
    return runner.run(command, directory=directory, environment={}, limit_s=limit_s, log=log)


def test_a_command_ends_with_its_exit_code(runner: Runner, open_tmp: Path):
    assert run(runner, "true", directory=open_tmp).is_ok
    failed = run(runner, "false", directory=open_tmp)
    assert failed.exit_code == 1 and not failed.is_ok and not failed.timed_out


def test_output_is_in_the_log_and_its_end_in_the_outcome(runner: Runner, open_tmp: Path):
    ended = run(runner, "echo", "hello", directory=open_tmp, log=open_tmp / "log")
    assert "hello" in ended.tail and "hello" in (open_tmp / "log").read_text()


def test_the_limit_ends_a_command(runner: Runner, open_tmp: Path):
    ended = run(runner, "sleep", "100", directory=open_tmp, limit_s=0.3)
    assert ended.timed_out and not ended.is_ok and 0.2 < ended.seconds < 10


def test_a_command_that_is_not_there_is_an_outcome(runner: Runner, open_tmp: Path):
    ended = run(runner, "no-such-command", directory=open_tmp)
    assert ended.exit_code == 127 and "no-such-command" in ended.tail


def test_folders_come_and_go(runner: Runner):
    folder = runner.folder("work-1")
    (folder / "file").write_text("x")
    assert runner.folder("work-1") == folder and (folder / "file").exists()
    runner.remove_folder("work-1")
    runner.remove_folder("work-1")
    assert not folder.exists()


# What only real processes can show.

ESCAPES = {
    "a child in a session of its own": "subprocess.Popen(['sleep', MARK], start_new_session=True)",
    "a daemon forked twice": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp('sleep', ['sleep', MARK])
    os._exit(0)
os.wait()""",
    "a child that ignores every signal it can": """
if os.fork() == 0:
    for number in range(1, 32):
        if number not in (9, 19):
            signal.signal(number, signal.SIG_IGN)
    os.execvp('sleep', ['sleep', MARK])""",
    "children that start children": """
for _ in range(20):
    subprocess.Popen(['sh', '-c', 'sleep ' + MARK + ' & sleep ' + MARK], start_new_session=True)""",
}


@pytest.fixture
def mark() -> Generator[str]:
    """A number of seconds that tells the sleeping processes of one test from all others."""
    mark = str(5_000_000 + os.getpid() * 100 + int(time.monotonic() * 10) % 100)
    yield mark
    for process in sleepers(mark):
        process.kill()


def sleepers(mark: str) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["cmdline"]):
        if mark in (process.info["cmdline"] or []):
            found.append(process)
    return found


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("ends", ["by itself", "at the limit"])
def test_no_child_survives(local: LocalRunner, open_tmp: Path, mark: str, escape: str, ends: str):
    rest = "time.sleep(0.3)" if ends == "by itself" else "time.sleep(1000)"
    program = f"import os, signal, subprocess, time\nMARK = {mark!r}\n{ESCAPES[escape]}\n{rest}\n"
    (open_tmp / "escape.py").write_text(program)
    ended = run(local, "python3", "escape.py", directory=open_tmp, limit_s=20 if ends == "by itself" else 1)
    assert ended.timed_out == (ends == "at the limit"), ended
    assert not sleepers(mark)


def test_children_end_when_the_runner_itself_is_killed(local: LocalRunner, open_tmp: Path, mark: str):
    user = local.installation.users.build
    program = f"""
from pathlib import Path
from blocks.guarded import Guarded, Order
command = ["sh", "-c", "setsid sleep {mark} & sleep {mark}"]
Guarded(Order(command, Path({str(open_tmp)!r}), {{"PATH": "/usr/bin:/bin"}}, user={user!r})).wait()
"""
    owner = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while len(sleepers(mark)) < 2:
        assert time.monotonic() < deadline and owner.poll() is None
        time.sleep(0.05)
    owner.kill()
    owner.wait()
    while sleepers(mark):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_fork_bomb_ends_at_the_limit(local: LocalRunner, open_tmp: Path, mark: str):
    if local.installation.users.build is None and not local.isolation().processes:
        pytest.skip("an ordinary user's processes are not counted apart: nothing would bound the bomb")
    local.processes_max = 60
    (open_tmp / "bomb.sh").write_text(f"bomb() {{ sleep {mark} & bomb | bomb & }}; bomb; sleep 100")
    ended = run(local, "sh", "bomb.sh", directory=open_tmp, limit_s=1)
    assert ended.timed_out and not sleepers(mark)


def test_only_listed_variables_pass(local: LocalRunner, open_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-1")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "secret-2")
    monkeypatch.setenv("SLIPWAY_STATE", "/somewhere")
    ended = local.run(["env"], directory=open_tmp, environment={"GIVEN": "yes"}, limit_s=10)
    assert "PIP_INDEX_URL=https://index.example/simple" in ended.tail and "GIVEN=yes" in ended.tail
    assert "secret" not in ended.tail and "SLIPWAY_STATE" not in ended.tail


def test_commands_are_the_build_user_and_leave_no_home_behind(local: LocalRunner, open_tmp: Path):
    program = "touch $HOME/a $TMPDIR/b && cd && pwd && id -un && umask"
    ended = run(local, "sh", "-c", program, directory=open_tmp)
    home, who, umask = ended.tail.splitlines()
    assert not Path(home).exists() and Path(home).parent.name == "work"
    assert umask == "0022"
    if local.installation.users.build:
        assert who == local.installation.users.build


def test_a_command_cannot_write_where_nothing_was_handed_over(local: LocalRunner, open_tmp: Path):
    if local.installation.users.build is None:
        pytest.skip("an ordinary user has no other user to run commands as")
    folder = local.folder("ci-1")
    (folder / "source").mkdir()
    assert not run(local, "touch", "x", directory=folder / "source").is_ok
    (folder / "source" / "link").symlink_to("/etc/hostname")
    local.hand_over(folder / "source")
    assert run(local, "touch", "x", directory=folder / "source").is_ok
    assert Path("/etc/hostname").stat().st_uid == 0


def test_nobody_gains_privileges(local: LocalRunner, open_tmp: Path):
    ended = run(local, "grep", "NoNewPrivs", "/proc/self/status", directory=open_tmp)
    assert ended.tail.split() == ["NoNewPrivs:", "1"]


def test_endless_output_is_bounded(local: LocalRunner, open_tmp: Path):
    ended = run(local, "sh", "-c", "yes abc | head -c 60000000; echo the end", directory=open_tmp, log=open_tmp / "log")
    assert ended.is_ok and ended.tail.endswith("the end") and len(ended.tail) < 20_000
    text = (open_tmp / "log").read_bytes()
    assert len(text) < 21_000_000 and b"left out" in text and text.rstrip().endswith(b"the end")


def test_an_environment_and_its_secrets_show_in_no_command_line(local: LocalRunner, open_tmp: Path):
    """Anybody on the machine can list command lines."""
    (open_tmp / "look.py").write_text(
        "import glob, os\n"
        "def read(path):\n"
        "    try:\n"
        "        return open(path, 'rb').read()\n"
        "    except OSError:\n"
        "        return b''\n"
        "lines = [read(path) for path in glob.glob('/proc/[0-9]*/cmdline')]\n"
        "print(sum(os.environb[b'X'] in line for line in lines), any(lines))\n"
    )
    ended = local.run(["python3", "look.py"], directory=open_tmp, environment={"X": "hunter2-2"}, limit_s=10)
    assert ended.tail.strip() == "0 True"


def test_files_that_settings_name_are_lent_to_the_build(
    local: LocalRunner, open_tmp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tmp_path.chmod(0o700)
    certificate = tmp_path / "ca.pem"
    certificate.write_text("a certificate")
    certificate.chmod(0o600)
    home = tmp_path / "home"
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text(f"[global]\nindex-url = https://u:p@h/simple\ncert = {certificate}\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
    monkeypatch.setenv("PIP_CERT", str(certificate))
    program = "cat $PIP_CERT $PIP_CONFIG_FILE $(grep ^cert $PIP_CONFIG_FILE | cut -d= -f2); stat -c %a $PIP_CONFIG_FILE"
    ended = run(local, "sh", "-c", program, directory=open_tmp)
    assert ended.is_ok, ended.tail
    assert ended.tail.count("a certificate") == 2 and "https://u:p@h/simple" in ended.tail
    assert ended.tail.endswith("600")


def test_patterns_choose_variables():
    environment = {"PIP_A": "1", "PIPX": "2", "http_proxy": "3", "SECRET": "4"}
    assert passed_variables(["PIP_*", "http_proxy"], environment) == {"PIP_A": "1", "http_proxy": "3"}
    assert passed_variables([], environment) == {}


def test_an_ordinary_user_reads_its_own_files_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    lent = lend_settings({"PIP_CONFIG_FILE": os.devnull, "PIP_CERT": "/x/y"}, tmp_path, None)
    assert lent == {"PIP_CONFIG_FILE": os.devnull, "PIP_CERT": "/x/y"}


def test_a_command_gives_way_to_what_serves_beside_it(local: LocalRunner, open_tmp: Path):
    mine = os.nice(0)
    outcome = run(local, "/bin/sh", "-c", "nice", directory=open_tmp)
    assert int(outcome.tail.strip()) == min(19, mine + 10)


@pytest.mark.parametrize("bubblewrap", ["bwrap", ""])
def test_a_command_that_fills_the_disk_is_ended_with_the_figure(local: LocalRunner, open_tmp: Path, bubblewrap: str):
    local.bubblewrap, local.disk_gib = bubblewrap, 0.1
    folder = local.folder("ci-1")
    (folder / "source").mkdir()
    local.hand_over(folder / "source")
    fill = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); head -c 20000000 /dev/zero > f$i; sleep 0.05; done; sleep 60"
    ended = run(local, "sh", "-c", fill, directory=folder / "source", limit_s=60)
    assert not ended.is_ok and not ended.timed_out
    assert "GB, 0.11 GB are allowed" in ended.tail


def test_many_processes_that_fill_the_memory_together_are_ended_with_the_figure(local: LocalRunner, open_tmp: Path):
    local.memory_ratio_max = 300e6 / psutil.virtual_memory().total
    folder = local.folder("ci-1")
    (folder / "source").mkdir()
    local.hand_over(folder / "source")
    one = "import time; held = bytearray(b'x') * 60_000_000; time.sleep(50)"
    each = f'for n in 1 2 3 4 5 6 7 8; do {local.installation.python} -c "{one}" & done; wait'
    ended = run(local, "sh", "-c", each, directory=folder / "source", limit_s=60)
    assert not ended.is_ok and not ended.timed_out
    assert "of memory, 0.30 GB are allowed" in ended.tail


@needs_bubblewrap
def test_a_command_sees_neither_the_state_nor_other_processes_and_no_network(local: LocalRunner, open_tmp: Path):
    local.installation.folder("secrets")
    (local.installation.state / "secrets" / "key").write_text("x")
    (local.installation.state / "secrets" / "key").chmod(0o644)
    folder = local.folder("ci-1")
    (folder / "source").mkdir()
    look = f"ls {local.installation.state}/secrets; ls /proc | grep -c '^[0-9]'; grep -c : /proc/net/dev; hostname"
    ended = run(local, "sh", "-c", look, directory=folder / "source")
    first, processes, devices, _ = ended.tail.splitlines()
    assert "No such file" in first and int(processes) < 10 and devices == "1"


@needs_bubblewrap
def test_a_server_beside_a_check_is_found_at_its_port_and_nothing_else_is(local: LocalRunner, open_tmp: Path):
    databases = PostgresDatabases(state=str(local.installation.state))
    folder = local.folder("ci-1")
    (folder / "source").mkdir()
    knock = (
        "import os, socket\n"
        "def knock(port):\n"
        "    try:\n"
        "        with socket.create_connection(('127.0.0.1', port), 5) as s:\n"
        "            s.sendall(bytes([0, 0, 0, 8, 4, 210, 22, 47]))\n"
        "            return s.recv(1).decode()\n"
        "    except OSError as error:\n"
        "        return type(error).__name__\n"
        "print(*map(knock, map(int, os.environ['KNOCK'].split())))"
    )
    with databases.throwaway(folder / "beside") as url, socket.create_server(("127.0.0.1", 0)) as ours:
        ports = f"{urlsplit(url).port} {ours.getsockname()[1]}"
        ended = local.run(
            ["python3", "-c", knock],
            directory=folder / "source",
            environment={"KNOCK": ports},
            limit_s=30,
            servers=folder / "beside",
        )
    assert ended.tail.split() == ["N", "ConnectionRefusedError"], "the answer to 'do you speak TLS' is no"


def test_where_bubblewrap_is_missing_that_is_said_and_commands_still_run(local: LocalRunner, open_tmp: Path):
    local.bubblewrap = "no-such-program"
    isolation = local.isolation()
    assert "filesystem" in isolation.missing and "apt install bubblewrap" in isolation.reason
    assert run(local, "true", directory=open_tmp).is_ok


@pytest.mark.parametrize("network", [False, True])
def test_a_build_s_whole_environment_holds_no_secret(
    local: LocalRunner, open_tmp: Path, monkeypatch: pytest.MonkeyPatch, network: bool
):
    secrets = ("PREFECT_API_AUTH_STRING", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "SLIPWAY_STATE", "GITHUB_TOKEN")
    for name in secrets:
        monkeypatch.setenv(name, "s3cret")
    ended = local.run(["env"], directory=open_tmp, environment={}, limit_s=20, network=network)
    names = {line.partition("=")[0] for line in ended.tail.splitlines() if "=" in line}
    assert "s3cret" not in ended.tail and not names & set(secrets), ended.tail
