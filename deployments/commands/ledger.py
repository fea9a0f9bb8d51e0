"""`slipway ledger`: read the record, and prove that it holds together."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blocks.world import open_world
from deployments.ledger_export import write_export
from domain.anchor import Anchor, Proof, verify_anchored
from domain.errors import SlipwayError
from domain.ledger import Entry, Finding, Link, encode_time
from domain.release import short

app = typer.Typer(help="The append-only, hash-chained record of everything that was meant and that happened.")
console = Console(width=None if sys.stdout.isatty() else 200)
PAGE = 5000


NOTHING_WRONG, BROKEN, UNANCHORED = 0, 1, 2
"""Exit codes of `verify`."""

_ADVICE: dict[Finding, str] = {
    "changed": "Compare that entry with a backup or an export, and find out who wrote to the table.",
    "missing": "Somebody removed entries. Take them from a backup or an export, and find out who it was.",
    "inserted": "Somebody put an entry there past the chain. Compare with a backup or an export, and find out who.",
    "replaced": "Compare that entry with a backup or an export, and find out who wrote to the table.",
    "rewritten": "Nothing after the last confirmed entry can be trusted. Compare with a backup or an export older than "
    "that anchor, and find out who had the database's superuser.",
    "cut": "The newest entries were removed, or an old backup was restored. Look for them in a backup or an export, "
    "and find out who did it before you go on.",
}


@app.command("verify")
def verify_ledger() -> None:
    """Walk the whole chain of hashes and compare it with every anchor under Object Lock.

    Names the first bad entry. Exit code 0: all holds. 1: something does not. 2: the chain alone holds, but the anchors
    could not be read, so that a cut tail or a chain computed anew would not show.
    """
    world = open_world()
    anchors, unread = _read_anchors()
    begun = time.monotonic()
    with closing(world.ledger.links()) as links:
        proof = verify_anchored(_shown(links), anchors)
    chain, seconds = proof.chain, max(time.monotonic() - begun, 0.001)
    if chain.broken_at is not None:
        console.print(f"[bold red]The ledger is broken at entry {chain.broken_at}[/bold red]: {chain.reason}.")
        console.print(f"It holds up to entry {chain.entries}. {_ADVICE[chain.finding]}", soft_wrap=True)
        raise typer.Exit(BROKEN)
    rate = f"{seconds:.1f} s, {chain.entries / seconds:,.0f} entries/s"
    console.print(f"The chain holds: {chain.entries} entries, head {chain.head} ({rate}).", soft_wrap=True)
    if unread:
        console.print(f"[bold yellow]But not proven[/bold yellow]: the anchors can't be read. {unread}", soft_wrap=True)
        console.print("A cut tail or a chain computed anew would not show. Run `slipway ledger verify` again then.")
        raise typer.Exit(UNANCHORED)
    _say_anchored(proof)


def _read_anchors() -> tuple[Sequence[Anchor], str]:
    """The anchors, read before the chain is; and why they could not be."""
    try:
        return open_world().anchors.read(), ""
    except SlipwayError as exc:
        return (), str(exc)


def _say_anchored(proof: Proof) -> None:
    """Say what the anchors proved. The ledger remembers the anchors it wrote: a bucket without them is another one."""
    written = open_world().ledger.entries(kinds=["anchor.written"], newest_first=True, limit=1)
    remembered = int(written[0].data["anchored"]) if written else 0
    newest = proof.newest
    if remembered > (newest.seq if newest else 0):
        console.print(
            f"[bold red]Anchors are missing[/bold red]: the ledger says that entry {remembered} was anchored on "
            f"{written[0].at:%Y-%m-%d %H:%M:%S} UTC, the newest anchor there is of entry {newest.seq if newest else 0}."
        )
        console.print("Nobody can remove one through S3: somebody replaced the store's disk. Find out who.")
        raise typer.Exit(BROKEN)
    if newest is None:
        console.print("No anchor has been written yet: the first comes within the hour, or start the flow `anchor`.")
        return
    behind = proof.chain.entries - newest.seq
    console.print(
        f"It agrees with {proof.agreeing} anchors, the newest of entry {newest.seq} on "
        f"{newest.at:%Y-%m-%d %H:%M:%S} UTC; the {behind} entries since are held by the chain alone.",
        soft_wrap=True,
    )


def _shown(links: Iterable[Link]) -> Iterator[Link]:
    """Count on a terminal what went by."""
    if not sys.stderr.isatty():
        yield from links
        return
    with Console(stderr=True).status("reading the chain") as status:
        for count, link in enumerate(links, start=1):
            if count % PAGE == 0:
                status.update(f"reading the chain: {count:,} entries")
            yield link


@app.command("export")
def export_ledger(
    file: Annotated[Path, typer.Argument(help="The bundle to write, .tar.gz; it must not exist.")],
) -> None:
    """Write the whole ledger, its anchors and a script that verifies both without Slipway, as one file.

    Whole only: a chain with entries left out proves nothing about the rest.
    """
    anchors, unread = _read_anchors()
    with closing(open_world().ledger.links()) as links:
        exported = write_export(file, _shown(links), None if unread else anchors)
    console.print(f"{file}: {exported.entries} entries, {len(anchors)} anchors, head {exported.head}.", soft_wrap=True)
    if unread:
        console.print(f"[yellow]Without anchors[/yellow]: {unread}", soft_wrap=True)
    console.print(f"Note the head elsewhere. Verify anywhere: python3 verify_export.py {file.name}", soft_wrap=True)
    console.print(f"  [--head {exported.entries}:{exported.head}]", soft_wrap=True, markup=False)


@app.command("show")
def show_ledger(
    last: Annotated[
        int | None, typer.Option(help="How many of the newest; 30, or all with --since.", min=1, max=10_000)
    ] = None,
    kind: Annotated[str, typer.Option(help="Only this kind, such as verdict.given.")] = "",
    application: Annotated[str, typer.Option(help="Only this application.")] = "",
    since: Annotated[datetime | None, typer.Option(help="Only from this time on, UTC.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, complete.")] = False,
) -> None:
    """Print the newest entries, oldest of them first."""
    found = open_world().ledger.entries(
        kinds=[kind] if kind else (),
        application=application,
        newest_first=True,
        limit=last or (10_000 if since else 30),
    )[::-1]
    if since is not None:
        found = [entry for entry in found if entry.at >= since.replace(tzinfo=since.tzinfo or UTC)]
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
