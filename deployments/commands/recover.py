"""`slipway recover`: everything on an empty folder, from the recovery kit and the bucket alone."""

import getpass
import os
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from blocks.installation import STATE_VARIABLE, state_folder
from domain.errors import ConfigError
from domain.ledger import Event


def register(app: typer.Typer) -> None:
    """Add the command to the operators' command line."""
    app.command("recover")(recover)


def recover(
    kit: Annotated[Path, typer.Argument(help="The recovery kit, as `slipway backup kit` wrote it.")],
    state: Annotated[
        Path | None, typer.Option(help="The empty folder that becomes the state folder; else SLIPWAY_STATE.")
    ] = None,
    from_url: Annotated[
        str, typer.Option("--from", help="URL of the store that holds the backups; else the kit's own.")
    ] = "",
    copy: Annotated[
        str, typer.Option("--copy", help="The second place instead of a store: a folder, or s3://bucket/prefix.")
    ] = "",
    to: Annotated[str, typer.Option(help="latest, backup (the newest backup's own point), or a time.")] = "latest",
) -> None:
    """Rebuild Slipway on an empty folder: ledger, Prefect's database, applications' databases and objects, releases.

    The old stack must not run any more. Ends with `slipway up` and every application on the release that was live.
    """
    from deployments.recovery.recover import DONE, Order, find_laid_out, finish, names_of
    from deployments.recovery.recover import recover as lay_out
    from deployments.recovery.serving import bring_back
    from deployments.recovery_kit import read_kit
    from deployments.stack.progress import Progress, complain
    from deployments.stack.settings import read_settings
    from deployments.stack.up import bring_up

    if from_url and copy:
        raise ConfigError("--from and --copy name two sources. Give one of them.")
    folder = (state or state_folder()).absolute()
    os.environ[STATE_VARIABLE] = str(folder)
    progress = Progress()
    contents = read_kit(kit)
    done = find_laid_out(folder)
    if done is None:
        _, done = lay_out(Order(folder, from_url, copy, to), contents, progress)
    installation = bring_up(read_settings(), progress)
    problems = bring_back(installation, progress)
    _remember(done.backup, done.point, done.last_commit_at, done.objects, len(done.missing))
    finish(folder)
    progress.say(f"Recovered at {done.point}. What came back is in {folder / DONE}.")
    print("Made anew: passwords of the applications' databases; PostgreSQL's ALTER SYSTEM settings are gone.")
    print("Not brought back: results of runs that waited, mirrors of repositories (fetched anew), logs, images.")
    for line in done.made_anew:
        print(line)
    print("Next: slipway backup now, then slipway backup kit FILE; look at `slipway ledger verify`.")
    if done.missing or problems:
        complain(f"Not everything came back. Objects: {names_of(done.missing) or 'all'}. {'; '.join(problems)}")
        raise typer.Exit(1)


def _remember(backup: str, point: str, last_commit_at: str, objects: dict[str, int], missing: int) -> None:
    from blocks.world import open_world

    data = {
        "backup": backup,
        "point": point,
        "last_commit_at": last_commit_at,
        "objects": objects,
        "missing": missing,
    }
    open_world().ledger.append(
        Event("recovery.completed", actor=getpass.getuser(), key=f"recovery.completed:{uuid4()}", data=data)
    )
