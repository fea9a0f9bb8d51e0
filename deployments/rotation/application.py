"""An application's own credentials: its database's password, and the secret with which its forge signs."""

import getpass
import secrets
from datetime import timedelta
from typing import Annotated
from uuid import uuid4

import typer
from rich.console import Console

from blocks.world import World, open_world
from deployments.stack.progress import Progress
from domain.ledger import Event
from domain.rollout import SETTLING_KINDS, live_release
from tasks.instances import await_ready, start_instances
from tasks.lease import environment_lease

console = Console()

KEEP_H = 24
_LEASE_S = 900


def rotate_database_password(application: str, environment: str, *, progress: Progress) -> None:
    """Give the role of an application's database another password, then restart its instances site by site.

    Effect: no rollout goes on there meanwhile; instances of one site end and start anew, for seconds. Killed anywhere,
    it is run again. Raises: TransientError naming who holds the environment's lease, or what does not get ready.
    """
    world = open_world()
    name, place = world.applications.get(application).name, world.environment(environment)
    owner = f"rotation-{uuid4().hex[:8]}"
    lease = environment_lease(name, environment)
    world.leases.acquire(lease, owner=owner, ttl_s=_LEASE_S)
    try:
        with progress.step("the role has another password"):
            world.databases.rotate(name, environment)
        live = live_release(
            world.ledger.entries(kinds=SETTLING_KINDS, application=name, environment=environment, limit=100_000)
        )
        for site in (*place.standbys, place.primary) if live else ():
            with progress.step(f"instances of {environment}/{site.name}") as notes:
                start_instances.fn(owner, name, environment, site.name, live, "rotated")
                notes.append(await_ready.fn(name, environment, site.name, live) or "ready")
        _record(world, name, environment, {"what": "database"})
    finally:
        world.leases.release(lease, owner=owner)


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
        _record(world, name, "", {"what": "webhook-secret", "step": "finished"})
        console.print(f"Only the new secret of {name} is good now.")
        return
    if not (console.is_terminal or force):
        raise typer.BadParameter("The secret is printed on a terminal only, to end up in no log. Add --force.")
    until = now + timedelta(hours=keep_hours)
    if len(good) == 1:
        world.applications.replace_secret(name, secrets.token_hex(32), old_until=until)
        _record(world, name, "", {"what": "webhook-secret", "step": "begun", "old_until": f"{until:%Y-%m-%dT%H:%MZ}"})
    print(world.applications.webhook_secret(name))
    console.print(f"Enter it at the forge. The old one is good too, until {until:%Y-%m-%d %H:%M} UTC or --finish.")


def _record(world: World, application: str, environment: str, data: dict[str, str]) -> None:
    event = Event(
        "credential.rotated", application=application, environment=environment, actor=getpass.getuser(), data=data
    )
    world.ledger.append(event)
