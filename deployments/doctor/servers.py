"""The servers and what they hold: PostgreSQL, the ledger, S3, Prefect and everything registered with it."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from blocks.bucket import Account, ensure_bucket
from blocks.clock import is_synchronised
from blocks.postgres_roles import find_login_problem
from blocks.schema_version import KNOWN, read_version
from deployments.doctor.case import Case, Notes
from deployments.doctor.ground import PINS
from deployments.stack.code import code_hash
from deployments.stack.parts import BUCKET
from domain.diagnosis import find_break
from domain.errors import SlipwayError

LEDGER_TAIL = 500
AHEAD_S_MAX = 2.0
ANCHOR_S_MAX = 2 * 3600
"""An anchor is written every hour; one that is missed is made up for by the next."""

_S3_LIMIT_S = 5
_DUE_S = 600
_SCHEDULER_S = 120


def look_at_postgresql(case: Case, notes: Notes) -> None:
    """Each role of ours logs in with the password that `credentials.json` has for it."""
    port = case.installation.ports["postgres"]
    for user, secret, database in (
        ("postgres", "postgres_superuser", "postgres"),
        ("slipway", "postgres_slipway", "slipway_ledger"),
        ("slipway_general", "postgres_general", "slipway_ledger"),
        ("prefect", "postgres_prefect", "prefect"),
    ):
        url = f"postgresql://{user}:{case.secret(secret)}@127.0.0.1:{port}/{database}"
        if problem := find_login_problem(url):
            notes.broken(f"PostgreSQL does not let {user} into {database}: {problem}", "slipway up")


def look_at_schema(case: Case, notes: Notes) -> None:
    password, port = case.secret("postgres_superuser"), case.installation.ports["postgres"]
    found, known = read_version(f"postgresql://postgres:{password}@127.0.0.1:{port}/slipway_ledger"), KNOWN
    if found > known:
        notes.broken(
            f"The ledger's database has schema {found}, and this code knows {known}: it is too old.",
            "git checkout NEWER && slipway doctor",
        )
    elif found < known:
        notes.broken(f"The ledger's database has schema {found}; this code needs {known}.", "slipway upgrade")
    else:
        notes.well(f"schema {found}")


def look_at_clock(case: Case, notes: Notes) -> None:
    """One-time codes, leases and schedules live by it."""
    newest = case.world.ledger.entries(newest_first=True, limit=1)
    ahead_s = (newest[0].at - datetime.now(UTC)).total_seconds() if newest else 0.0
    if ahead_s > AHEAD_S_MAX:
        notes.broken(
            f"The newest ledger entry is {ahead_s:.0f} s in the future: this machine's clock was set back.",
            "timedatectl set-ntp true",
        )
    elif is_synchronised() is False:
        notes.look(
            f"The clock says {datetime.now(UTC):%H:%M:%S} UTC, and the system calls it not synchronised.",
            "timedatectl set-ntp true",
        )


def look_at_seal(case: Case, notes: Notes) -> None:
    """What rests sealed in the database opens with our key."""
    applications = case.world.applications.list()
    for application in applications:
        try:
            case.world.applications.webhook_secret(application.name)
        except SlipwayError as exc:
            notes.broken(f"{application.name}: {exc}", f"cp BACKUP/credentials.json {case.state}/")
            return
    notes.well(f"opens the secrets of {len(applications)} applications")


def look_at_ledger(case: Case, notes: Notes) -> None:
    """Its newest part; all of it is `slipway ledger verify`'s."""
    newest = case.world.ledger.entries(newest_first=True, limit=LEDGER_TAIL)[::-1]
    if problem := find_break(newest):
        notes.broken(f"The ledger's chain is broken: {problem}.", "slipway ledger verify")
    else:
        notes.well(f"the newest {len(newest)} entries hold together")


def look_at_s3(case: Case, notes: Notes) -> None:
    """The bucket is there and stores."""
    url = f"http://127.0.0.1:{case.installation.ports['s3']}"
    account = Account(url, access_key=case.secret("s3_access_key"), secret_key=case.secret("s3_secret_key"))
    ensure_bucket(account, BUCKET, limit_s=_S3_LIMIT_S, may_make=False)


def look_at_anchors(case: Case, notes: Notes) -> None:
    """The ledger's head was copied to where nobody can change it, not long ago."""
    newest = max((anchor.at for anchor in case.world.anchors.read()), default=None)
    first = case.world.ledger.entries(limit=1)
    since = newest or (first[0].at if first else None)
    if since is not None and datetime.now(UTC) - since > timedelta(seconds=ANCHOR_S_MAX):
        notes.look(
            f"The ledger's head was {'last' if newest else 'never'} copied under Object Lock"
            f"{f', on {newest:%Y-%m-%d %H:%M} UTC' if newest else ''}.",
            "slipway prefect deployment run anchor/anchor",
        )
    elif newest:
        notes.well(f"the ledger's head was anchored on {newest:%Y-%m-%d %H:%M} UTC")


