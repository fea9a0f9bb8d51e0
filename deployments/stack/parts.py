"""The parts of the stack as programs under supervisor: command, user, environment, log.

One function for each part. Nothing is started here; `up.py` decides in which order that happens.
"""

import fnmatch
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from blocks import anchors_s3, archives_s3, backup_bucket, wal_client
from blocks.backup_pgbackrest import archive_push
from blocks.embedded_backups import is_pgbackrest, pgbackrest_folder
from blocks.identity import can_run, give
from blocks.installation import GENERAL, PRODUCTION, ROLE_VARIABLE, Installation, write_private
from blocks.postgres_server import PostgresServer
from blocks.seaweed import KEY_VARIABLE, SECURITY_FILE, Identity, ensure_configuration, server_flags, write_identities
from blocks.supervisor import Program
from blocks.verified import hash_file
from blocks.wal_settings import ARCHIVE_SOCKET, archive_settings, client_command
from deployments.stack.client import client_environment
from deployments.stack.code import steps_folder, workers_hash
from deployments.stack.confined import confined
from deployments.stack.probes import POOL, PRODUCTION_POOL
from deployments.stack.settings import Settings
from deployments.stack.traefik import static_configuration, traefik_folder
from domain.errors import ConfigError

BUCKET = "releases"

_POSTGRES_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "effective_cache_size": "512MB",
    "max_wal_size": "1GB",
    "min_wal_size": "80MB",
    "wal_compression": "on",
    "log_min_duration_statement": "2000",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "idle_in_transaction_session_timeout": "10min",
    "tcp_keepalives_idle": "30",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # counts queries for `capacity`; of statements like ALTER ROLE it would keep the password
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "off",
}


@dataclass(frozen=True, slots=True)
class Kit:
    """What the parts are made from."""

    installation: Installation
    settings: Settings
    credentials: Mapping[str, str]
    environ: Mapping[str, str]
    code: Path


def postgres_server(kit: Kit) -> PostgresServer:
    """The stack's PostgreSQL."""
    installation = kit.installation
    return PostgresServer(
        bin=installation.postgres_bin,
        data=installation.state / "postgres",
        port=installation.ports["postgres"],
        user=installation.users.database,
        sockets=installation.sockets / "postgres",
        settings={**_POSTGRES_SETTINGS, **_archiving(kit)},
    )


def _archiving(kit: Kit) -> dict[str, str]:
    """The log goes to the archiver, segment by segment, or to pgBackRest itself. While S3 is away PostgreSQL keeps what
    it could not hand over, and asks again."""
    installation = kit.installation
    if is_pgbackrest(installation):
        command = archive_push(pgbackrest_folder(installation, "write"))
        return archive_settings(command, timeout_s=kit.settings.archive_timeout_s)
    client = installation.state / "runtime" / "wal_client.py"
    text = Path(wal_client.__file__).read_text()
    if not client.exists() or client.read_text() != text:
        client.parent.mkdir(exist_ok=True)
        write_private(client, text, mode=0o644)
    socket = installation.sockets / "postgres" / ARCHIVE_SOCKET
    command = client_command(installation.python, client, socket, "put")
    return archive_settings(command, timeout_s=kit.settings.archive_timeout_s)


def archiver(kit: Kit) -> Program:
    """The one who takes PostgreSQL's log to S3: resident, so that a segment costs hundredths of a second."""
    kept = {name: kit.environ[name] for name in ("HOME", "USER", "LOGNAME", "LANG", "TZ") if name in kit.environ}
    # read at the start only: other keys must be another program to supervisor
    keys = "".join(kit.credentials[f"s3_backup_{kind}_key"] for kind in ("access", "secret"))
    own = {"SLIPWAY_STATE": str(kit.installation.state), "KEYS": hashlib.sha256(keys.encode()).hexdigest()[:16]}
    return Program(
        name="archiver",
        command=(sys.executable, "-m", "deployments.archiver"),
        directory=kit.code,
        environment={"PATH": _path(kit), "LC_ALL": "C.UTF-8", **kept, **own, "PYTHONUNBUFFERED": "1"},
        log=_log(kit, "archiver"),
        priority=30,
    )


