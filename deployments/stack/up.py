"""Bring the stack up: look before anything starts, adopt what a dead supervisor left, start, wait, register, verify.

Called by `slipway up`. Running it again changes nothing that is right already; interrupted at any line, it continues.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from blocks import anchors_s3, archives_s3
from blocks.backup_bucket import ensure_backup_bucket
from blocks.bucket import Account, ensure_bucket, ensure_locked_bucket, ensure_uploads_end
from blocks.embedded_backups import is_pgbackrest, open_pgbackrest
from blocks.installation import STATE_VARIABLE, Installation
from blocks.ledger_schema import install_schema
from blocks.postgres_roles import (
    ensure_database,
    ensure_extension,
    ensure_role,
    find_login_problem,
    grant_entry,
)
from blocks.postgres_server import PostgresServer, wait_ready
from blocks.postgres_session import GENERAL_ROLE, LEDGER_DATABASE, LEDGER_ROLE
from blocks.processes import end_all, is_this_server, spare_families, stack_members
from blocks.schema_version import find_obstacle
from blocks.schema_version import read_version as read_schema
from blocks.seal import NEXT
from blocks.supervisor import Supervisor, tail_file
from deployments.stack import parts
from deployments.stack.code import copy_code
from deployments.stack.credentials import ensure_credentials, take_given
from deployments.stack.engine import choose_engine
from deployments.stack.layout import (
    make_installation,
    plan_installation,
    read_environments,
    ship_capacity,
    ship_environments,
    site_names,
)
from deployments.stack.lock import exclusive
from deployments.stack.parts import Kit
from deployments.stack.preflight import find_problems
from deployments.stack.probes import WORKERS, wait_http
from deployments.stack.progress import Progress
from deployments.stack.registration import register
from deployments.stack.settings import Settings
from deployments.stack.status import read_status
from deployments.upgrading.version import find_prefect_obstacle, own_prefect, read_version, record_version
from domain.errors import ConfigError, TransientError

_ORPHAN_GRACE_S = 20
_WELL_LIMIT_S = 60
_DYING_LIMIT_S = 5
_STACK_GROUPS = ("postgres", "s3", "archiver", "prefect", *WORKERS, "door", "keeper")


def bring_up(settings: Settings, progress: Progress, *, upgrading: bool = False) -> Installation:
    """Bring the stack up and return its facts.

    Args:
        upgrading: whether `slipway upgrade` asks, which has made a copy: then every step of the schemas is taken.

    Effect: may be repeated. Raises: ConfigError with every problem found, before anything starts.
    """
    look_before(settings)
    _refuse_other_version(settings.state, upgrading=upgrading)
    os.environ[STATE_VARIABLE] = str(settings.state)
    settings.state.mkdir(parents=True, exist_ok=True)
    with exclusive(settings.state):
        with progress.step("users, folders, credentials") as notes:
            kit = _prepare(settings, notes)
        supervisor = Supervisor.of(kit.installation)
        _take_over(kit, supervisor, progress)
        _start(kit, supervisor, progress, upgrading=upgrading)
        register(kit, progress, start_worker=lambda: _start_workers(kit, supervisor, progress))
        _wait_servers(kit, progress)
        supervisor.add_group("keeper", [parts.keeper(kit)])
        with progress.step("everything runs"):
            _wait_well(kit.installation)
        with progress.step("what break-glass reads is up to date") as notes:
            from deployments.break_glass import take_over_journals  # not at the top: it brings Prefect

            notes += take_over_journals(kit.installation)
        record_version(settings.state, code=kit.code.name)
    return kit.installation


def look_before(settings: Settings) -> None:
    """Refuse where something stands in the way.

    Raises: ConfigError with one sentence for each problem.
    """
    ports, _ = plan_installation(settings)
    deadline = time.monotonic() + (_DYING_LIMIT_S if settings.state.exists() else 0)
    while problems := _find_problems(settings, ports):
        # A part that is just dying still holds its ports, and its environment can't be read any more.
        if time.monotonic() < deadline:
            time.sleep(0.5)
            continue
        raise ConfigError("Nothing was started.\n" + "\n".join(f"  - {problem}" for problem in problems))


def _find_problems(settings: Settings, ports: Mapping[str, int]) -> list[str]:
    own_pids = {member.pid for member in stack_members(settings.state)}
    return find_problems(settings, ports=ports, own_pids=own_pids)


def _prepare(settings: Settings, notes: list[str]) -> Kit:
    credentials = ensure_credentials(settings.state, take_given(os.environ))
    _require_copy_keys(settings, credentials)
    settings.save()
    edited = ship_environments(settings.state)
    ship_capacity(settings.state)
    installation = make_installation(settings)
    notes += [f"environments/{name} is the team's own and stays" for name in edited]
    choice = choose_engine(settings)
    notes += [f"backups by {choice.engine}{f' ({choice.note})' if choice.note else ''}"]
    code = copy_code(settings.state / "code")
    return Kit(installation=installation, settings=settings, credentials=credentials, environ=os.environ, code=code)


def _require_copy_keys(settings: Settings, credentials: Mapping[str, str]) -> None:
    """Raises: ConfigError where the second place is a bucket that nobody gave keys for."""
    if settings.backup_copy.startswith("s3://") and "backup_copy_access_key" not in credentials:
        raise ConfigError(
            f"There are no keys for {settings.backup_copy}. Set SLIPWAY_BACKUP_COPY_ACCESS_KEY and "
            "SLIPWAY_BACKUP_COPY_SECRET_KEY in the environment of this `slipway up`; they are kept in credentials.json."
        )


def _take_over(kit: Kit, supervisor: Supervisor, progress: Progress) -> None:
    """Start supervisor; if an earlier one died, adopt the programs that it left, and end what nobody wrote down.

    Adopted programs never notice: each is found by its recorded pid and start time, and gets a guardian under the new
    supervisor (`blocks/launch.py`). So nothing that serves is interrupted. Flow runs go on, and all that they started.
    """
    if supervisor.is_up():
        return
    alive = {group: pids for group, pids in supervisor.living().items() if group in supervisor.desired_groups()}
    members = stack_members(kit.installation.state)
    kept = [pid for pids in alive.values() for pid in pids] + [one.pid for one in members if one.is_flow_run]
    if orphans := [one for one in spare_families(members, kept) if not one.is_flow_run]:
        with progress.step("what a dead supervisor left was ended") as notes:
            notes += sorted(member.describe() for member in orphans)
            if remaining := end_all(orphans, grace_s=_ORPHAN_GRACE_S):
                raise ConfigError(f"{remaining[0].describe()} can't be ended. End it by hand, then run `slipway up`.")
    with progress.step("supervisor"):
        supervisor.boot()
    if alive:
        with progress.step("what a dead supervisor left was adopted") as notes:
            notes += sorted(alive)
            for group in alive:
                supervisor.start(group)


def _start(kit: Kit, supervisor: Supervisor, progress: Progress, *, upgrading: bool) -> None:
    """Start everything up to Prefect's server. The long way is PostgreSQL, then Prefect; the rest starts beside it."""
    server = parts.postgres_server(kit)
    with progress.step("PostgreSQL") as notes:
        server.initialise(kit.credentials["postgres_superuser"])
        _forget_stale_pid(server)
        notes += ["started"] if supervisor.add_group("postgres", [parts.postgres(kit)]) else []
        _prepare_databases(kit, server, upgrading=upgrading)
    if supervisor.add_group("prefect", [parts.prefect(kit)]):
        progress.say("✓ Prefect server started")
    sites = site_names(read_environments(kit.installation.state / "environments"))
    for program in (parts.s3(kit), parts.archiver(kit), *(parts.traefik(kit, site) for site in sites)):
        supervisor.add_group(program.name, [program])
    _start_instances(supervisor, own=[*_STACK_GROUPS, *(f"traefik-{site}" for site in sites)], progress=progress)


