"""`slipway`: the operator's command line.

The stack's own words are here; every module of `deployments/commands/` adds its own (`app`, a typer app named after the
module, or `register(app)`). Errors of ours end with one sentence and exit code 1, without a trace.
"""

import importlib
import json
import pkgutil
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import deployments.commands
from blocks.installation import read_installation, read_secret, state_folder
from deployments.stack.client import use_prefect_if_installed
from deployments.stack.progress import Progress, complain
from domain.errors import SlipwayError

app = typer.Typer(
    name="slipway",
    help="Deliver and operate services: from a pushed commit to a post-mortem, in one ledger.\n\n"
    "Begin with `slipway up`, look with `slipway status`, end with `slipway down`. Settings are environment variables "
    "(docs/how-to/operate-the-stack.md); SLIPWAY_STATE names the state folder.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

_STATE_COLOURS = {"RUNNING": "green", "STARTING": "yellow", "STOPPED": "yellow", "BACKOFF": "red", "FATAL": "red"}


@app.command()
def up(quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False) -> None:
    """Bring the embedded stack up, or bring up what is missing; safe to run again.

    Looks first: a taken port, too little disk, a path that is too long or not writable stops it before anything starts.
    Credentials are made at the first start and kept. Ready in under a minute on two cores.
    """
    from deployments.stack.settings import read_settings
    from deployments.stack.up import bring_up

    progress = Progress(quiet=quiet)
    installation = bring_up(read_settings(), progress)
    if quiet:
        return
    progress.say("Slipway is up.")
    print(f"\n  Prefect UI        {installation.prefect_ui_url}   (password: slipway credentials prefect_auth)")
    print(f"  Webhook door      http://127.0.0.1:{installation.ports['door']}")
    for name, port in installation.ports.items():
        if name.startswith("entry-"):
            print(f"  {name.removeprefix('entry-'):<18}http://<application>.localhost:{port}/")
    print(f"  State             {installation.state}")
    print("  Recovery kit      slipway backup kit FILE, then keep FILE off this machine: it opens the backups")


@app.command()
def down() -> None:
    """End every process of the stack, released services included. All state stays; `slipway up` starts them again."""
    from deployments.stack.down import take_down

    progress = Progress()
    take_down(read_installation(), progress)
    progress.say("Slipway is down; its state is kept.")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """Show what runs, since when, where its log is and whether it answers. Exit code 1 when something does not."""
    from deployments.stack.status import read_status

    parts = read_status(read_installation())
    if as_json:
        print(json.dumps([part.as_json() for part in parts], indent=2))
    else:
        table = Table("part", "state", "since", "pid", "url", "log", box=None, pad_edge=False)
        for part in parts:
            word = part.state if part.answers is not False or part.state != "RUNNING" else "NO ANSWER"
            colour = _STATE_COLOURS.get(word, "red")
            since = f"{part.since:%Y-%m-%d %H:%M:%S} UTC" if part.since else "-"
            pid, log = str(part.pid or "-"), str(part.log or "-")
            table.add_row(part.part, f"[{colour}]{word}[/]", since, pid, part.url or "-", log)
        Console(width=None if sys.stdout.isatty() else 240).print(table)
    if not all(part.is_well for part in parts):
        raise typer.Exit(1)


@app.command()
def credentials(
    name: Annotated[str, typer.Argument(help="Which one; leave out to list the names.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Print it even if this is no terminal.")] = False,
) -> None:
    """Print one credential on your terminal, such as `prefect_auth`, the password of the Prefect UI."""
    path = state_folder() / "credentials.json"
    if not name:
        read_installation()
        print("\n".join(sorted(json.loads(path.read_text()))))
        return
    value = read_secret(name)
    if not (sys.stdout.isatty() or force):
        complain(f"'{name}' is printed on a terminal only, so that it ends up in no log. Add --force if you mean it.")
        raise typer.Exit(1)
    print(value)


def compose(into: typer.Typer) -> None:
    """Add the words of every module in `deployments/commands/`."""
    for found in sorted(pkgutil.iter_modules(deployments.commands.__path__), key=lambda one: one.name):
        module: Any = importlib.import_module(f"deployments.commands.{found.name}")
        register: Callable[[typer.Typer], None] | None = getattr(module, "register", None)
        if register is not None:
            register(into)
        else:
            into.add_typer(module.app, name=found.name.replace("_", "-"))


def main() -> None:
    """Run the command line; an error of ours is one sentence, not a trace."""
    try:
        app(prog_name="slipway")
    except SlipwayError as exc:
        complain(f"slipway: {exc}")
        sys.exit(1)


use_prefect_if_installed()
compose(app)

if __name__ == "__main__":
    main()
