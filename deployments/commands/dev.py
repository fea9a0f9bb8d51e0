"""`slipway dev`: the application in this folder with its database and middleware, for its developer."""

import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deployments.developing.place import Place


def register(app: typer.Typer) -> None:
    """Add the command to the operators' command line."""
    app.command("dev")(dev)


def dev(
    folder: Annotated[Path, typer.Option(help="The application's checkout.")] = Path(),
    print_env: Annotated[
        bool, typer.Option("--print-env", help='Print the variables for a shell: eval "$(slipway dev --print-env)".')
    ] = False,
    check: Annotated[str, typer.Option(help="Run this check of slipway.toml as ci would, and end.")] = "",
    reload: Annotated[bool, typer.Option(help="Start the service again when a file changes.")] = True,
) -> None:
    """Run the application in this folder with its development database and middleware, behind the development site.

    Makes the database where it is missing, starts the middleware, applies the migrations, starts the service of
    slipway.toml with its locked packages. Ctrl-C ends everything; what was stored is kept. The stack must be up.
    """
    from blocks.installation import read_installation
    from blocks.world import open_world
    from deployments.developing.place import Place

    read_installation()
    place = Place(folder.resolve(), open_world())
    if print_env:
        variables = {**place.variables(), "PATH": f"{place.packages() / 'bin'}:$PATH"}
        for name, value in variables.items():
            quoted = f'"{value}"' if name == "PATH" else shlex.quote(value)
            print(f"export {name}={quoted}")
        return
    if check:
        _check(place, check)
        return
    _serve(place, reload=reload)


def _check(place: "Place", name: str) -> None:
    from deployments.developing.checking import check

    result = check(place, name)
    print(f"{result.name}: {result.outcome} in {result.milliseconds / 1000:.1f} s {result.cause}".rstrip())
    if result.outcome != "passed":
        raise typer.Exit(1)


def _serve(place: "Place", *, reload: bool) -> None:
    from deployments.developing.serving import serve

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended by a program, too, it takes everything with it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        serve(place, say=lambda text: print(f"slipway dev: {text}", file=sys.stderr, flush=True), reload=reload)
    except KeyboardInterrupt:
        print("slipway dev: ended; database and middleware keep their content", file=sys.stderr)