def postgres(kit: Kit) -> Program:
    """PostgreSQL. SIGINT is its fast shutdown: it ends sessions and writes everything."""
    server = postgres_server(kit)
    return Program(
        name="postgres",
        command=tuple(server.command()),
        directory=server.data,
        environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        user=server.user,
        log=_log(kit, "postgres"),
        priority=10,
        stop_signal="INT",
        stop_limit_s=60,
    )


def s3(kit: Kit) -> Program:
    """SeaweedFS with its S3 door; all its listeners on 127.0.0.1 and on ports of ours."""
    installation, folder = kit.installation, kit.installation.state / "s3"
    ensure_configuration(folder, user=_net(kit))
    identities = _write_s3_identities(kit)
    flags = server_flags(
        data=folder,
        identities=identities,
        ports=installation.ports,
        sockets=installation.sockets / "s3",
        # pgBackRest speaks to S3 over TLS only
        tls=folder if is_pgbackrest(installation) else None,
    )
    return Program(
        name="s3",
        command=(str(tool(kit, "weed")), "-logtostderr=true", "server", *flags),
        directory=folder,
        # Read at the start only: other keys in them must be another program to supervisor.
        environment={
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "LC_ALL": "C",
            KEY_VARIABLE: kit.credentials["s3_encryption_key"],
            "KEYS": hash_file(str(identities))[:16] + hash_file(str(folder / SECURITY_FILE))[:16],
        },
        user=_net(kit),
        log=_log(kit, "s3"),
        priority=20,
        stop_limit_s=20,
    )


def traefik(kit: Kit, site: str) -> Program:
    """The load balancer of one site. Its standard output is the access log, one JSON object a line."""
    folder = traefik_folder(kit.installation, site)
    for path, user, mode in (
        (folder, None, 0o755),
        (folder / "dynamic", None, 0o755),
        (folder / "log", _net(kit), 0o700),
    ):
        path.mkdir(parents=True, exist_ok=True)
        give(path, user, mode=mode)
    configuration = folder / "traefik.yaml"
    write_private(configuration, static_configuration(kit.installation, site), mode=0o644)
    return Program(
        name=f"traefik-{site}",
        command=(str(tool(kit, "traefik")), f"--configFile={configuration}"),
        directory=folder,
        environment={"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C"},
        user=_net(kit),
        log=_log(kit, f"traefik-{site}"),
        priority=30,
        stop_limit_s=15,
        log_size_bytes_max=50_000_000,
    )