def look_at_prefect(case: Case, notes: Notes) -> None:
    version = str(case.ask("GET", "/admin/version"))
    if f"=={version}" != PINS["prefect"]:
        notes.broken(
            f"The server is Prefect {version}, and this code needs {PINS['prefect']}.", "slipway down && slipway up"
        )
    else:
        notes.well(f"Prefect {version}")


def look_at_code(case: Case, notes: Notes) -> None:
    ours = code_hash()
    if ours != case.code.name:
        notes.look(f"This is code {ours}; {case.code.name} is what runs.", "slipway upgrade")
    else:
        notes.well(ours)


def look_at_pools(case: Case, notes: Notes) -> None:
    """Every pool that a deployment or a waiting run needs has a worker, by the server's own account."""
    found = {str(pool["name"]): pool for pool in case.ask("POST", "/work_pools/filter", {})}
    for name in sorted({spec.work_pool.name for spec in case.prefect_file.deployments}):
        pool = cast(dict[str, Any] | None, found.get(name))
        if pool is None:
            notes.broken(f"Prefect has no work pool '{name}'.", "slipway up")
        elif pool["is_paused"]:
            notes.broken(f"Work pool '{name}' is paused: nothing starts.", f"slipway prefect work-pool resume {name}")
        elif not _online(case, name):
            notes.broken(f"Prefect sees no worker of work pool '{name}'.", "slipway up")


def _online(case: Case, pool: str) -> bool:
    workers = cast(list[dict[str, Any]], case.ask("POST", f"/work_pools/{pool}/workers/filter", {}))
    return any(worker["status"] == "ONLINE" for worker in workers)


def look_at_deployments(case: Case, notes: Notes) -> None:
    for spec in case.prefect_file.deployments:
        deployment = case.deployments.get(spec.name)
        if deployment is None:
            notes.broken(f"Prefect has no deployment {spec.full_name}.", "slipway up")
            continue
        if deployment["pull_steps"] != case.prefect_file.pull:
            notes.broken(f"Deployment {spec.full_name} is not from {case.code}.", "slipway up")
        elif deployment["work_pool_name"] != spec.work_pool.name:
            notes.broken(
                f"Deployment {spec.full_name} starts in pool '{deployment['work_pool_name']}', not in "
                f"'{spec.work_pool.name}'.",
                "slipway prefect deployment delete " + spec.full_name + " && slipway up",
            )
    if not notes.findings:
        notes.well(f"{len(case.prefect_file.deployments)} deployments from {case.code.name}")


def look_at_schedules(case: Case, notes: Notes) -> None:
    """They are active, and the server makes runs of them."""
    for spec in case.prefect_file.deployments:
        deployment = case.deployments[spec.name]
        active = sum(1 for one in deployment["schedules"] if one["active"])
        if deployment["paused"]:
            notes.broken(
                f"Deployment {spec.full_name} is paused.",
                f"slipway prefect api POST /deployments/{deployment['id']}/resume_deployment",
            )
        elif active < spec.active_schedules:
            asleep = next((str(one["id"]) for one in deployment["schedules"] if not one["active"]), "")
            notes.broken(
                f"{active} of {spec.active_schedules} schedules of {spec.full_name} are active.",
                f"slipway prefect deployment schedule resume {spec.full_name} {asleep}" if asleep else "slipway up",
            )
        elif active and not _has_due_run(case, str(deployment["id"])) and _is_settled(deployment):
            notes.broken(
                f"{spec.full_name} has a schedule, and Prefect makes no run of it.",
                f"kill {_pid_of(case, 'prefect')}    # its scheduler; then look for ERROR in logs/prefect.log",
            )


def _has_due_run(case: Case, deployment: str) -> bool:
    since = datetime.now(UTC) - timedelta(seconds=_DUE_S)
    wanted = {
        "deployments": {"id": {"any_": [deployment]}},
        "flow_runs": {"expected_start_time": {"after_": since.isoformat()}},
        "limit": 1,
    }
    return bool(case.ask("POST", "/flow_runs/filter", wanted))


def _is_settled(deployment: dict[str, Any]) -> bool:
    """Whether the server has had its time to make runs: one loop of its scheduler, and a margin."""
    updated = [datetime.fromisoformat(one["updated"]) for one in deployment["schedules"] if one["updated"]]
    return all(datetime.now(UTC) - one > timedelta(seconds=_SCHEDULER_S) for one in updated)


def _pid_of(case: Case, name: str) -> str:
    return next((str(part.pid) for part in case.parts if part.part == name), name)


def look_at_automations(case: Case, notes: Notes) -> None:
    """What acts when a run dies: there, and enabled."""
    from uuid import UUID

    from deployments.automations import our_automations

    found = {str(one["name"]): one for one in case.ask("POST", "/automations/filter", {})}
    for wanted in our_automations(UUID(int=0)):
        automation = cast(dict[str, Any] | None, found.get(wanted.name))
        if automation is None:
            notes.broken(f"Prefect has no automation '{wanted.name}'.", "slipway up")
        elif not automation["enabled"]:
            notes.broken(f"Automation '{wanted.name}' is paused.", f'slipway prefect automation resume "{wanted.name}"')
