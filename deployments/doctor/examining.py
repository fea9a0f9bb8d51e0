"""The order of the examination: what everything else stands on comes first, and what stands on a broken thing waits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from deployments.doctor import delivery, ground, running, servers
from deployments.doctor.case import Case, Notes
from domain.diagnosis import Finding
from domain.errors import SlipwayError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at, and the checks that must not be broken for that to make sense."""

    name: str
    look: Callable[[Case, Notes], None]
    needs: tuple[str, ...] = ()
    mend: str = "slipway status"


_STATE = ("installation", "owner")
_RUNS = (*_STATE, "supervisor")
_LEDGER = (*_RUNS, "postgresql")
_PREFECT = (*_RUNS, "prefect")

CHECKS = (
    Check("python", ground.look_at_python),
    Check("packages", ground.look_at_packages),
    Check("installation", ground.look_at_installation, mend="slipway up"),
    Check("owner", ground.look_at_owner, ("installation",)),
    Check("modes", ground.look_at_modes, _STATE),
    Check("credentials", ground.look_at_credentials, _STATE, mend="slipway up"),
    Check("disk", ground.look_at_disk, _STATE),
    Check("ports", ground.look_at_ports, _STATE),
    Check("isolation", ground.look_at_isolation, _STATE),
    Check("supervisor", running.look_at_supervisor, _STATE, mend="slipway up"),
    Check("parts", running.look_at_parts, _RUNS, mend="slipway up"),
    Check("postgresql", servers.look_at_postgresql, _RUNS, mend="slipway up"),
    Check("schema", servers.look_at_schema, _LEDGER, mend="slipway up"),
    Check("clock", servers.look_at_clock, _LEDGER),
    Check("seal", servers.look_at_seal, (*_LEDGER, "credentials")),
    Check("ledger", servers.look_at_ledger, _LEDGER, mend="slipway ledger verify"),
    Check("s3", servers.look_at_s3, _RUNS, mend="slipway up"),
    Check("anchors", servers.look_at_anchors, (*_LEDGER, "s3"), mend="slipway up"),
    Check("prefect", servers.look_at_prefect, (*_RUNS, "postgresql"), mend="slipway up"),
    Check("code", servers.look_at_code, _STATE, mend="slipway up"),
    Check("pools", servers.look_at_pools, _PREFECT, mend="slipway up"),
    Check("deployments", servers.look_at_deployments, _PREFECT, mend="slipway up"),
    Check("schedules", servers.look_at_schedules, (*_PREFECT, "deployments"), mend="slipway up"),
    Check("automations", servers.look_at_automations, _PREFECT, mend="slipway up"),
    Check("door", delivery.look_at_door, _LEDGER, mend="slipway up"),
    Check("routes", delivery.look_at_routes, (*_LEDGER, "prefect")),
    Check("instances", delivery.look_at_instances, (*_LEDGER, "prefect"), mend="slipway up"),
    Check("runs", delivery.look_at_runs, _PREFECT),
    Check("gates", delivery.look_at_gates, _LEDGER),
    Check("incidents", delivery.look_at_incidents, _LEDGER),
    Check("webhooks", delivery.look_at_webhooks, _LEDGER),
    Check("approvers", delivery.look_at_approvers, _LEDGER),
)


def examine(case: Case) -> Iterator[Finding]:
    """Look at one thing after the other; reads nothing before it is its turn. Changes nothing."""
    broken: set[str] = set()
    for check in CHECKS:
        stands_on = [name for name in check.needs if name in broken]
        findings = [_skipped(check, stands_on)] if stands_on else list(_look(check, case))
        if any(finding.state in ("broken", "skipped") for finding in findings):
            broken.add(check.name)
        yield from findings


def _look(check: Check, case: Case) -> Iterator[Finding]:
    notes = Notes(check.name)
    try:
        check.look(case, notes)
    except SlipwayError as exc:
        notes.broken(str(exc), check.mend)
    if not notes.findings:
        notes.well("")
    return iter(notes)


def _skipped(check: Check, stands_on: list[str]) -> Finding:
    return Finding(check.name, "skipped", f"not looked at: {', '.join(stands_on)} first")
