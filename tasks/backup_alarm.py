"""Telling people that backups stopped protecting: one incident for each kind of trouble a day, not one a look."""

from blocks.world import open_world
from domain.catalogue import say
from tasks.incident import open_incident
from tasks.recording import effect_task

_SEVERITY = "P2"
_AGAIN_AFTER_S = 86_400


@effect_task
def raise_alarm(run: str, lacks: str, weaknesses: tuple[str, ...]) -> int:
    """Open an incident, unless one about the same was opened within a day; returns its number, 0 where there was one.

    Effect: one incident and its message.
    """
    world = open_world()
    title = say("backup.alarm_title", language=world.language, lacks=lacks)
    for entry in world.ledger.entries(kinds=["incident.opened"], newest_first=True, limit=500):
        if entry.data.get("title") == title and (world.clock.now() - entry.at).total_seconds() < _AGAIN_AFTER_S:
            return 0
    cause = say("backup.alarm_body", language=world.language, title=title, cause=", ".join(weaknesses))
    return open_incident.fn(run, "", "production", "", _SEVERITY, title, cause)
