"""`slipway rollback --break-glass`: going back when Prefect, or the ledger's database, does not answer.

Needs this machine's files, supervisor and the load balancers; nothing else. Called by
`deployments/commands/rollback.py`, and by `slipway up` for what such an act has left to be written over.
"""

import time
from dataclasses import dataclass
from uuid import uuid4

import typer
from rich.console import Console

from blocks.embedded_world import EmbeddedWorld
from blocks.emergency_world import EmergencyWorld
from blocks.installation import Installation, read_installation
from blocks.world import use_world
from domain.errors import ConfigError, TransientError
from domain.release import short
from flows.break_glass import Returned, go_back, settle_journals
from tasks.recording import without_engine

console = Console()


@dataclass(frozen=True, slots=True)
class Order:
    """What an administrator asked for; `release` may be the beginning of a digest, or empty."""

    application: str
    environment: str
    administrator: str
    reason: str
    code: str
    release: str = ""


def break_glass(order: Order) -> None:
    """Go back by hand, tell what came of it, and make it known to the ledger where that answers.

    Ends with exit code 1 where something does not hold.
    """
    begun = time.monotonic()
    run = str(uuid4())
    world = EmergencyWorld(read_installation(), run)
    console.print("Break-glass: without Prefect and without the ledger's database.")
    use_world(lambda: world)  # pyright: ignore[reportArgumentType]
    try:
        release = _find_release(world, order.release) if order.release else ""
        done = go_back(
            run=run,
            application=order.application,
            environment=order.environment,
            reason=order.reason,
            administrator=order.administrator,
            code=order.code,
            release=release,
        )
    finally:
        use_world(None)
    _tell(order, done, seconds=time.monotonic() - begun)
    _write_over(world.installation)
    if not done.is_there or done.problem:
        raise typer.Exit(1)


def take_over_journals(installation: Installation) -> list[str]:
    """Make finished acts by hand part of the ledger, and write anew what the next one would read.

    Returns: what was taken over. Raises: TransientError while the ledger is away.
    """
    world = EmbeddedWorld(installation)
    use_world(lambda: world)  # pyright: ignore[reportArgumentType]
    try:
        with without_engine():
            told = settle_journals()
        world.keep_copies()
    finally:
        use_world(None)
        world.close()
    return told


def _write_over(installation: Installation) -> None:
    try:
        for line in take_over_journals(installation):
            console.print(f"In the ledger: {line}.", markup=False)
    except TransientError as exc:
        console.print(
            f"The ledger does not know it yet ({str(exc)[:200]})\n"
            "Until it does, every other run keeps its hands off this environment. `slipway up` brings back what is "
            "down and writes it over; `reconcile` does too.",
            markup=False,
            soft_wrap=True,
        )


def _tell(order: Order, done: Returned, *, seconds: float) -> None:
    where = f"{order.environment} of {order.application}"
    if done.is_there:
        console.print(f"All traffic of {where} is on {short(done.to)} after {seconds:.1f} s.", markup=False)
    else:
        console.print(f"{where} is NOT wholly on {short(done.to)}.", markup=False)
    if done.problem:
        console.print(f"This does not hold: {done.problem}", markup=False, soft_wrap=True)
    if done.left:
        console.print(f"{short(done.left)} was left and is blocked until somebody unblocks it with a reason.")


def _find_release(world: EmergencyWorld, prefix: str) -> str:
    """Find an installed release by the beginning of its digest. Raises: ConfigError that lists what is there."""
    known = sorted({entry.event.release for entry in world.ledger.entries(kinds=["release.pinned"])})
    found = [release for release in known if release.startswith(prefix.lower())]
    if len(prefix) < 6 or len(found) != 1:
        names = ", ".join(short(release) for release in known) or "none"
        raise ConfigError(f"'{prefix}' names no release of this machine. Use at least 6 digits of one of: {names}.")
    return found[0]
