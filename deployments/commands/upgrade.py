"""`slipway upgrade`: a running installation to this version."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the operators' command line."""
    app.command("upgrade")(upgrade)


def upgrade(
    back: Annotated[bool, typer.Option("--back", help="Put the copy of the last upgrade back, with its code.")] = False,
    drop_entries: Annotated[
        bool, typer.Option("--drop-entries", help="With --back: lose what the ledger has since the copy.")
    ] = False,
    wait_s: Annotated[int, typer.Option(help="How long to wait for runs at work.", min=0)] = 600,
) -> None:
    """Bring the installation to the version of this checkout, or refuse with the reason.

    Copies the databases first (upgrades/ in the state folder). Users notice nothing: load balancers and released
    services keep running. Releases that wait for a decision wait on. Killed in the middle, run it again.
    """
    from deployments.stack.progress import Progress
    from deployments.upgrading.upgrade import go_back
    from deployments.upgrading.upgrade import upgrade as run_upgrade

    progress = Progress()
    if back:
        copy = go_back(progress, drop_entries=drop_entries)
        progress.say(f"Back at code {copy.code}, with the databases of {copy.at}.")
        return
    copy = run_upgrade(progress, limit_s=wait_s)
    progress.say(f"Upgraded. The databases as they were are in upgrades/{copy.at}; back: slipway upgrade --back")
