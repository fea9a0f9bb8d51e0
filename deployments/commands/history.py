"""`slipway history`: a release's whole story, or what an application was on and is on."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blocks.world import World, open_world
from domain.errors import ConfigError
from domain.ledger import Entry
from domain.release import SHORT, short
from domain.story import tell_story

console = Console(width=None if sys.stdout.isatty() else 240)


def register(app: typer.Typer) -> None:
    """Add the command to the operators' command line."""
    app.command("history")(show_history)


def show_history(
    subject: Annotated[str, typer.Argument(help="A release's digest, 6 digits at least; or an application.")] = "",
) -> None:
    """Print a release's whole story from the ledger, or list the releases of an application (or of all)."""
    world = open_world()
    names = [application.name for application in world.applications.list()]
    if not subject or subject in names:
        _list_releases(world, subject)
        return
    entry = find_release(world, subject)
    _print_story(world, entry)


def find_release(world: World, digits: str) -> Entry:
    """Find the one pinned release whose digest begins so. Raises: ConfigError where it is none or several."""
    pinned = world.ledger.entries(kinds=["release.pinned"])
    found = [entry for entry in pinned if entry.event.release.startswith(digits.lower()) and len(digits) >= 6]
    if len({entry.event.release for entry in found}) != 1:
        newest = ", ".join(short(entry.event.release) for entry in pinned[-5:]) or "none yet"
        raise ConfigError(f"{len(found)} releases begin with '{digits}'. Newest: {newest}. Give at least 6 digits.")
    return found[0]


def _print_story(world: World, pinned: Entry) -> None:
    release, application = pinned.event.release, pinned.event.application
    runs = {entry.event.run for entry in world.ledger.entries(release=release) if entry.event.run}
    entries = {entry.seq: entry for entry in world.ledger.entries(release=release)}
    for run in runs:
        entries.update({entry.seq: entry for entry in world.ledger.entries(run=run)})
    console.print(f"[bold]{application}[/bold] release {release}")
    table = Table("when (UTC)", "what", "where", "by", "", box=None, pad_edge=False)
    for line in tell_story([entries[seq] for seq in sorted(entries)]):
        table.add_row(f"{line.at:%m-%d %H:%M:%S}", line.kind, line.place, line.actor, line.said)
    console.print(table)


def _list_releases(world: World, application: str) -> None:
    table = Table("release", "application", "commit", "pinned (UTC)", "requested by", "outcome")
    for entry in world.ledger.entries(kinds=["release.pinned"], application=application, newest_first=True, limit=50):
        release = entry.event.release
        ends = world.ledger.entries(
            kinds=["rollout.completed", "rollout.rolled_back", "rollout.failed", "cd.stopped"],
            release=release,
            newest_first=True,
            limit=1,
        )
        outcome = f"{ends[0].kind} {ends[0].event.environment}" if ends else "under way"
        commit = short(str(entry.data["manifest"]["commit"]))
        requester = str(entry.data.get("requester", ""))
        table.add_row(
            release[:SHORT], entry.event.application, commit, f"{entry.at:%Y-%m-%d %H:%M:%S}", requester, outcome
        )
    console.print(table)
