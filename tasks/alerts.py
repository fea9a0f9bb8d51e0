"""Telling people that something runs out: an alert opens once, is told once, and closes by itself."""

from typing import Any

from blocks.world import open_world
from domain.alerting import plan_alarms
from domain.amounts import write_value
from domain.capacity_page import Page, advice_of
from domain.catalogue import say
from domain.errors import SlipwayError
from domain.outlook import Outlook
from domain.usage import Resource
from tasks.recording import Subject, effect, effect_task, reading_task, record


@reading_task
def read_alarms() -> dict[str, list[str]]:
    """Compare the newest outlooks with the alerts that are open.

    Returns: keys of the resources whose alert is to be opened (or told at last), and to be closed.
    """
    world = open_world()
    alerts = world.outlooks.alerts()
    alarms = plan_alarms(world.outlooks.newest(), [alert.resource for alert in alerts])
    untold = [alert.resource.key for alert in alerts if not alert.is_told]
    closing = [one.resource.key for one in alarms.closing]
    opening = [one.resource.key for one in alarms.opening] + [key for key in untold if key not in closing]
    return {"opening": opening, "closing": closing}


@effect_task
def open_alert(run: str, resource: str) -> None:
    """Open an alert and tell people. Effect: a record, then a message; one that did not get out is sent next time."""
    world = open_world()
    found = _find(resource)
    if found is None or found.limit is None:
        return
    if found.resource not in [alert.resource for alert in world.outlooks.alerts()]:
        with effect(Subject(run, ""), "alert", "opened", detail=resource, resource=resource, **_facts(found)):
            world.outlooks.open_alert(found.resource, at=world.clock.now())
    if _tell(run, "capacity.alert", found):
        world.outlooks.mark_told(found.resource)


@effect_task
def close_alert(run: str, resource: str) -> None:
    """Close an alert and tell people. Effect: a record, a message, and the alert is gone."""
    world = open_world()
    found = _find(resource)
    with effect(Subject(run, ""), "alert", "closed", detail=resource, resource=resource):
        world.outlooks.close_alert(Resource.parse(resource))
    if found is not None and found.limit is not None:
        _tell(run, "capacity.over", found)


def _tell(run: str, text: str, outlook: Outlook) -> bool:
    """Send one message about one resource; whether it got out. What did not is sent by the next run."""
    world, subject, detail = open_world(), Subject(run, ""), f"{text}:{outlook.resource.key}"
    words = _words(outlook)
    title = say(f"{text}_subject", language=world.language, **words)
    try:
        world.notifier.send(title, say(f"{text}_body", language=world.language, **words))
    except SlipwayError as exc:
        record(subject, "notification.failed", detail=detail, text=text, error=str(exc)[:256])
        return False
    record(subject, "notification.sent", detail=detail, text=text, title=title)
    return True


def _find(resource: str) -> Outlook | None:
    return next((one for one in open_world().outlooks.newest() if one.resource.key == resource), None)


def _facts(outlook: Outlook) -> dict[str, Any]:
    facts: dict[str, Any] = {"used": outlook.used, "probability": outlook.probability}
    if outlook.limit is not None:
        facts |= {"limit": outlook.limit.value, "lead_days": outlook.limit.lead_days}
    return facts | ({} if outlook.median is None else {"crosses_on": str(outlook.median)})


def _words(outlook: Outlook) -> dict[str, str]:
    world, unit, limit = open_world(), outlook.resource.unit, outlook.limit
    assert limit is not None
    return {
        "resource": outlook.resource.key,
        "answer": outlook.answer.text(world.language),
        "used": write_value(outlook.used, unit),
        "limit": write_value(limit.value, unit),
        "source": limit.source,
        "lead": f"{limit.lead_days:g}",
        "advice": advice_of(outlook, Page(outlook.at, (), language=world.language)),
    }
