"""`slipway app rotate-secret`: the secret with which an application's forge signs; two are good for a while."""

import getpass
import secrets
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console

from blocks.world import World, open_world
from domain.ledger import Event

console = Console()

KEEP_H = 24


def rotate_webhook_secret(
    name: Annotated[str, typer.Argument(help="A registered application.")],
    keep_hours: Annotated[float, typer.Option(help="How long the old one stays good.", min=0, max=720)] = KEEP_H,
    finish: Annotated[bool, typer.Option("--finish", help="The forge has the new one: end the old one now.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Print it even if this is no terminal.")] = False,
) -> None:
    """Make a new webhook secret; the old one stays good until you say `--finish`, or for 24 hours.

    Run again before that, it prints the same new secret: enter it at the forge, send a test delivery, then `--finish`.
    """
    world = open_world()
    now = world.clock.now()
    good = world.applications.webhook_secrets(name, now=now)
    if finish:
        world.applications.replace_secret(name, good[0], old_until=now)
        _record(world, name, {"what": "webhook-secret", "step": "finished"})
        console.print(f"Only the new secret of {name} is good now.")
        return
    if not (console.is_terminal or force):
        raise typer.BadParameter("The secret is printed on a terminal only, to end up in no log. Add --force.")
    until = now + timedelta(hours=keep_hours)
    if len(good) == 1:
        world.applications.replace_secret(name, secrets.token_hex(32), old_until=until)
        _record(world, name, {"what": "webhook-secret", "step": "begun", "old_until": f"{until:%Y-%m-%dT%H:%MZ}"})
    print(world.applications.webhook_secret(name))
    console.print(f"Enter it at the forge. The old one is good too, until {until:%Y-%m-%d %H:%M} UTC or --finish.")


def _record(world: World, application: str, data: dict[str, str]) -> None:
    world.ledger.append(Event("credential.rotated", application=application, actor=getpass.getuser(), data=data))
