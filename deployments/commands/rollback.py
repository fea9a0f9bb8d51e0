"""`slipway rollback` and `slipway unblock`: an administrator's two acts, started from a terminal and watched there."""

import time
from typing import Annotated, Any
from uuid import uuid4

import typer
from rich.console import Console

from blocks.world import World, open_world
from deployments.commands.history import find_release

console = Console()
WAIT_S = 300

Administrator = Annotated[str, typer.Option("--as", help="Your name, as enrolled, with the role administrator.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.", prompt="Reason")]
Code = Annotated[str, typer.Option(help="Six digits from your authenticator.", prompt="Code", hide_input=True)]
ApplicationName = Annotated[str, typer.Argument(help="The registered application.")]


def register(app: typer.Typer) -> None:
    """Add both commands to the operators' command line."""
    app.command("rollback")(roll_back)
    app.command("unblock")(unblock)


def roll_back(
    application: ApplicationName,
    administrator: Administrator,
    reason: Reason,
    code: Code,
    environment: Annotated[str, typer.Option(help="Which environment.")] = "production",
    release: Annotated[str, typer.Option(help="The digest to go back to; else the one that was live before.")] = "",
    block: Annotated[bool, typer.Option(help="Also block the digest that is left.")] = False,
    by_hand: Annotated[
        bool, typer.Option("--break-glass", help="Without Prefect and the ledger; it learns of it afterwards.")
    ] = False,
) -> None:
    """Bring an environment back to an earlier release, at once: all sites, verified, recorded.

    With --break-glass it works while Prefect and the ledger's database are down (docs/runbooks/break-glass.md); the
    digest that is left is blocked in any case then.
    """
    if by_hand:
        # Not at the top: it brings Prefect, which reads its settings once, before the first `slipway up` has made them.
        from deployments.break_glass import Order, break_glass

        break_glass(Order(application, environment, administrator, reason, code, release))
        return
    world = open_world()
    wanted = find_release(world, release).event.release if release else ""
    parameters = {
        "application": world.applications.get(application).name,
        "environment": world.environment(environment).name,
        "reason": reason,
        "administrator": administrator,
        "code": code,
        "release": wanted,
        "block": block,
    }
    _start_and_watch(world, "rollback/rollback", parameters)


def unblock(
    application: ApplicationName,
    release: Annotated[str, typer.Argument(help="The blocked digest, at least 6 digits of it.")],
    administrator: Administrator,
    reason: Reason,
    code: Code,
) -> None:
    """Allow a blocked release to be delivered again."""
    world = open_world()
    parameters = {
        "application": world.applications.get(application).name,
        "release": find_release(world, release).event.release,
        "reason": reason,
        "administrator": administrator,
        "code": code,
    }
    _start_and_watch(world, "unblock/unblock", parameters)


def _start_and_watch(world: World, deployment: str, parameters: dict[str, Any]) -> None:
    begun = time.monotonic()
    run = world.flow_runs.start(deployment, parameters=parameters, idempotency_key=f"{deployment}:{uuid4()}")
    console.print(f"Started: {world.run_records.url(run)}", soft_wrap=True)
    while time.monotonic() - begun < WAIT_S:
        record = world.run_records.find(run)
        if record is not None and record.has_ended:
            seconds = time.monotonic() - begun
            console.print(f"{record.state} after {seconds:.1f} s. {record.message}", markup=False)
            raise typer.Exit(0 if record.state == "completed" else 1)
        time.sleep(0.5)
    console.print(f"Still running after {WAIT_S} s. Watch it in the UI.")
    raise typer.Exit(2)
