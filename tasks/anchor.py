"""Copying the ledger's head to where nobody can change it, so that a rewritten ledger shows."""

from typing import Any

from blocks.world import open_world
from domain.anchor import Anchor
from domain.errors import SlipwayError
from tasks.recording import Subject, effect, effect_task


@effect_task
def write_anchor(run: str) -> dict[str, Any]:
    """Anchor the ledger's head. Effect: one object under lock. Raises: TransientError while S3 is away."""
    return _write(run, "")


@effect_task
def anchor_release(run: str, detail: str) -> dict[str, Any]:
    """Anchor the ledger's head at the end of a rollout, where that is possible: it never fails the rollout.

    Effect: one object under lock, or the reason why not, in the ledger; the next hourly run makes up for it.
    """
    try:
        return _write(run, detail)
    except SlipwayError as exc:
        return {"anchored": 0, "error": str(exc)[:500]}


def _write(run: str, detail: str) -> dict[str, Any]:
    world = open_world()
    with effect(Subject(run, ""), "anchor", "written", detail=detail) as outcome:
        head = world.ledger.entries(newest_first=True, limit=1)[0]
        anchor = Anchor(head.seq, head.hash, world.clock.now())
        world.anchors.write(anchor)
        outcome.update(anchored=anchor.seq, hash=anchor.hash)
    return outcome
