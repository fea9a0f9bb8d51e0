"""What users and teams notice: the door, routes, instances, runs, gates, incidents, webhooks, who may decide."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta

from blocks.supervisor import tail_file
from deployments.doctor.case import Case, Notes
from domain.environment import Site
from domain.release import short
from domain.roles import APPROVER, ROLES, Role, has_role
from domain.rollout import (
    CLOSING_KINDS,
    GATE_CLOSING,
    GATE_OPENING,
    OPENING_KINDS,
    SETTLING_KINDS,
    live_release,
    open_gates,
    open_rollouts,
)

WAITING_S_MAX = 60
LATE_S_MAX = 300
GATE_H_MAX = 4
DAY = timedelta(days=1)
_TURNED_AWAY = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d).*? delivery\.(forged|unknown|refused) .*path=(\S+)")
_LOG_LINES = 2000


def look_at_door(case: Case, notes: Notes) -> None:
    """It answers (the parts say so), and what it took is passed on."""
    waiting = case.world.inbox.waiting(limit=200)
    old = [one for one in waiting if (datetime.now(UTC) - one.received_at).total_seconds() > WAITING_S_MAX]
    if old:
        notes.broken(
            f"{len(old)} deliveries wait in the inbox for over {WAITING_S_MAX} s; the oldest since "
            f"{old[0].received_at:%m-%d %H:%M} UTC.",
            f"tail -n 40 {case.state}/logs/door.log",
        )


def look_at_routes(case: Case, notes: Notes) -> None:
    """Each site sends an application's whole traffic to the release that the ledger calls live there."""
    looked = 0
    for application, environment, live in _live_releases(case):
        for site in case.world.environment(environment).sites:
            looked += 1
            _look_at_route(case, notes, application, environment, site, live)
    if not notes.findings:
        notes.well(f"{looked} sites as the ledger says")


def _live_releases(case: Case) -> list[tuple[str, str, str]]:
    """(application, environment, digest) of everything live; not where a rollout is under way."""
    ledger = case.world.ledger
    moving = {
        (one.application, one.environment)
        for one in open_rollouts(ledger.entries(kinds=(*OPENING_KINDS, *CLOSING_KINDS), limit=100_000))
    }
    return [
        (application.name, environment.name, live)
        for application in case.world.applications.list()
        for environment in case.world.environments()
        if (application.name, environment.name) not in moving
        and (
            live := live_release(
                ledger.entries(kinds=SETTLING_KINDS, application=application.name, environment=environment.name)
            )
        )
    ]


def _look_at_route(case: Case, notes: Notes, application: str, environment: str, site: Site, live: str) -> None:
    balancer = case.world.balancer(environment, site.name)
    shares = {short(arm.release): arm.weight_percent for arm in balancer.routes(application) if arm.weight_percent}
    if shares != {short(live): 100}:
        got = ", ".join(f"{weight} % to {release}" for release, weight in shares.items()) or "no route"
        notes.broken(
            f"{application} in {environment}/{site.name}: the ledger says {short(live)} is live; Traefik has {got}.",
            f"slipway rollback {application} --environment {environment} --release {short(live)} "
            "--as ADMINISTRATOR --reason 'routes lost'",
        )


def look_at_instances(case: Case, notes: Notes) -> None:
    """The instances of live releases run, and answer that they are healthy."""
    looked = 0
    for application, environment, live in _live_releases(case):
        for site in case.world.environment(environment).sites:
            arms = case.world.balancer(environment, site.name).routes(application)
            path = next((arm.health_path for arm in arms if arm.release == live), "/healthz")
            for instance in case.world.target(environment, site.name).instances(application):
                if instance.release != live:
                    continue
                looked += 1
                place = f"{application} {short(live)} in {environment}/{site.name}, instance {instance.index}"
                if instance.state != "running":
                    notes.broken(f"{place} is {instance.state}.", "slipway up")
                    continue
                answer = case.world.prober.probe(f"{instance.url}{path}")
                if not answer.is_ok:
                    said = answer.error or f"status {answer.status}"
                    notes.broken(f"{place} is not healthy: {said}.", f"kill {instance.pid}")
    if not notes.findings:
        notes.well(f"{looked} instances are healthy")


