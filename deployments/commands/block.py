"""`slipway block`: what Prefect's blocks say, and what this machine takes of it."""

import getpass
import json
import sys
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from blocks.installation import read_installation
from blocks.world import open_world
from domain.errors import ConfigError
from domain.ledger import Event

if TYPE_CHECKING:
    from blocks.accepted import Data

app = typer.Typer(help="Blocks: an edit in Prefect takes effect once it is accepted on this machine.")
console = Console(width=None if sys.stdout.isatty() else 200)


@app.command("list")
def list_blocks() -> None:
    """Show each accepted block, and whether Prefect's document still says the same."""
    from blocks.accepted import read_accepted, read_document

    table = Table("block", "in Prefect", box=None, pad_edge=False)
    for reference, accepted in sorted(read_accepted(read_installation().state).items()):
        found = read_document(reference)
        word = "gone" if found is None else "the same" if found == accepted else "[bold red]edited, not accepted[/]"
        table.add_row(reference, word)
    console.print(table)


@app.command("accept")
def accept_block(
    reference: Annotated[str, typer.Argument(help="As type-slug/name; `slipway block list` shows them.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show what was edited in Prefect, and take it from now on; written to the ledger."""
    from blocks.accepted import accept_blocks, read_accepted, read_document

    state = read_installation().state
    accepted, found = read_accepted(state).get(reference, {}), read_document(reference)
    if found is None:
        raise ConfigError(f"Prefect has no block '{reference}', or does not answer. See `slipway status`.")
    changes = explain_changes(accepted, found)
    if not changes:
        console.print(f"{reference} is accepted as it is.")
        return
    for line in changes:
        console.print(line, markup=False)
    if not yes and not typer.confirm("Take this from now on?"):
        raise typer.Exit(1)
    data = {"block": reference, "changes": [line[:500] for line in changes[:50]]}
    event = Event("block.accepted", actor=getpass.getuser(), key=f"block.accepted:{uuid4()}", data=data)
    open_world().ledger.append(event)
    accept_blocks(state, {reference: found})
    console.print(f"{reference} is accepted; the next run uses it.")


def explain_changes(accepted: "Data", found: "Data") -> list[str]:
    """Say what differs, a line for each field: `field: before → after`."""
    return [
        f"{key}: {_show(accepted, key)} → {_show(found, key)}"
        for key in sorted({*accepted, *found})
        if accepted.get(key) != found.get(key)
    ]


def _show(data: "Data", key: str) -> str:
    return json.dumps(data[key], ensure_ascii=False)[:200] if key in data else "nothing"
