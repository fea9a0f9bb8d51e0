"""`slipway prefect`: Prefect's own command line, pointed at this installation's server."""

import os
import sys

import typer

from blocks.installation import read_installation


def register(app: typer.Typer) -> None:
    """Add the command to the operators' command line."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("prefect", context_settings=settings)(prefect)


def prefect(context: typer.Context) -> None:
    """Run Prefect's command line on this installation: `slipway prefect work-pool ls`."""
    read_installation()
    # The command line has put our server and its auth string into the environment, not into the arguments.
    os.execv(sys.executable, [sys.executable, "-m", "prefect", "--no-prompt", *context.args])
