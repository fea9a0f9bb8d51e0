"""The systemd unit: what it says, for which installation, and that systemd reads it so."""

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.commands.systemd import render_unit
from domain.errors import ConfigError

STATE = Path("/var/lib/slip%way")


@pytest.fixture
def unit() -> str:
    return render_unit(state=STATE, program=Path("/bin/true"), user="root")


def test_it_watches_supervisor_and_leaves_what_serves_alone(unit: str) -> None:
    read = configparser.ConfigParser(interpolation=None, strict=True)
    read.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    read.read_string(unit)
    service = dict(read["Service"])
    assert service["ExecStart"] == "/bin/true up" and service["ExecStop"] == "/bin/true down"
    assert service["PIDFile"] == "/var/lib/slip%%way/supervisor/supervisord.pid"
    assert (service["Type"], service["KillMode"], service["Restart"]) == ("forking", "process", "always")
    assert "@" not in unit and read["Install"]["WantedBy"] == "multi-user.target"


def test_systemd_itself_finds_nothing_wrong(unit: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze is missing: .ci/run installs it")
        pytest.skip("no systemd-analyze on this machine: install the package systemd")
    path = tmp_path / "slipway.service"
    path.write_text(unit)
    done = subprocess.run([analyze, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "slipway.service" in line]
    assert done.returncode == 0 and ours == []
    path.write_text(unit.replace("KillMode=process", "KillMode=proces"))
    done = subprocess.run([analyze, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False)
    assert "slipway.service" in done.stdout + done.stderr


def test_a_path_that_systemd_would_misread_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot stand in a systemd unit"):
        render_unit(state=Path("/var/lib/my slipway"), program=Path("/bin/true"), user="root")


def test_the_command_prints_the_unit_of_this_installation(open_tmp: Path) -> None:
    environ = {**os.environ, "SLIPWAY_STATE": str(open_tmp)}
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "systemd"], env=environ, capture_output=True, text=True, check=True
    )
    assert f"Environment=SLIPWAY_STATE={open_tmp}" in done.stdout
    assert f"ExecStart={Path(sys.executable).parent}/slipway up" in done.stdout
