"""The steps of the monthly drill of the whole: recover into a scratch folder, destroy it, conclude.

Called by `recovery_drill`. What was recovered is looked at by a process of its own; what it finds bad is a failed check
and never an error.
"""

from contextlib import suppress
from datetime import datetime
from typing import Any

from blocks.world import World, open_world
from domain.catalogue import say
from domain.drill import Check, failed, passed, unavailable
from domain.drill_report import name_verdict
from domain.errors import ConfigError, SlipwayError, TransientError
from domain.recovery_drill import (
    RecoveryDrill,
    RecoveryObjectives,
    Rehearsed,
    check_objectives,
    fill_steps,
    is_overdue,
    measure_rpo,
)
from domain.recovery_report import explain_recovery_drill
from domain.verdict import Verdict
from tasks.incident import notify, open_incident
from tasks.recording import Subject, effect, effect_task, reading_task

LIMIT_S = 4 * 3600.0
_LINES = 8
"""How many lines a recovery says, about: for a bar that moves."""
_TREND = 60


@reading_task
def destroy_recoveries(run: str) -> int:
    """Destroy what drills that were killed left: only one runs at a time. Effect: processes and files go."""
    room = open_world().recovery_room
    names = list(room.leftovers())
    for name in names:
        room.destroy(name)
    return len(names)


@reading_task
def rehearse_recovery(run: str, name: str) -> Rehearsed:
    """Recover everything into a scratch folder and look at it.

    Effect: a folder and processes, until `destroy_recovery`. May be repeated.
    """
    world = open_world()
    said = 0

    def show(line: str) -> None:
        nonlocal said
        said += 1
        told = say("recovery_drill.progress", language=world.language)
        with suppress(TransientError):
            world.screen.progress("recovery-drill-progress", percent=min(99.0, 100.0 * said / _LINES), description=told)

    try:
        return world.recovery_room.rehearse(name, limit_s=LIMIT_S, on_progress=show)
    except TransientError as exc:
        return Rehearsed((unavailable("server.recovered", str(exc)),))
    except (SlipwayError, OSError) as exc:
        return Rehearsed((failed("server.recovered", "recovery_failed", error=str(exc)[:400]),))


@effect_task
def destroy_recovery(run: str, name: str) -> Check:
    """End every process of the recovered installation and remove its folder. Effect: may be repeated."""
    try:
        open_world().recovery_room.destroy(name)
    except (SlipwayError, OSError) as exc:
        return failed("destruction.folder", "destruction_failed", error=str(exc)[:300])
    return passed("destruction.folder", "destroyed")


@effect_task
def conclude_recovery_drill(
    run: str, begun_at: datetime, found: Rehearsed, destroyed: Check, objectives: RecoveryObjectives
) -> dict[str, Any]:
    """Sign the result, keep it beside the backups and in the ledger, and publish the report.

    Effect: an object, an entry, an artifact; where it failed an incident, where it proved nothing a message.
    """
    world = open_world()
    rpo_s = measure_rpo(found, begun_at=begun_at)
    figures = {**found.figures, **({} if rpo_s is None else {"rpo_s": max(0.0, rpo_s)})}
    checks = [*found.checks, *check_objectives(found, objectives, begun_at=begun_at), destroyed]
    seconds = (world.clock.now() - begun_at).total_seconds()
    drill = RecoveryDrill(run, begun_at, seconds, found.point, found.backup, fill_steps(checks), objectives, figures)
    signed = _keep(world, drill)
    with effect(Subject(run, ""), "recovery_drill", "completed", verdict=drill.verdict.value) as outcome:
        outcome.update(seconds=round(seconds, 3), backup=drill.backup, point=drill.point)
        outcome.update(figures={name: round(value, 3) for name, value in figures.items()})
        outcome.update(checks=drill.deciding[:40], **signed)
    digest = signed.get("digest", "")
    words = explain_recovery_drill(drill, trend=read_recovery_trend.fn(run), digest=digest, language=world.language)
    _publish(world, drill, words)
    _tell(world, drill, words)
    return {"verdict": drill.verdict.value, "checks": drill.deciding, **signed}


def _keep(world: World, drill: RecoveryDrill) -> dict[str, str]:
    """Sign and keep; a store that is away takes nothing from what was found, and the ledger has the digest then."""
    try:
        return dict(world.drill_results.keep(drill.run, drill.as_dict()))
    except (TransientError, ConfigError) as exc:
        return {"digest": drill.digest, "not_kept": str(exc)[:300]}


def _publish(world: World, drill: RecoveryDrill, words: str) -> None:
    verdict = name_verdict(drill.verdict, language=world.language)
    values = {"verdict": verdict, "seconds": f"{drill.seconds:.0f} s"}
    with suppress(TransientError):  # the ledger has it all
        description = say("recovery_drill.description", language=world.language, **values)
        world.screen.report("recovery-drill", markdown=words, description=description)


def _tell(world: World, drill: RecoveryDrill, words: str) -> None:
    deciding = ", ".join(drill.deciding[:8])
    if drill.verdict is Verdict.FAIL:
        title = say("recovery_drill.incident_failed", language=world.language, checks=deciding)
        open_incident.fn(drill.run, "", "", "", "P1", title, words.partition("\n## ")[0])
    elif drill.verdict is Verdict.UNCLEAR:
        notify.fn(drill.run, "", "", "", "recovery_drill.unclear", {"checks": deciding, "run": drill.run})


@reading_task
def open_overdue_recovery_drill() -> int:
    """Open an incident where no drill of the whole has ended for longer than it should: one a day.

    Effect: at most one entry. Returns: the incident's number; 0 where all is well, or there is nothing to recover yet.
    """
    world = open_world()
    now = world.clock.now()
    first = next(iter(world.ledger.entries(kinds=["backup.taken"], limit=1)), None)
    if first is None:
        return 0
    last = next(iter(world.ledger.entries(kinds=["recovery_drill.completed"], newest_first=True, limit=1)), None)
    if not is_overdue(last.at if last else None, since=first.at, now=now):
        return 0
    since = f"{(last or first).at:%Y-%m-%d %H:%M} UTC"
    title = say("recovery_drill.incident_missed", language=world.language, since=since)
    return open_incident.fn(f"recovery-drill-overdue-{now:%Y-%m-%d}", "", "", "", "P2", title, title)


@reading_task
def read_recovery_trend(run: str) -> list[tuple[datetime, float]]:
    """When drills of the whole ended, and after how many seconds all was back, oldest first."""
    entries = open_world().ledger.entries(kinds=["recovery_drill.completed"], newest_first=True, limit=_TREND)
    found = [(entry.at, entry.event.data.get("figures", {}).get("rto_s")) for entry in reversed(entries)]
    return [(at, float(seconds)) for at, seconds in found if seconds is not None]