def _wait_servers(kit: Kit, progress: Progress) -> None:
    """Wait for what nothing before had to wait for."""
    sites = site_names(read_environments(kit.installation.state / "environments"))
    with progress.step("SeaweedFS S3"):
        admin = Account(
            f"http://127.0.0.1:{kit.installation.ports['s3']}",
            access_key=kit.credentials["s3_admin_access_key"],
            secret_key=kit.credentials["s3_admin_secret_key"],
        )
        ensure_bucket(admin, parts.BUCKET)
        ensure_bucket(admin, archives_s3.BUCKET)
        for bucket in (parts.BUCKET, archives_s3.BUCKET):
            ensure_uploads_end(admin, bucket)
        ensure_locked_bucket(admin, anchors_s3.BUCKET, retention_days=kit.settings.anchor_retention_days)
        ensure_backup_bucket(admin, lock_days=kit.settings.backup_lock_days)
    if is_pgbackrest(kit.installation):
        with progress.step("pgBackRest's repository"):
            open_pgbackrest(kit.installation, "write").prepare()
    with progress.step(f"Traefik, {len(sites)} sites"):
        for site in sites:
            wait_http(f"http://127.0.0.1:{kit.installation.ports[f'metrics-{site}']}/ping", limit_s=20)


def _prepare_databases(kit: Kit, server: PostgresServer, *, upgrading: bool) -> None:
    superuser = _superuser(kit, server)
    url = server.url(superuser)
    wait_ready(url)
    ensure_extension(url, "pg_stat_statements")
    ensure_role(url, "prefect", password=kit.credentials["postgres_prefect"])
    ensure_database(url, "prefect", owner="prefect")
    ensure_extension(server.url(superuser, database="prefect"), "pg_trgm")
    ensure_database(url, LEDGER_DATABASE)
    ledger = server.url(superuser, database=LEDGER_DATABASE)
    if obstacle := find_obstacle(read_schema(ledger), upgrading=upgrading):
        raise ConfigError(obstacle)
    install_schema(ledger)
    ensure_role(url, LEDGER_ROLE, password=kit.credentials["postgres_slipway"])
    ensure_role(url, GENERAL_ROLE, password=kit.credentials["postgres_general"])
    for role in (LEDGER_ROLE, GENERAL_ROLE):
        grant_entry(url, LEDGER_DATABASE, role=role)


