"""`slipway rotate`: another value for a credential, while waiting gates wait."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(help="Replace a credential: the new one works at once, the old one is refused.", no_args_is_help=True)
console = Console()


@app.command("list")
def list_rotations() -> None:
    """List what can be rotated, and by which command."""
    from deployments.rotation.rotate import ROTATIONS

    table = Table("command", "what it replaces", box=None, pad_edge=False)
    for word, rotation in ROTATIONS.items():
        table.add_row(f"slipway rotate credential {word}", rotation.says)
    table.add_row("slipway rotate database APP ENVIRONMENT", "the password of an application's database")
    table.add_row("slipway app rotate-secret NAME", "an application's webhook secret; two are good for a while")
    table.add_row("slipway approver …", "a person's TOTP seed")
    console.print(table)


@app.command("credential")
def rotate_credential(
    what: Annotated[str, typer.Argument(help="Which one: see `slipway rotate list`.")],
    wait_s: Annotated[int, typer.Option(help="How long to wait for runs at work, where that is needed.", min=0)] = 600,
) -> None:
    """Replace one credential of the installation, restart the parts that hold it, and record that.

    Killed in the middle, the same command finishes it. Waiting gates wait on.
    """
    from deployments.rotation.rotate import ROTATIONS, rotate
    from deployments.stack.progress import Progress

    if what not in ROTATIONS:
        raise typer.BadParameter(f"No credential named '{what}'. Use one of: {', '.join(ROTATIONS)}.")
    progress = Progress()
    rotate(what, progress=progress, limit_s=wait_s)
    progress.say(f"{what} is rotated.")


@app.command("database")
def rotate_database(
    application: Annotated[str, typer.Argument(help="A registered application.")],
    environment: Annotated[str, typer.Argument(help="One of its environments.")],
) -> None:
    """Give an application's database role another password, and restart its instances there, one site after another."""
    from deployments.rotation.application import rotate_database_password
    from deployments.stack.progress import Progress

    progress = Progress()
    rotate_database_password(application, environment, progress=progress)
    progress.say(f"The password of {application}'s database in {environment} is rotated.")