def prefect(kit: Kit) -> Program:
    """Prefect's server and UI, in one process; its database is PostgreSQL."""
    ports, secrets = kit.installation.ports, kit.credentials
    database = f"postgresql+asyncpg://prefect:{secrets['postgres_prefect']}@127.0.0.1:{ports['postgres']}/prefect"
    environment = {
        **prefect_client_environment(kit),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        "PREFECT_SERVER_API_AUTH_STRING": secrets["prefect_auth"],
        "PREFECT_SERVER_ENCRYPTION_KEY": secrets["prefect_encryption_key"],
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(ports["prefect"]),
        "PREFECT_SERVER_UI_API_URL": kit.installation.prefect_api_url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "15",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(kit.settings.run_retention_days * 86_400),
    }
    command = (sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1")
    return Program(
        name="prefect",
        command=(*command, "--port", str(ports["prefect"])),
        directory=kit.installation.state / "prefect",
        environment=environment,
        log=_log(kit, "prefect"),
        priority=40,
        start_s=3,
        stop_limit_s=20,
    )


def workers(kit: Kit) -> tuple[Program, Program]:
    """The two workers: what builds, and what may touch production."""
    return general_worker(kit), production_worker(kit)


def general_worker(kit: Kit) -> Program:
    """The worker that runs `ci`: other people's commits come near it, so it sees, and is given, what building takes."""
    state = kit.installation.state
    home = state / "prefect-general"
    for folder in (home, home / "tmp"):
        folder.mkdir(exist_ok=True)
    own = {
        ROLE_VARIABLE: GENERAL,
        "PREFECT_HOME": str(home),
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(home / "storage"),
        "TMPDIR": str(home / "tmp"),
    }
    # its view has the file that was there when it started
    facts = state / "installation.json"
    own["SLIPWAY_INSTALLED"] = hashlib.sha256(facts.read_bytes()).hexdigest()[:16] if facts.exists() else ""
    program = _worker(kit, "worker", POOL, home, {**flow_environment(kit), **own})
    return replace(program, command=confined(program.command, state=state, sockets=kit.installation.sockets))


def production_worker(kit: Kit) -> Program:
    """The worker that runs what approves and what touches production.

    It takes over runs that wait in the general pool since an earlier version, which had only that one.
    """
    home = kit.installation.state / "prefect"
    environment = {**flow_environment(kit), ROLE_VARIABLE: PRODUCTION}
    return _worker(kit, "worker-production", PRODUCTION_POOL, home, environment, "--inherits", POOL)


def _worker(kit: Kit, name: str, pool: str, home: Path, environment: Mapping[str, str], *words: str) -> Program:
    """A locked worker, which runs flows as processes. No limit of its own: a quick resume would kill it; the pool has.

    It runs from a folder beside the copies of the code, and is started anew only when its own file has changed.
    """
    codes = kit.installation.state / "code"
    command = (sys.executable, "-P", str(steps_folder(codes) / "slipway_worker.py"))
    return Program(
        name=name,
        command=(*command, "--pool", pool, "--name", name, *words),
        directory=home,
        environment={**environment, "SLIPWAY_WORKER": workers_hash(codes)},
        log=_log(kit, name),
        priority=50,
        start_s=3,
        stop_limit_s=30,
    )


def door(kit: Kit) -> Program:
    """The webhook door; it runs from the same copy of the code as the flows."""
    return Program(
        name="door",
        command=(sys.executable, "-m", "deployments.door"),
        directory=kit.code,
        environment=flow_environment(kit),
        log=_log(kit, "door"),
        priority=50,
        stop_limit_s=15,
    )


def keeper(kit: Kit) -> Program:
    """The one who brings the stack up again when supervisor itself is killed."""
    kept = {name: kit.environ[name] for name in ("HOME", "USER", "LOGNAME", "LANG", "TZ") if name in kit.environ}
    state = str(kit.installation.state)
    return Program(
        name="keeper",
        command=(sys.executable, "-m", "deployments.stack.keeper"),
        directory=kit.code,
        environment={"PATH": _path(kit), "LC_ALL": "C.UTF-8", **kept, "SLIPWAY_STATE": state, "PYTHONUNBUFFERED": "1"},
        log=_log(kit, "keeper"),
        priority=60,
    )


def prefect_client_environment(kit: Kit) -> dict[str, str]:
    """What every process of ours that speaks to Prefect has in its environment."""
    installation = kit.installation
    kept = {name: kit.environ[name] for name in ("HOME", "USER", "LOGNAME", "LANG", "TZ") if name in kit.environ}
    return {
        "PATH": _path(kit),
        "LC_ALL": "C.UTF-8",
        **kept,
        **client_environment(installation, auth=kit.credentials["prefect_auth"]),
        # Prefect keeps a folder of a fixed name in the temporary folder; another user's would be in the way.
        "TMPDIR": str(installation.state / "tmp"),
        "PYTHONUNBUFFERED": "1",
    }


def flow_environment(kit: Kit) -> dict[str, str]:
    """The environment of the workers, which their flow runs inherit; with what builds need of ours."""
    return {
        **build_environment(kit),
        **prefect_client_environment(kit),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "slipway",
    }


def build_environment(kit: Kit) -> dict[str, str]:
    """The variables that builds may keep: today's, and those of the last `up` that are not set today.

    Kept, so that a start without a shell (after a reboot) builds as before. An empty value takes one away.
    """
    path = kit.installation.state / "build-environment.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    patterns = kit.installation.build_variables
    merged = known | {name: value for name, value in kit.environ.items() if _is_kept(name, patterns)}
    wanted = {name: value for name, value in sorted(merged.items()) if value and _is_kept(name, patterns)}
    if wanted != known:
        write_private(path, json.dumps(wanted, indent=2))
    return wanted


def tool(kit: Kit, name: str) -> Path:
    """A program of the venv where the network's user can run it: in place, else a copy in the state.

    Raises: ConfigError where it is missing or does not run.
    """
    return _runnable(Path(sys.executable).parent / name, kit.installation.state / "runtime" / "bin" / name, _net(kit))


@cache
def _runnable(packaged: Path, copied: Path, user: str | None) -> Path:
    if not packaged.exists():
        raise ConfigError(f"{packaged} is missing. Install requirements/runtime.txt into this Python.")
    if can_run([str(packaged), "version"], user):
        return packaged
    if not copied.exists() or copied.stat().st_size != packaged.stat().st_size:
        copied.parent.mkdir(parents=True, exist_ok=True)
        draft = copied.with_name(f".{copied.name}.{os.getpid()}")
        shutil.copyfile(packaged, draft)
        draft.chmod(0o755)
        draft.replace(copied)
    if not can_run([str(copied), "version"], user):
        raise ConfigError(f"{copied} does not run as '{user}'. Is {copied.parent} on a file system mounted noexec?")
    return copied


def _is_kept(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _write_s3_identities(kit: Kit) -> Path:
    """Who may do what in S3: `up` makes buckets; flows keep releases; the ledger's head can be added, never read."""
    path, secrets = kit.installation.state / "s3-identities.json", kit.credentials

    def identity(name: str, credential: str, *actions: str) -> Identity:
        return Identity(name, secrets[f"{credential}_access_key"], secrets[f"{credential}_secret_key"], actions)

    identities = (
        identity("slipway-up", "s3_admin", "Admin", "Read", "Write", "List", "Tagging"),
        identity("slipway", "s3", *(f"{action}:{BUCKET}" for action in ("Read", "Write", "List", "Tagging"))),
        # reads every bucket, because it copies them; writes that with the backups only
        identity(backup_bucket.WRITER, "s3_backup", "Read", "List", f"Write:{backup_bucket.BUCKET}"),
        identity(backup_bucket.EXPIRER, "s3_backup_expire", *_in_backups("Read", "Write", "List")),
        identity(backup_bucket.READER, "s3_backup_read", *_in_backups("Read", "List")),
        identity("slipway-anchors", "s3_anchor", *(f"{action}:{anchors_s3.BUCKET}" for action in ("Write", "List"))),
        identity("slipway-archives", "s3_archive", *(f"{do}:{archives_s3.BUCKET}" for do in ("Read", "Write", "List"))),
        identity("slipway-usage", "s3_usage", "List"),
    )
    write_identities(path, identities, user=_net(kit))
    return path


def _in_backups(*actions: str) -> list[str]:
    """Actions in the bucket of backups; its policy takes deleting from those who write."""
    return [f"{action}:{backup_bucket.BUCKET}" for action in actions]


def _path(kit: Kit) -> str:
    """Where commands are found: our own first. The same when `up` is called by the keeper, whose PATH begins so."""
    own = str(Path(sys.executable).parent)
    given = kit.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")
    return ":".join([own, *(folder for folder in given if folder != own)])


def _net(kit: Kit) -> str | None:
    return kit.installation.users.network


def _log(kit: Kit, name: str) -> Path:
    return kit.installation.state / "logs" / f"{name}.log"
