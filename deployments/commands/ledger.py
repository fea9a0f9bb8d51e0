"""`slipway ledger`: read the record, and prove that it holds together."""

import json
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blocks.world import open_world
from domain.ledger import Entry, encode_time, verify_chain
from domain.release import short

app = typer.Typer(help="The append-only, hash-chained record of everything that was meant and that happened.")
console = Console(width=None if sys.stdout.isatty() else 200)
PAGE = 5000


@app.command("verify")
def verify_ledger() -> None:
    """Walk the whole chain of hashes; names the first broken entry and ends with 1 where there is one."""
    report = verify_chain(_all_entries())
    if report.broken_at is None:
        console.print(f"The chain holds: {report.entries} entries, head {report.head}.", soft_wrap=True)
        return
    console.print(f"[bold red]The chain is broken at entry {report.broken_at}[/bold red]: {report.reason}.")
    console.print("Nothing before it was changed. Compare that entry with a backup, and find out who wrote it.")
    raise typer.Exit(1)


@app.command("show")
def show_ledger(
    last: Annotated[int, typer.Option(help="How many of the newest entries.", min=1, max=10_000)] = 30,
    kind: Annotated[str, typer.Option(help="Only this kind, such as verdict.given.")] = "",
    application: Annotated[str, typer.Option(help="Only this application.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, complete.")] = False,
) -> None:
    """Print the newest entries, oldest of them first."""
    found = open_world().ledger.entries(
        kinds=[kind] if kind else (), application=application, newest_first=True, limit=last
    )[::-1]
    if as_json:
        for entry in found:
            typer.echo(json.dumps(_as_json(entry), ensure_ascii=False))
        return
    table = Table("seq", "at (UTC)", "kind", "application", "where", "release", "by", box=None, pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
    for entry in found:
        event = entry.event
        where = "/".join(part for part in (event.environment, event.site) if part)
        at = f"{entry.at:%m-%d %H:%M:%S}"
        table.add_row(str(entry.seq), at, entry.kind, event.application, where, short(event.release), event.actor)
    console.print(table)


def _all_entries() -> Iterator[Entry]:
    ledger, after = open_world().ledger, 0
    while page := ledger.entries(after=after, limit=PAGE):
        yield from page
        after = page[-1].seq


def _as_json(entry: Entry) -> dict[str, object]:
    event = entry.event
    return {
        "seq": entry.seq,
        "at": encode_time(entry.at),
        "kind": event.kind,
        "application": event.application,
        "environment": event.environment,
        "site": event.site,
        "release": event.release,
        "actor": event.actor,
        "run": event.run,
        "key": event.key,
        "data": event.data,
        "prev_hash": entry.prev_hash,
        "hash": entry.hash,
    }
