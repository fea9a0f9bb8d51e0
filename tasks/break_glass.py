"""The journal of a rollback by hand becomes part of the ledger, and its environment everybody's again."""

from blocks.world import open_world
from domain.break_glass import adopt_entry, plan_closing
from domain.errors import InvariantError
from domain.ledger import Entry, Event, verify_chain
from domain.rollout import CLOSING_KINDS, OPENING_KINDS, open_rollouts
from tasks.lease import environment_lease
from tasks.recording import effect_task, reading_task

SEIZE_LIMIT_S = 1


@reading_task
def list_journals() -> list[str]:
    """List the acts by hand whose journals the ledger has not taken over, oldest first."""
    return open_world().break_glass.unsettled()


@reading_task
def keep_copies() -> None:
    """Write anew what break-glass reads of ledger and approvers, in case a line of it was missed. Effect: files."""
    open_world().keep_copies()


@effect_task
def take_over_journal(journal: str) -> dict[str, str]:
    """Write a journal's entries to the ledger, close the rollouts that it ended, and lift its mark.

    Effect: entries, each once however often this is repeated; leases of the ended runs are given back.
    Returns: `application`, `environment`, `entries`, `closed` (how many rollouts).
    Raises: TransientError while the act is still under way, or the ledger is away; InvariantError where the journal was
        changed.
    """
    glass = open_world().break_glass
    entries = glass.journal(journal).entries()
    report = verify_chain(entries)
    if report.broken_at is not None:
        raise InvariantError(
            f"The journal {journal} of a break-glass rollback is broken at line {report.broken_at}: {report.reason}. "
            "Find out who changed it (`STATE/break-glass/journals`); until then nobody may act in that environment."
        )
    about = entries[0].event
    with glass.seized(about.application, about.environment, limit_s=SEIZE_LIMIT_S):
        closed = _write_over(journal, entries, about)
        glass.settle(journal, halted=closed)
    return {
        "application": about.application,
        "environment": about.environment,
        "entries": str(len(entries)),
        "closed": str(len(closed)),
    }


def _write_over(journal: str, entries: list[Entry], about: Event) -> tuple[str, ...]:
    """Append everything; returns the runs that the act ended."""
    world = open_world()
    for entry in entries:
        world.ledger.append(adopt_entry(entry))
    kinds = (*OPENING_KINDS, *CLOSING_KINDS)
    place, environment = about.application, about.environment
    known = world.ledger.entries(kinds=kinds, application=place, environment=environment, limit=100_000)
    for event in plan_closing(entries, open_rollouts(known)):
        world.ledger.append(event)
    mark = f"break-glass:{journal}:closes:"
    closings = world.ledger.entries(kinds=CLOSING_KINDS, application=place, environment=environment, limit=100_000)
    closed = tuple(entry.event.run for entry in closings if (entry.event.key or "").startswith(mark))
    lease = environment_lease(about.application, about.environment)
    for held in world.leases.held():
        if held.name == lease and held.owner in closed:
            world.leases.release(lease, owner=held.owner)
    data = {"journal": journal, "entries": len(entries), "head": entries[-1].hash, "closed": list(closed)}
    key = f"break_glass.reconciled:{journal}"
    world.ledger.append(
        Event("break_glass.reconciled", place, environment, actor=about.actor, run=journal, key=key, data=data)
    )
    return closed
