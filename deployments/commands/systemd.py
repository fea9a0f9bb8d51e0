"""`slipway systemd`: the unit that brings this installation up after a reboot."""

import getpass
import sys
from pathlib import Path

import typer

from blocks.installation import state_folder
from domain.errors import ConfigError

TEMPLATE = Path(__file__).parent.parent / "systemd" / "slipway.service"


def register(app: typer.Typer) -> None:
    """Add the word to the command line."""
    app.command(name="systemd")(print_unit)


def print_unit() -> None:
    """Print the systemd unit of this installation: for its state folder, its program and the user who asks.

    `slipway systemd | sudo tee /etc/systemd/system/slipway.service`, then
    `sudo systemctl daemon-reload && sudo systemctl enable --now slipway`.
    """
    print(render_unit(state=state_folder(), program=_program(), user=getpass.getuser()), end="")


def render_unit(*, state: Path, program: Path, user: str) -> str:
    """Fill the unit in. Raises: ConfigError for a path that systemd would read as something else."""
    text = TEMPLATE.read_text()
    for name, value in (("STATE", str(state)), ("SLIPWAY", str(program)), ("USER", user)):
        if any(mark in value for mark in " \t\n;\"'\\$") or not value.isprintable():
            raise ConfigError(f"'{value}' cannot stand in a systemd unit. Use a path without spaces or ;\"'\\$.")
        text = text.replace(f"@{name}@", value.replace("%", "%%"))
    return text


def _program() -> Path:
    """The `slipway` beside the interpreter that runs us. Raises: ConfigError where it is not installed."""
    program = Path(sys.executable).parent / "slipway"
    if not program.exists():
        raise ConfigError(f"{program} is missing. Install Slipway into this Python: `make up` does it.")
    return program
