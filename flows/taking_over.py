"""A restore's two halves: what is restored and proven aside, and how it takes the live database's place.

Called by `flows/restore.py`; `settle_restores` by `flows/reconcile.py` for runs that died. The first half changes
nothing that anybody uses. The second can be repeated from any line: what was done is read from the databases' names.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from blocks.world import open_world
from domain.catalogue import say
from domain.drill import Check
from domain.errors import SlipwayError
from domain.restore import Course, OpenRestore, Prepared, RestoreShown, key_of, read_prepared
from tasks.drill import (
    destroy_scratch,
    prove_content,
    prove_data_of,
    prove_indexes,
    prove_objects,
    prove_pages,
    restore_scratch,
)
from tasks.lease import environment_lease, held_lease
from tasks.restore import (
    await_health,
    check_course_content,
    drop_beside,
    exchange_databases,
    extract_database,
    forget_restore,
    is_exchanged,
    list_open_restores,
    load_database,
    open_restore_incident,
    read_closed_restore,
    read_databases,
    read_prepared_restore,
    record_restore,
    remember_prepared,
    remove_kept,
    scratch_name,
)
from tasks.scaling import list_rollouts_under_way
from tasks.schema import apply_migrations


def prepare(run: str, application: str, environment: str, course: Course) -> Prepared:
    """Restore aside and prove it, with a drill's own steps; what a process before this one has done stands."""
    if known := read_prepared_restore(run):
        return known
    name, found = scratch_name(run), Prepared(course, ())
    try:
        restored = restore_scratch(run, course.backup, name, "", course.target)
        checks: list[Check] = [*restored.checks, prove_objects(run, course.backup)]
        if restored.is_running:
            at_backup = course.target is None
            checks.append(prove_content(run, course.backup, name) if at_backup else check_course_content(run, course))
            judged, findings = prove_data_of(run, name, application, environment)
            # taken out before the indexes are looked at: that makes an extension in every database
            digest, rows, comparison, taken = extract_database(run, application, environment)
            found = replace(found, digest=digest, rows=rows, comparison=comparison, findings=findings)
            checks += [*judged, *taken, prove_indexes(run, name), prove_pages(run, name)]
    finally:
        destroyed = destroy_scratch(run, name)
    checks.append(destroyed)
    figures = {**restored.figures, "checks_s": sum(one.seconds for one in checks)}
    reached, moment = restored.lsn, restored.last_commit_at
    found = replace(found, checks=tuple(checks), reached=reached, moment=moment, figures=figures)
    if found.digest:
        remember_prepared(run, found)
    # as it will be read when the run wakes up: what is shown then is what was shown
    return read_prepared(found.as_dict())


def take_over(run: str, shown: RestoreShown) -> dict[str, Any]:
    """Carry out what was approved.

    Returns: `outcome` (`completed`, `stopped`, `refused`, `drifted`), `cause`, and figures.
    """
    application, environment = shown.application, shown.environment
    with held_lease(environment_lease(application, environment), owner=run):
        outcome, cause = read_closed_restore(run, application, environment)
        if outcome:
            return {"outcome": outcome, "cause": cause}
        if not is_exchanged(run, application, environment):
            if midway := list_rollouts_under_way(application, environment):
                return {"outcome": "refused", "cause": f"a {midway[0].kind} is under way (run {midway[0].run})"}
            if read_databases(application, environment).identity != shown.identity:
                return {"outcome": "drifted", "cause": "the live database is another one than was shown"}
        incident = _open_incident(run, shown)
        begun = {"act": shown.act, "kept": shown.kept, "digest": shown.prepared.digest, "incident": incident}
        record_restore(run, application, environment, "restore.begun", {**begun, "reason": shown.reason})
        try:
            told = _carry_out(run, shown)
        except SlipwayError as exc:
            return _stop(run, shown, str(exc))
        data = {**begun, **told, "course": shown.prepared.course.words, "rows": shown.prepared.rows}
        record_restore(run, application, environment, "restore.completed", data)
    return {"outcome": "completed", "cause": "", "incident": incident, **told}


def _carry_out(run: str, shown: RestoreShown) -> dict[str, Any]:
    application, environment, digest = shown.application, shown.environment, shown.prepared.digest
    if shown.act == "remove":
        remove_kept(run, application, environment, digest, shown.kept)
        return {"health": "", "migrated": ""}
    if shown.act == "restore":
        load_database(run, application, environment, digest)
    seconds = exchange_databases(run, application, environment, digest, shown.kept)
    migrated = ""
    if shown.migrations:
        site = open_world().environment(environment).primary.name
        ended = apply_migrations(run, application, environment, site, shown.live, shown.live)
        migrated = "" if ended["result"] == "applied" else f"{ended['result']}: {ended['tail'][:500]}"
    return {"health": await_health(application, environment), "migrated": migrated, "exchange_s": seconds}


def _open_incident(run: str, shown: RestoreShown) -> int:
    if shown.act == "remove":
        return 0
    language, course = open_world().language, shown.prepared.course
    title = say(f"restore.incident_{shown.act}", language=language, environment=shown.environment, to=course.asked)
    return open_restore_incident(run, shown.application, shown.environment, title, shown.reason)


def _stop(run: str, shown: RestoreShown, cause: str) -> dict[str, Any]:
    """Give up: what was loaded goes, the live database stays; unless the names have changed already."""
    application, environment = shown.application, shown.environment
    if is_exchanged(run, application, environment):
        told = {"act": shown.act, "kept": shown.kept, "health": cause[:500], "cause": cause[:500]}
        record_restore(run, application, environment, "restore.completed", told)
        return {"outcome": "completed", "health": cause, "cause": ""}
    with suppress(SlipwayError):
        drop_beside(run, application, environment)
    record_restore(run, application, environment, "restore.stopped", {"act": shown.act, "cause": cause[:500]})
    return {"outcome": "stopped", "cause": cause}


def settle_restore(here: str, opened: OpenRestore, state: str) -> None:
    """Close what a run has left that died midway: by the names it is known whether the databases were exchanged."""
    run, application, environment = opened.run, opened.application, opened.environment
    with held_lease(environment_lease(application, environment), owner=here):
        if opened not in list_open_restores():
            return  # another run settled it while this one waited for the lease
        cause = f"its run ended as {state}"
        if opened.act == "remove":
            is_done = opened.kept not in read_databases(application, environment).kept
        else:
            is_done = is_exchanged(run, application, environment)
        data: dict[str, Any] = {"act": opened.act, "kept": opened.kept, "cause": cause, "settled_by": here}
        if is_done:
            data["health"] = await_health(application, environment)
        else:
            drop_beside(run, application, environment)
        # written in the name of the run that began it: that is what closes it
        kind = "restore.completed" if is_done else "restore.stopped"
        record_restore(run, application, environment, kind, data, "settled")
    forget_restore(run)
    language = open_world().language
    title = say(
        f"restore.died_{'after' if is_done else 'before'}", language=language, environment=environment, id=key_of(run)
    )
    open_restore_incident(here, application, environment, title, data.get("health") or cause)
