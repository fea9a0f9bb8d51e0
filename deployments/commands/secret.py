"""`slipway secret`: values that nobody reads back. They come from a prompt, a pipe or a file, never from arguments."""

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blocks.world import open_world
from deployments.commands.config import ApplicationName, Apply, EnvironmentName, check_place, tell_change
from domain.errors import ConfigError

app = typer.Typer(help="Secrets of an application in one environment: sealed, versioned, never printed.")
console = Console(width=None if sys.stdout.isatty() else 240)

SecretName = Annotated[str, typer.Argument(metavar="NAME", help="The variable's name, in capitals.")]


@app.command("set")
def set_secret(
    application: ApplicationName,
    environment: EnvironmentName,
    name: SecretName,
    file: Annotated[Path | None, typer.Option(help="Read the value from this file, byte for byte.")] = None,
    apply: Apply = False,
) -> None:
    """Set a secret: from a prompt without echo, from standard input where it is a pipe, or from a file.

    One line feed at the end of a pipe is left out. Every time makes a new version.
    """
    if "=" in name:
        raise ConfigError(
            "Give the name alone: a value in the arguments can be read by every process. It is asked for."
        )
    world = open_world()
    check_place(world, application, environment)
    before = world.settings.latest(application, environment)
    value = _read_value(name, file)
    after = world.settings.change(application, environment, actor=getpass.getuser(), secrets={name: value})
    tell_change(world, before, after, apply=apply)


@app.command("list")
def list_secrets(application: ApplicationName, environment: EnvironmentName) -> None:
    """List the secrets by name and version."""
    world = open_world()
    check_place(world, application, environment)
    table = Table("name", "version")
    for name, version in sorted(world.settings.latest(application, environment).secrets.items()):
        table.add_row(name, str(version))
    console.print(table)


@app.command("history")
def show_history(application: ApplicationName, environment: EnvironmentName, name: SecretName) -> None:
    """List the versions of a secret: who set them, when, and since which settings they count."""
    world = open_world()
    check_place(world, application, environment)
    table = Table("version", "settings", "when (UTC)", "by")
    seen: set[int] = set()
    for settings in reversed(world.settings.history(application, environment)):
        version = settings.secrets.get(name)
        if version is not None and version not in seen:
            seen.add(version)
            table.add_row(str(version), str(settings.version), f"{settings.at:%Y-%m-%d %H:%M:%S}", settings.actor)
    if not seen:
        raise ConfigError(
            f"{application} has no secret '{name}' in {environment}. List them with `slipway secret list`."
        )
    console.print(table)


def _read_value(name: str, file: Path | None) -> str:
    """Raises: ConfigError where there is no value, or it is no text."""
    try:
        if file is not None:
            value = file.read_bytes().decode()
        elif sys.stdin.isatty():
            value = typer.prompt(name, hide_input=True, confirmation_prompt=True)
        else:
            value = sys.stdin.buffer.read().decode().removesuffix("\n")
    except OSError as exc:
        raise ConfigError(f"{file} can't be read: {exc.strerror}. Name a file that you may read.") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"The value of '{name}' is no text. Encode it, in base64 for example.") from exc
    if not value:
        raise ConfigError(f"No value for '{name}' came in. Type it, pipe it in, or name a file with --file.")
    return value
