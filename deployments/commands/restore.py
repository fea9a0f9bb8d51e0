"""`slipway restore`: look what a restore would lose, ask for one, see what is kept, take one back."""

import sys
import time
from typing import Annotated, Any
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from blocks.world import World, open_world
from domain.chart import write_value
from domain.restore import database_name, kept_name, key_of
from domain.restore_report import say_age

app = typer.Typer(help="The emergency: a database back to a moment. Preview, apply, undo, and what is kept.")
console = Console(width=None if sys.stdout.isatty() else 200)
WAIT_S = 6 * 3600
_POLL_S = 1.0

Application = Annotated[str, typer.Argument(help="The registered application.")]
Key = Annotated[str, typer.Argument(help="Which one, as `slipway restore kept` names it.")]
Reason = Annotated[str, typer.Option(help="What happened, for whoever approves it and for the record.")]
To = Annotated[
    str,
    typer.Option(help="A time with its zone (2026-01-31T12:00:00+00:00), a place (16/B374D848), backup:ID, latest."),
]
Environment = Annotated[str, typer.Option(help="Which environment.")]
FromBackup = Annotated[str, typer.Option("--backup", help="Begin with this backup; else the newest from before.")]
Requester = Annotated[str, typer.Option(help="Who asks for it; they can't approve it.")]


@app.command("preview")
def preview(
    application: Application,
    to: To,
    reason: Reason = "a look at what a restore would lose",
    environment: Environment = "production",
    backup: FromBackup = "",
) -> None:
    """Restore aside, prove it, and show what would be lost and what comes back. Changes nothing."""
    _start(application, environment, reason, to=to, backup=backup, dry_run=True)


@app.command("apply")
def apply(
    application: Application,
    to: To,
    reason: Reason,
    environment: Environment = "production",
    backup: FromBackup = "",
    requester: Requester = "",
) -> None:
    """The same, then ask for an approval in the Prefect UI, and exchange the databases."""
    _start(application, environment, reason, to=to, backup=backup, requester=requester, dry_run=False)


@app.command("undo")
def undo(
    application: Application,
    key: Key,
    reason: Reason,
    environment: Environment = "production",
    requester: Requester = "",
) -> None:
    """Bring back what was live before a restore; it asks for an approval. What is live now is kept."""
    _start(application, environment, reason, act="undo", kept=key, requester=requester, dry_run=False)


@app.command("remove")
def remove(
    application: Application,
    key: Key,
    reason: Reason,
    environment: Environment = "production",
    requester: Requester = "",
) -> None:
    """Remove a kept database for good; it asks for an approval."""
    _start(application, environment, reason, act="remove", kept=key, requester=requester, dry_run=False)


@app.command("kept")
def list_kept(application: Annotated[str, typer.Argument(help="One application; else all.")] = "") -> None:
    """List the databases that restores have put aside, how large they are and since when."""
    world = open_world()
    table = Table("application", "environment", "key", "database", "size", "kept for", box=None, pad_edge=False)
    names = [application] if application else [one.name for one in world.applications.list()]
    for name in names:
        world.applications.get(name)
        for place in world.environments():
            for key, one in world.restorations.find(name, place.name).kept.items():
                size, age = write_value(one.size_bytes, "bytes"), say_age(one, world.clock.now())
                table.add_row(name, place.name, key, kept_name(name, place.name, key), size, age)
    console.print(table if table.row_count else "Nothing is kept.")


def _start(application: str, environment: str, reason: str, **options: Any) -> None:
    """Start the flow, and watch it until it has ended or waits for a person."""
    world = open_world()
    parameters = {
        "application": world.applications.get(application).name,
        "environment": world.environment(environment).name,
        "reason": reason,
        **options,
    }
    run = world.flow_runs.start("restore/restore", parameters=parameters, idempotency_key=f"restore:{uuid4()}")
    console.print(f"{database_name(application, environment)}: {world.run_records.url(run)}", soft_wrap=True)
    code, key = _watch(world, run), key_of(run)
    # what this run itself has put aside; a dry run and a removal put nothing aside
    if code == 0 and key in world.restorations.find(application, environment).kept:
        console.print(
            f'What was live is kept. The way back: slipway restore undo {application} {key} --reason "..." '
            f"--environment {environment}",
            soft_wrap=True,
        )
    raise typer.Exit(code)


def _watch(world: World, run: str) -> int:
    deadline, has_asked = time.monotonic() + WAIT_S, False
    while time.monotonic() < deadline:
        record = world.run_records.find(run)
        if record is not None and record.has_ended:
            console.print(f"{record.state}. {record.message}".strip(), soft_wrap=True, markup=False)
            return 0 if record.state == "completed" else 1
        if record is not None and record.state == "paused" and not has_asked:
            console.print("It waits for an approval: open that page, Resume. Silence is no.")
            has_asked = True
        time.sleep(_POLL_S)
    console.print("It still runs. Look at it in the Prefect UI.")
    return 2
