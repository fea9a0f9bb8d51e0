"""What people see of a clean-up: the page in the Prefect UI, and the message that somebody is asked."""

from typing import Any

from blocks.world import open_world
from domain.cleanup import COMPLETED
from domain.cleanup_report import explain_cleanup, waiting_lines
from tasks.incident import notify
from tasks.recording import effect_task
from tasks.report import publish_report


@effect_task
def publish_cleanup(run: str, outcomes: list[dict[str, Any]]) -> str:
    """Publish the table of what would go and what went, with a plot of what became free. Returns its id."""
    world = open_world()
    entries = world.ledger.entries(kinds=[COMPLETED], newest_first=True, limit=1000)[::-1]
    freed = [(entry.at, float(entry.data["size_bytes"])) for entry in entries]
    text = explain_cleanup(outcomes, freed, language=world.language)
    return publish_report.fn("cleanup", text, "cleanup")


@effect_task
def tell_waiting(run: str, outcomes: list[dict[str, Any]]) -> int:
    """Tell people which policies wait for a word, in one message. Effect: one message; none where none waits."""
    lines = waiting_lines(outcomes, language=open_world().language)
    if lines:
        notify.fn(run, "", "", "", "cleanup.waiting", {"count": str(len(lines)), "lines": "\n".join(lines)})
    return len(lines)
