"""Groups of programs under a real supervisor: added, changed, restarted, taken away."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import pytest

from blocks.identity import is_root
from blocks.installation import Users
from blocks.log_rotation import rotate_logs
from blocks.processes import Member, stack_members
from blocks.supervisor import Program, Supervisor
from domain.errors import ConfigError, TransientError

AWKWARD = "a b ; c # d % e \" f ' g \n h , i %(ENV_HOME)s \\"


def _sleeper(open_tmp: Path, name: str = "sleeper", **settings: object) -> Program:
    log = open_tmp / f"{name}.log"
    values: dict[str, object] = {"command": ("/bin/sleep", "1000"), "directory": Path("/"), "log": log, **settings}
    return Program(name=name, **values)  # pyright: ignore[reportArgumentType]


def _until(condition: Callable[[], object], *, limit_s: float = 15) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def _pids(supervisor: Supervisor, group: str) -> list[int]:
    return [process.pid for process in supervisor.processes(group) if process.is_running and process.pid]


def test_a_group_is_added_once_and_taken_away(supervisor: Supervisor, open_tmp: Path) -> None:
    programs = [_sleeper(open_tmp, "one"), _sleeper(open_tmp, "two")]
    assert supervisor.add_group("work", programs)
    _until(lambda: len(_pids(supervisor, "work")) == 2)
    before = _pids(supervisor, "work")
    assert not supervisor.add_group("work", programs)
    assert _pids(supervisor, "work") == before
    supervisor.remove_group("work")
    assert supervisor.processes() == [] and not any(psutil.pid_exists(pid) for pid in before)
    supervisor.remove_group("work")
    assert supervisor.desired_groups() == []


def test_other_settings_start_the_group_anew(supervisor: Supervisor, open_tmp: Path) -> None:
    supervisor.add_group("work", [_sleeper(open_tmp, environment={"A": "1"})])
    _until(lambda: _pids(supervisor, "work"))
    before = _pids(supervisor, "work")
    assert supervisor.add_group("work", [_sleeper(open_tmp, environment={"A": "2"})])
    _until(lambda: _pids(supervisor, "work"))
    assert _pids(supervisor, "work") != before and not psutil.pid_exists(before[0])


def test_the_process_gets_exactly_its_environment_and_no_ignored_signal(
    supervisor: Supervisor, open_tmp: Path, users: Users
) -> None:
    out = open_tmp / "out"
    out.mkdir()
    out.chmod(0o777)
    script = (
        f"cat /proc/self/environ > {out}/environ; id -u > {out}/uid; cat /proc/self/status > {out}/status; sleep 1000"
    )
    given = {"AWKWARD": AWKWARD, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    program = _sleeper(open_tmp, command=("/bin/sh", "-c", script), environment=given, user=users.service)
    supervisor.add_group("work", [program])
    _until(lambda: (out / "status").exists() and "SigIgn" in (out / "status").read_text())
    pairs = (pair.split("=", 1) for pair in (out / "environ").read_text().split("\0") if pair)
    environment = dict(pairs)
    assert environment.pop("SLIPWAY_STACK") == str(open_tmp)
    assert (environment.pop("SUPERVISOR_GROUP_NAME"), environment.pop("SUPERVISOR_PROCESS_NAME")) == ("work", "sleeper")
    assert {key: value for key, value in environment.items() if key != "PWD"} == given  # PWD: the shell's own
    ignored = next(line for line in (out / "status").read_text().splitlines() if line.startswith("SigIgn"))
    assert int(ignored.split()[1], 16) & 0x7FFF_FFFF == 0  # 32 and 33 are the C library's own
    assert (out / "uid").read_text().strip() != "0" or not is_root()


def test_secrets_are_in_no_command_line_and_in_no_readable_file(supervisor: Supervisor, open_tmp: Path) -> None:
    supervisor.add_group("work", [_sleeper(open_tmp, environment={"PASSWORD": "hunter2-hunter2"})])
    _until(lambda: _pids(supervisor, "work"))
    assert "hunter2" not in " ".join(psutil.Process(_pids(supervisor, "work")[0]).cmdline())
    holders = [p for p in supervisor.folder.rglob("*") if p.is_file() and "hunter2" in p.read_text()]
    assert [p.name for p in holders] == ["sleeper.json"] and holders[0].stat().st_mode & 0o077 == 0


def test_a_killed_program_is_back(supervisor: Supervisor, open_tmp: Path) -> None:
    supervisor.add_group("work", [_sleeper(open_tmp)])
    _until(lambda: _pids(supervisor, "work"))
    (first,) = _pids(supervisor, "work")
    os.kill(first, signal.SIGKILL)
    _until(lambda: _pids(supervisor, "work") not in ([], [first]))


def test_a_program_that_never_stays_up_is_failed_after_its_attempts(supervisor: Supervisor, open_tmp: Path) -> None:
    command = ("/bin/sh", "-c", "printf 'I am \\033[1mbroken\\007\\n'; exit 3")
    supervisor.add_group("work", [_sleeper(open_tmp, command=command, start_attempts=1)])
    _until(lambda: supervisor.processes("work")[0].state == "FATAL")
    assert "broken" in supervisor.tail("work", "sleeper")


def test_a_group_that_ignores_the_signal_is_killed_with_its_children(supervisor: Supervisor, open_tmp: Path) -> None:
    command = ("/bin/sh", "-c", "trap '' TERM; sleep 1001 & wait; sleep 1002")
    supervisor.add_group("work", [_sleeper(open_tmp, command=command, stop_limit_s=1)])
    _until(lambda: _pids(supervisor, "work") and psutil.Process(_pids(supervisor, "work")[0]).children())
    family = [psutil.Process(pid) for pid in _pids(supervisor, "work")]
    family += family[0].children()
    supervisor.remove_group("work")
    _until(lambda: not any(one.is_running() and one.status() != "zombie" for one in family))


def test_no_supervisor_is_a_clear_refusal(open_tmp: Path) -> None:
    absent = Supervisor(socket=open_tmp / "none.sock", folder=open_tmp, python=Path("/usr/bin/python3"))
    assert not absent.is_up()
    with pytest.raises(TransientError, match=r"does not answer at .*none\.sock.* Run `slipway up`"):
        absent.processes()


def test_a_path_that_would_be_cut_is_refused(open_tmp: Path) -> None:
    odd = Supervisor(socket=open_tmp / "s", folder=open_tmp / "a ;b", python=Path("/usr/bin/python3"))
    with pytest.raises(ConfigError, match="cannot stand in supervisor's configuration"):
        odd.write_group("work", [_sleeper(open_tmp)])


def test_supervisor_keeps_no_stream_of_its_starter(open_tmp: Path, supervisor: Supervisor) -> None:
    """A reader of `slipway up | cat` sees its end although supervisor lives on."""
    other = Supervisor(socket=open_tmp / "t.sock", folder=open_tmp / "other", python=supervisor.python)
    code = "import sys;from pathlib import Path;from blocks.supervisor import Supervisor;"
    code += (
        f"Supervisor(socket=Path('{other.socket}'),folder=Path('{other.folder}'),python=Path(sys.executable)).boot()"
    )
    subprocess.run([os.sys.executable, "-c", code], capture_output=True, check=True, timeout=30)  # pyright: ignore
    process = psutil.Process(other.pid())
    other.shutdown()
    process.wait(timeout=20)


def test_a_log_is_rotated_while_it_is_written_and_stays_bounded(supervisor: Supervisor, open_tmp: Path) -> None:
    script = (
        "i=0; while [ $i -lt 400 ]; do echo line-number-$i; i=$((i+1)); done; "
        f"while [ ! -e {open_tmp}/go ]; do sleep 0.1; done; echo afterwards; sleep 1000"
    )
    program = _sleeper(open_tmp, command=("/bin/sh", "-c", script), log_size_bytes_max=1500, log_backups=2)
    supervisor.add_group("work", [program])
    _until(lambda: "line-number-399" in supervisor.tail("work", "sleeper"))
    assert rotate_logs(supervisor.folder) == [program.log]
    assert rotate_logs(supervisor.folder) == []
    (open_tmp / "go").touch()
    _until(lambda: program.log.read_text() == "afterwards\n")
    assert "line-number-399" in supervisor.tail("work", "sleeper")
    assert sorted(path.name for path in open_tmp.glob("sleeper.log*")) == ["sleeper.log", "sleeper.log.1"]
    for _ in range(3):
        program.log.write_text("x" * 2000)
        rotate_logs(supervisor.folder)
    assert len(list(open_tmp.glob("sleeper.log*"))) == 3


@pytest.fixture
def successor(supervisor: Supervisor) -> Generator[Callable[[], Supervisor]]:
    """Kill the supervisor, and start another one in its place; ended with the test."""

    def replace() -> Supervisor:
        pid = supervisor.pid()
        os.kill(pid, signal.SIGKILL)
        _until(lambda: not supervisor.is_up())
        supervisor.boot()
        return supervisor

    yield replace
    for group in supervisor.groups():
        supervisor.remove_group(group)


def test_a_killed_supervisors_program_lives_on_writes_its_log_and_is_adopted(
    supervisor: Supervisor, open_tmp: Path, users: Users, successor: Callable[[], Supervisor]
) -> None:
    script = f"while true; do [ -e {open_tmp}/go ] && echo alive-$(id -u); sleep 0.1; done"
    program = _sleeper(open_tmp, command=("/bin/sh", "-c", script), user=users.service)
    supervisor.add_group("work", [program])
    _until(lambda: _pids(supervisor, "work"))
    (before,) = _pids(supervisor, "work")
    successor()
    assert supervisor.living() == {"work": [before]}
    assert [(process.state, process.pid) for process in supervisor.processes("work")] == [("STOPPED", before)]
    supervisor.add_group("work", [program])
    _until(lambda: _pids(supervisor, "work") == [before])
    (open_tmp / "go").touch()
    _until(lambda: "alive-" in program.log.read_text())
    supervisor.remove_group("work")
    assert _has_ended(before) and supervisor.living() == {}


def test_an_adopted_program_that_ends_is_started_again_and_once(
    supervisor: Supervisor, open_tmp: Path, successor: Callable[[], Supervisor]
) -> None:
    supervisor.add_group("work", [_sleeper(open_tmp)])
    _until(lambda: _pids(supervisor, "work"))
    (before,) = _pids(supervisor, "work")
    for _ in range(2):  # the second supervisor finds a guardian of the first one, too
        successor()
        supervisor.start("work")
        _until(lambda: _pids(supervisor, "work") == [before])
    os.kill(before, signal.SIGKILL)
    _until(lambda: _pids(supervisor, "work") not in ([], [before]))
    _until(lambda: len(_sleepers(open_tmp)) == 1)


def test_a_killed_guardian_starts_nothing_twice(
    supervisor: Supervisor, open_tmp: Path, successor: Callable[[], Supervisor]
) -> None:
    supervisor.add_group("work", [_sleeper(open_tmp)])
    _until(lambda: _pids(supervisor, "work"))
    (before,) = _pids(supervisor, "work")
    successor()
    supervisor.start("work")
    _until(lambda: len(_guardians(open_tmp)) == 1)
    (guardian,) = _guardians(open_tmp)
    guardian.kill()
    _until(lambda: [one.pid for one in _guardians(open_tmp)] not in ([], [guardian.pid]))
    _until(lambda: _pids(supervisor, "work") == [before])
    assert len(_sleepers(open_tmp)) == 1


def test_what_runs_with_other_settings_is_ended_not_adopted(
    supervisor: Supervisor, open_tmp: Path, successor: Callable[[], Supervisor]
) -> None:
    supervisor.add_group("work", [_sleeper(open_tmp, environment={"A": "1"})])
    _until(lambda: _pids(supervisor, "work"))
    (before,) = _pids(supervisor, "work")
    successor()
    supervisor.add_group("work", [_sleeper(open_tmp, environment={"A": "2"})])
    _until(lambda: _pids(supervisor, "work") not in ([], [before]))
    assert psutil.Process(_pids(supervisor, "work")[0]).environ()["A"] == "2" and _has_ended(before)


def test_an_adopted_group_that_ignores_the_signal_is_killed_with_its_children(
    supervisor: Supervisor, open_tmp: Path, successor: Callable[[], Supervisor]
) -> None:
    command = ("/bin/sh", "-c", "trap '' TERM; sleep 1003 & wait; sleep 1004")
    program = _sleeper(open_tmp, command=command, stop_limit_s=1, stop_children=True)
    supervisor.add_group("work", [program])
    _until(lambda: _pids(supervisor, "work") and psutil.Process(_pids(supervisor, "work")[0]).children())
    family = [psutil.Process(pid) for pid in _pids(supervisor, "work")]
    family += family[0].children()
    successor()
    supervisor.start("work")
    _until(lambda: len(_guardians(open_tmp)) == 1)
    supervisor.remove_group("work")
    _until(lambda: not any(one.is_running() and one.status() != "zombie" for one in family))


def test_a_pid_that_was_given_to_somebody_else_is_nobody_of_ours(supervisor: Supervisor, open_tmp: Path) -> None:
    supervisor.add_group("work", [_sleeper(open_tmp)])
    _until(lambda: _pids(supervisor, "work"))
    record = supervisor.folder / "launch" / "work" / "sleeper.pid"
    known = json.loads(record.read_text())
    supervisor.stop("work")
    with subprocess.Popen(["/bin/sleep", "300"]) as bystander:
        record.write_text(json.dumps({**known, "pid": bystander.pid}))
        assert supervisor.living() == {}
        supervisor.start("work")
        _until(lambda: _pids(supervisor, "work") not in ([], [bystander.pid]))
        assert bystander.poll() is None
        bystander.kill()


def _has_ended(pid: int) -> bool:
    """Whether a process is over; nobody may have buried it yet, where init does not."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def _sleepers(open_tmp: Path) -> list[Member]:
    return [one for one in stack_members(open_tmp) if one.part == "work" and not one.is_guardian]


def _guardians(open_tmp: Path) -> list[psutil.Process]:
    return [one.process for one in stack_members(open_tmp) if one.is_guardian]
