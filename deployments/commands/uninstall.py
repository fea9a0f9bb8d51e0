"""`slipway uninstall`: everything of an installation goes; its data may be kept."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from blocks.installation import read_installation, read_secret
from domain.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command to the operators' command line."""
    app.command("uninstall")(uninstall)


def uninstall(
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    keep_data: Annotated[
        Path | None, typer.Option(help="First copy every database, the ledger and credentials.json to this new folder.")
    ] = None,
    keep_users: Annotated[bool, typer.Option("--keep-users", help="Leave the users that it made.")] = False,
) -> None:
    """End every process and remove the state folder, sockets, users and systemd unit of this installation.

    Applications' repositories, forges, registries and other installations are not touched.
    """
    from deployments.stack.progress import Progress, complain
    from deployments.stack.removal import keep_data as keep
    from deployments.stack.removal import remove

    installation = read_installation()
    if not yes:
        _ask(installation.state)
    progress = Progress()
    if keep_data is not None:
        password = read_secret("postgres_superuser", state=installation.state)
        keep(installation, password, to=keep_data.absolute(), progress=progress)
    for remark in remove(installation, keep_users=keep_users, progress=progress):
        complain(remark)
    progress.say("Nothing of it is left.")


def _ask(state: Path) -> None:
    """Raises: ConfigError where nobody can be asked, or the answer is another one."""
    if not sys.stdin.isatty():
        raise ConfigError("Nobody can be asked here. Add --yes to remove everything without being asked.")
    print(
        f"Everything in {state} goes: the ledger, releases, databases of every environment. Nobody can bring it back."
    )
    if typer.prompt(f"Type the folder's name ({state.name}) to go on", default="", show_default=False) != state.name:
        raise ConfigError("That is not its name. Nothing was removed.")
