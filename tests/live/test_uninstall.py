"""A whole installation is taken away: nothing of it is left but the data that somebody asked to keep."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest
from running_stack import RunningStack, copy_home, stack_environ

from blocks.identity import missing_users, remove_user
from blocks.processes import stack_members
from deployments.stack.removal import find_units
from domain.canonical import canonical_json, sha256_hex

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


def _mentions(state: Path) -> list[str]:
    lines = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
    return [line for line in lines if f"{state}/" in line]


def test_nothing_is_left_and_the_data_is_kept_where_it_was_asked_for() -> None:
    folder = Path(tempfile.mkdtemp(prefix="slipway-uninstall-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        stack = RunningStack(home=copy_home(folder), state=folder / "state", environ=stack_environ(folder / "state"))
        others = missing_users()
        done = stack.slipway("up")
        assert done.returncode == 0, done.stdout + done.stderr
        sockets, kept = stack.installation.sockets, folder / "kept"
        assert sockets.exists()
        asked = stack.slipway("uninstall")
        assert asked.returncode == 1 and "--yes" in asked.stderr and stack.slipway("status").returncode == 0
        gone = stack.slipway("uninstall", "--yes", "--keep-data", str(kept), "--keep-users")
        assert gone.returncode == 0, gone.stdout + gone.stderr
        assert stack_members(stack.state) == [] and _mentions(stack.state) == []
        assert not stack.state.exists() and not sockets.exists()
        assert missing_users() == [] or os.geteuid() != 0, "asked to stay"
        assert {path.name for path in folder.iterdir()} == {"home", "kept"}
        assert {"slipway_ledger.dump", "prefect.dump", "ledger.jsonl", "credentials.json"} <= {
            path.name for path in kept.iterdir()
        }
        assert all(path.stat().st_mode & 0o077 == 0 for path in (kept, *kept.glob("*.dump"), kept / "credentials.json"))
        _assert_chain(kept / "ledger.jsonl")
        for name in others:  # this test made them
            assert remove_user(name) == ""
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _assert_chain(file: Path) -> None:
    """The text can be verified by whoever has it: each hash covers the one before and the entry as it stands there."""
    before = "0" * 64
    for line in file.read_text().splitlines():
        kept = json.loads(line)
        assert kept["prev_hash"] == before
        before = sha256_hex(f"{before}\n{canonical_json(kept['entry'])}")
        assert kept["hash"] == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users")
def test_a_user_goes_unless_a_process_of_theirs_runs() -> None:
    name = f"slipway-t{os.getpid()}"
    subprocess.run(["useradd", "--system", "--no-create-home", name], check=True)
    with subprocess.Popen(["/bin/sleep", "60"], user=name) as process:
        assert name in remove_user(name)
        process.kill()
    assert remove_user(name) == "" and remove_user(name) == ""


def test_only_units_of_this_installation_are_found(tmp_path: Path) -> None:
    state, home = Path("/var/lib/slipway-a"), Path("/opt/slipway")
    up = "ExecStart=/opt/slipway/.venv/bin/slipway up\n"
    for name, text in {
        "slipway.service": f"Environment=SLIPWAY_STATE={state}\n{up}",
        "slipway-b.service": f"Environment=SLIPWAY_STATE=/var/lib/slipway-b\n{up}",
        "slipway-c.service": up,
        "other.service": f"Environment=SLIPWAY_STATE={state}\n",
    }.items():
        (tmp_path / name).write_text(text)
    found = {path.name for path in find_units(state, folder=tmp_path, home=home)}
    assert found == {"slipway.service", "slipway-c.service"}
