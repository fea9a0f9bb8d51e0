"""Telling people: notifications, incident records and blocked digests. A message that fails never fails a run."""

from typing import Any

from blocks.world import open_world
from domain.catalogue import say
from domain.errors import SlipwayError
from domain.revision import blame, settings_of
from tasks.recording import Subject, effect_task, record


@effect_task
def notify(run: str, application: str, environment: str, release: str, text: str, values: dict[str, str]) -> None:
    """Send one message of the catalogue (`<text>_subject`, `<text>_body`). Effect: a message, at most one a run."""
    world = open_world()
    subject = Subject(run, application, environment, "", release)
    filled: dict[str, Any] = {"application": application, "environment": environment, **values}
    title = say(f"{text}_subject", language=world.language, **filled)
    body = say(f"{text}_body", language=world.language, **filled)
    try:
        world.notifier.send(title, body)
    except SlipwayError as exc:
        record(subject, "notification.failed", detail=text, text=text, error=str(exc)[:256])
    else:
        record(subject, "notification.sent", detail=text, text=text, title=title)


@effect_task
def open_incident(
    run: str, application: str, environment: str, release: str, severity: str, title: str, cause: str
) -> int:
    """Write an incident record and tell people. Effect: one entry. Returns its number."""
    subject = Subject(run, application, environment, "", release)
    entry = record(subject, "incident.opened", detail=title, severity=severity, title=title, cause=cause[:2000])
    notify.fn(
        run,
        application,
        environment,
        release,
        "incident.opened",
        {"severity": severity, "title": title, "cause": cause[:2000], "number": str(entry.seq), "run": run},
    )
    return entry.seq


@effect_task
def block_digest(
    run: str, application: str, release: str, reason: str, previous: str = "", environment: str = ""
) -> None:
    """Refuse a digest from now on, until somebody unblocks it with a reason. Effect: one entry.

    Where only its settings differ from `previous`, they are refused in that environment, and the digest is not.
    """
    blamed = blame(release, previous)
    place = environment if settings_of(blamed) else ""
    record(Subject(run, application, place, "", blamed), "digest.blocked", reason=reason[:500])