def look_at_runs(case: Case, notes: Notes) -> None:
    late = case.world.run_records.late(before=datetime.now(UTC) - timedelta(seconds=LATE_S_MAX))
    for run in late:
        notes.broken(
            f"Run {run.flow}/{run.name} is {run.state} and should have begun over {LATE_S_MAX} s ago.",
            f"tail -n 40 {case.state}/logs/worker.log    # then: slipway prefect flow-run cancel {run.id}",
        )


def look_at_gates(case: Case, notes: Notes) -> None:
    gates = open_gates(case.world.ledger.entries(kinds=(GATE_OPENING, *GATE_CLOSING), limit=100_000))
    asked = {
        (entry.event.run, str(entry.data.get("gate", ""))): entry.at
        for entry in case.world.ledger.entries(kinds=[GATE_OPENING], limit=100_000)
    }
    for gate in gates:
        hours = (datetime.now(UTC) - asked[gate.run, gate.gate]).total_seconds() / 3600
        if hours > GATE_H_MAX:
            notes.look(
                f"{gate.application} {short(gate.release)} waits for a decision since {hours:.0f} h, until "
                f"{gate.deadline}.",
                case.world.run_records.url(gate.run),
            )
    if not notes.findings:
        notes.well(f"{len(gates)} wait for a person")


def look_at_incidents(case: Case, notes: Notes) -> None:
    since = datetime.now(UTC) - DAY
    opened = case.world.ledger.entries(kinds=["incident.opened"], newest_first=True, limit=200)
    recent = [entry for entry in opened if entry.at > since]
    if recent:
        first = recent[0]
        notes.look(
            f"{len(recent)} incidents in the last day, the newest {first.data.get('severity', '')} of "
            f"{first.event.application or 'no application'}: {str(first.data.get('title', ''))[:160]}",
            "slipway ledger show --kind incident.opened --json",
        )


def look_at_webhooks(case: Case, notes: Notes) -> None:
    """Deliveries of the last day that were turned away at the door, or could not be read."""
    since = datetime.now(UTC) - DAY
    refused = case.world.ledger.entries(kinds=["delivery.refused"], newest_first=True, limit=200)
    for name, number in Counter(entry.event.application for entry in refused if entry.at > since).items():
        notes.look(f"{number} deliveries of {name or 'nobody known'} were refused.", f"slipway app show {name}".strip())
    for (word, path), number in _turned_away(case, since).items():
        notes.look(
            f"{number} deliveries to {path} were {word}.",
            "slipway app list    # compare address and secret at the forge",
        )


def _turned_away(case: Case, since: datetime) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for line in tail_file(case.state / "logs" / "door.log", lines=_LOG_LINES).splitlines():
        match = _TURNED_AWAY.match(line)
        # the door's log has the machine's own time
        if match and datetime.fromisoformat(match[1]).astimezone(UTC) > since:
            found[match[2], match[3]] += 1
    return found


def look_at_approvers(case: Case, notes: Notes) -> None:
    gated = [environment.name for environment in case.world.environments() if environment.approval]
    places = [(one.name, environment) for one in case.world.applications.list() for environment in gated]
    wanted = [Role(role, *place) for place in places for role in ROLES]
    people = case.world.approvers.list()
    missing = [role for role in wanted if not any(has_role(person.roles, role) for person in people)]
    if missing:
        role = missing[0]
        what = "go there" if role.name == APPROVER else "come back by hand"
        notes.look(
            f"Nobody is enrolled as {role.name} for {role.application} in {role.environment}: nothing can {what}.",
            f"slipway approver add NAME --role {role.name}",
        )