def _refuse_other_version(state: Path, *, upgrading: bool) -> None:
    """Raises: ConfigError where this Python's Prefect must not start on the installation's database."""
    recorded = read_version(state).get("prefect", "")
    if obstacle := find_prefect_obstacle(recorded, own_prefect(), upgrading=upgrading):
        raise ConfigError(obstacle)


def _superuser(kit: Kit, server: PostgresServer) -> str:
    """The superuser's password: the next one where a rotation was killed just after it came into force."""
    present = kit.credentials["postgres_superuser"]
    following = kit.credentials.get(f"postgres_superuser{NEXT}")
    deadline = time.monotonic() + _WELL_LIMIT_S
    while following and find_login_problem(server.url(present)) and time.monotonic() < deadline:
        if not find_login_problem(server.url(following)):
            return following
        time.sleep(0.5)
    return present


def _start_instances(supervisor: Supervisor, *, own: Sequence[str], progress: Progress) -> None:
    """Start what was released here before: groups that others wrote down."""
    started = [group for group in supervisor.groups() if group not in own and supervisor.start(group)]
    if started:
        progress.say(f"✓ released services: {', '.join(started)}")


def _start_workers(kit: Kit, supervisor: Supervisor, progress: Progress) -> None:
    for program in (*parts.workers(kit), parts.door(kit)):
        if supervisor.add_group(program.name, [program]):
            progress.say(f"✓ {program.name} started")


def _wait_well(installation: Installation) -> None:
    """Wait until every part runs and answers, as `slipway status` sees it.

    Raises: TransientError naming the first part that does not, with the end of its log.
    """
    deadline = time.monotonic() + _WELL_LIMIT_S
    while unwell := [part for part in read_status(installation) if not part.is_well]:
        if time.monotonic() > deadline:
            first = unwell[0]
            words = tail_file(first.log, lines=5)[-256:] if first.log else ""
            raise TransientError(f"{first.part} is {first.state} after {_WELL_LIMIT_S} s. See {first.log}: {words}")
        time.sleep(0.2)


def _forget_stale_pid(server: PostgresServer) -> None:
    """Remove a `postmaster.pid` whose process is gone, even where its number was given to somebody else since.

    PostgreSQL itself only looks whether the number is alive, and then refuses to start for ever.
    """
    path = server.data / "postmaster.pid"
    if not path.exists():
        return
    lines = path.read_text().splitlines()
    if len(lines) < 3 or not is_this_server(int(lines[0]), float(lines[2]), name="postgres"):
        path.unlink()
