"""Other people's code that goes for everything, on a whole stack: what each attack got, one by one.

The program (`tests/hostile.py`) runs where `ci` runs a build step, a test tool's conftest and a check; in bubblewrap
and, as on a machine without it, as another user only.
"""

import json
import shutil
from functools import cache
from pathlib import Path

import hostile
import pytest
from needs_bubblewrap import needs_bubblewrap
from running_stack import RunningStack

from blocks.identity import is_root
from blocks.installation import Installation, read_installation
from blocks.runner_local import LocalRunner
from blocks.supervisor import Supervisor

pytestmark = pytest.mark.live
PROGRAM = Path(hostile.__file__).read_text()
WAYS_IN = {
    "build": {"setup.py": PROGRAM},
    "conftest": {"conftest.py": "import os, sys, hostile\nhostile.main(os.environ['FACTS'])\n", "hostile.py": PROGRAM},
    "check": {"check.py": PROGRAM},
}
COMMANDS = {
    "build": ["python3", "setup.py", "bdist_wheel"],
    "conftest": ["python3", "-c", "import conftest"],
    "check": ["python3", "check.py"],
}


def make_loot(state: Path) -> None:
    """Files of another application, as `ci` and a rollout leave them."""
    for path, mode in (
        (f"{state}/work/ci-other/source/secret.txt", 0o700),
        (f"{state}/releases/other/source/app.py", 0o755),
    ):
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.parent.parent.chmod(0o711 if mode == 0o700 else 0o755)
        place.parent.chmod(mode)
        place.write_text("another application's")


@cache
def attack(state: Path, way: str, bubblewrap: str) -> dict[str, str]:
    """Run the program once by one way in; what each attempt got."""
    installation = read_installation(state)
    runner = LocalRunner(state=str(state), bubblewrap=bubblewrap)
    make_loot(state)
    folder = runner.folder(f"ci-hostile-{way}-{bubblewrap or 'user'}")
    source, log = folder / "source", folder / "log"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()
    for name, text in WAYS_IN[way].items():
        (source / name).write_text(text)
    runner.hand_over(source)
    groups = [path.stem for path in (state / "supervisor" / "groups").glob("*.conf")]
    facts = json.dumps(
        {
            "state": str(state),
            "sockets": str(installation.sockets),
            "ports": {name: port for name, port in installation.ports.items() if name != "instances"},
            "home": str(Path.home()),
            "groups": groups,
            "pids": pids_of(installation),
            "user_only": not bubblewrap,
        }
    )
    command = COMMANDS[way] if way == "conftest" else [*COMMANDS[way], facts]
    ended = runner.run(command, directory=source, environment={"FACTS": facts}, limit_s=240, log=log)
    assert ended.is_ok, ended
    lines = [line.removeprefix("ATTEMPT ") for line in log.read_text().splitlines() if line.startswith("ATTEMPT ")]
    runner.remove_folder(folder.name)
    return dict(json.loads(line) for line in lines)


def pids_of(installation: Installation) -> list[int]:
    """Slipway's own processes: those under supervisor, and itself."""
    supervisor = Supervisor.of(installation)
    return [supervisor.pid(), *(process.pid for process in supervisor.processes() if process.pid)]


@needs_bubblewrap
@pytest.mark.parametrize("name", hostile.ATTEMPTS)
@pytest.mark.parametrize("way", WAYS_IN)
def test_hostile_code_gets_nothing(stack: RunningStack, way: str, name: str):
    assert attack(stack.state, way, "bwrap")[name] == ""


@pytest.mark.skipif(not is_root(), reason="without bubblewrap only root has another user to run checks as")
@pytest.mark.parametrize("name", hostile.ATTEMPTS)
def test_hostile_code_gets_no_secret_where_bubblewrap_is_missing(stack: RunningStack, name: str):
    assert attack(stack.state, "check", "")[name] == ""
