"""The command line starts without Prefect, which reads its settings once, before `slipway up` says what they are."""

import subprocess
import sys
from pathlib import Path


def test_before_the_first_up_the_command_line_has_not_imported_prefect(tmp_path: Path) -> None:
    program = "import sys, deployments.cli, deployments.stack.up; sys.exit('prefect' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env={"PATH": "/usr/bin:/bin", "SLIPWAY_STATE": str(tmp_path / "none"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr or "prefect was imported"
