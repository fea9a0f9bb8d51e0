"""What runs: supervisor and every part under it."""

from deployments.doctor.case import Case, Notes
from deployments.stack.layout import read_environments, site_names
from deployments.stack.probes import WORKERS
from deployments.stack.status import ORPHANED, PartStatus

_ALWAYS = ("postgres", "s3", "archiver", "prefect", *WORKERS, "door", "keeper")


def look_at_supervisor(case: Case, notes: Notes) -> None:
    supervisor = case.parts[0]
    if not supervisor.is_well:
        orphans = [part.part for part in case.parts if part.state == ORPHANED]
        rest = f"; these still run without it: {', '.join(orphans)}" if orphans else ""
        notes.broken(f"supervisor does not run{rest}.", "slipway up")


def look_at_parts(case: Case, notes: Notes) -> None:
    for part in case.parts[1:]:
        _look_at_part(part, notes)
    sites = site_names(read_environments(case.state / "environments"))
    known = {part.part.partition(":")[0] for part in case.parts}
    for name in (*_ALWAYS, *(f"traefik-{site}" for site in sites)):
        if name not in known:
            notes.broken(f"{name} is not there at all.", "slipway up")
    if not notes.findings:
        notes.well(f"{len(case.parts)} parts run and answer")


def _look_at_part(part: PartStatus, notes: Notes) -> None:
    if part.is_well:
        return
    if part.state == "RUNNING":
        notes.broken(f"{part.part} runs (pid {part.pid}) and does not answer.", f"kill {_signal(part)} {part.pid}")
    elif part.state == "STARTING":
        notes.look(f"{part.part} is starting.", f"tail -n 40 {part.log}")
    elif part.state == "BACKOFF":
        notes.broken(f"{part.part} ends again and again while starting.", f"tail -n 40 {part.log}")
    else:
        notes.broken(f"{part.part} is {part.state}.", "slipway up")


def _signal(part: PartStatus) -> str:
    """What ends a part that hangs; supervisor starts it again. PostgreSQL is ended so that it writes what it has."""
    return "-INT" if part.part == "postgres" else "-KILL"
