"""Children run as other users when root, with an interpreter that these can run."""

import subprocess
from pathlib import Path

import pytest

from blocks.identity import _copy_python, as_user, can_run, find_python, give, give_all, is_root
from blocks.installation import Users
from domain.errors import ConfigError

needs_root = pytest.mark.skipif(not is_root(), reason="only root can start children as other users")


@needs_root
def test_a_child_really_is_the_other_user(users: Users) -> None:
    done = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True, **as_user(users.build))
    assert done.stdout.strip() == "slipway-build"
    done = subprocess.run(["id", "-G"], capture_output=True, text=True, check=True, **as_user(users.build))
    assert "0" not in done.stdout.split()


@needs_root
def test_unknown_users_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="No user 'slipway-nobody'"):
        as_user("slipway-nobody")


def test_the_interpreter_found_runs_as_that_user(users: Users, open_tmp: Path) -> None:
    python = find_python(users.build, copy_to=open_tmp / "python")
    assert can_run([str(python), "-m", "venv", "--help"], users.build)


def test_a_copied_interpreter_makes_venvs(users: Users, open_tmp: Path) -> None:
    home = open_tmp / "home"
    home.mkdir()
    give(home, users.build)
    _copy_python(open_tmp / "python")
    python = next((open_tmp / "python" / "bin").iterdir())
    assert can_run([str(python), "-m", "venv", "--without-pip", str(home / "venv")], users.build)
    inner = [str(home / "venv/bin/python"), "-c", "import ssl, sqlite3, sys; assert sys.prefix.endswith('venv')"]
    assert can_run(inner, users.build)


def test_giving_a_folder_gives_all_of_it(users: Users, open_tmp: Path) -> None:
    (open_tmp / "a").mkdir()
    (open_tmp / "a" / "file").write_text("x")
    (open_tmp / "a" / "link").symlink_to("/etc/passwd")
    give_all(open_tmp / "a", users.build)
    owners = {path.lstat().st_uid for path in (open_tmp / "a").iterdir()}
    assert len(owners) == 1 and (owners != {0} or not is_root())
    assert Path("/etc/passwd").stat().st_uid == 0
