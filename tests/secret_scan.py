"""Looks for every secret of an installation in everything that it leaves behind or shows to others.

Reusable: the journey's stack and the demo's are scanned alike. Each secret is sought as itself and as base64 (at each
of the three alignments), hexadecimal and URL-encoded. Whatever is new in the state folder is scanned unless it is named
here as a place where secrets live; those must be closed to everybody else.
"""

import base64
import json
import os
import re
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import psutil
import psycopg
from psycopg import sql

from blocks.embedded_world import EmbeddedWorld
from blocks.installation import Installation, read_secret
from blocks.processes import stack_members
from blocks.seal import SEAL_SECRET, Seal
from blocks.supervisor import Supervisor

LENGTH_MIN = 8
_PIECE_BYTES = 8 << 20
_OVERLAP_BYTES = 1024

# Where secrets live. `postgres` is scanned table by table instead, as whoever reads it sees it.
HOLDERS = re.compile(
    r"([^/]+/){0,2}credentials[^/]*\.json|credentials(\.d|-[^/]*)?/.*|s3-identities\.json|s3/security(\.toml|/.*)|postgres/.*"
    r"|pgbackrest/[a-z]+/pgbackrest\.conf|supervisor/groups/.*\.conf|supervisor/launch/.*\.json"
    # the demo plays people and a forge: their authenticators, and what the forge signs with
    r"|demo/people\.json|repositories/[^/]+\.git/hook\.json"
)
# Programs and packages of others: nothing there is written by us.
FOREIGN = re.compile(r"runtime/.*|packages/.*|.*/site-packages/.*|.*\.sock|tmp/.*\.lock")

# What each part of the stack is given; everything else is given nothing.
MAY_HOLD: Mapping[str, frozenset[str]] = {
    "prefect": frozenset({"postgres_prefect", "prefect_auth", "prefect_encryption_key"}),
    "worker": frozenset({"prefect_auth"}),
    "worker-production": frozenset({"prefect_auth"}),
    "door": frozenset({"prefect_auth"}),
    "s3": frozenset({"s3_encryption_key"}),
}
OWN_USER = ("s3",)
"""Parts that run as a user of their own, and start nothing of anybody else's."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that nobody else may see. `owner` is `application_environment` for those of one application."""

    name: str
    value: bytes
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A secret where it should not be; the value itself is never part of it."""

    secret: str
    form: str
    place: str

    def __str__(self) -> str:
        return f"{self.place}: {self.secret} as {self.form}"


def forms(value: bytes) -> dict[str, bytes]:
    """Write a value in every form in which it is sought."""
    found = {"itself": value, "hex": value.hex().encode(), "HEX": value.hex().upper().encode()}
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + value)
        # what the neighbours decide is left out: the first characters after an offset, the last before the end
        first, rest = (0, 2, 3)[offset], (offset + len(value)) % 3
        middle = whole[first:] if rest == 0 else whole[first : -4 + rest]
        found[f"base64 at {offset}"] = middle
        found[f"base64url at {offset}"] = middle.replace(b"+", b"-").replace(b"/", b"_")
    found["URL"] = quote(value, safe="").encode()
    found["JSON"] = json.dumps(value.decode(errors="replace"))[1:-1].encode()
    return found


class Scanner:
    """Finds secrets in bytes, all of them in one pass."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self.secrets = [secret for secret in secrets if len(secret.value) >= LENGTH_MIN]
        self._known: dict[bytes, tuple[Secret, str]] = {}
        for secret in self.secrets:
            for form, text in forms(secret.value).items():
                self._known.setdefault(text, (secret, form))
        self._starts = np.zeros(1 << 24, dtype=bool)
        self._texts: dict[bytes, list[bytes]] = {}
        # the longest first: what begins like another is still found whole
        for text in sorted(self._known, key=len, reverse=True):
            self._starts[int.from_bytes(text[:3], "little")] = True
            self._texts.setdefault(text[:3], []).append(text)

    def find(self, data: bytes, place: str, *, allowed: frozenset[str] = frozenset()) -> set[Found]:
        """Say which secrets are in `data`, those named in `allowed` left out."""
        hits = {self._known[text] for text in self._matches(data)}
        return {Found(secret.name, form, place) for secret, form in hits if secret.name not in allowed}

    def _matches(self, data: bytes) -> Generator[bytes]:
        """Every text that is there, none inside another. Hundreds are sought in hundreds of megabytes: a table of what
        their first three bytes may be leaves few places to look at."""
        if len(data) < 3:
            return
        values = np.frombuffer(data, dtype=np.uint8).astype(np.uint32)
        begins = values[:-2] | (values[1:-1] << 8) | (values[2:] << 16)
        after = 0
        for place in np.flatnonzero(self._starts[begins]).tolist():
            if place < after:
                continue
            for text in self._texts[data[place : place + 3]]:
                if data.startswith(text, place):
                    after = place + len(text)
                    yield text
                    break

    def find_in_file(self, path: Path, place: str) -> set[Found]:
        found: set[Found] = set()
        try:
            with path.open("rb") as file:
                rest = b""
                while piece := file.read(_PIECE_BYTES):
                    found |= self.find(rest + piece, place)
                    rest = piece[-_OVERLAP_BYTES:]
        except FileNotFoundError:
            pass  # it went away meanwhile: a running stack cleans up
        return found


def read_secrets(installation: Installation) -> list[Secret]:
    """Collect every secret of an installation: its own, those of applications, webhooks and people."""
    state, world = installation.state, EmbeddedWorld(installation)
    found: dict[str, bytes] = {}
    for path in sorted(state.glob("credentials*.json")):
        found |= {name: str(value).encode() for name, value in json.loads(path.read_text()).items()}
    # an access key names a pair of keys, and S3 servers log it; the secret is the other one
    found = {name: value for name, value in found.items() if not name.endswith("_access_key")}
    password = found["prefect_auth"].partition(b":")[2]
    secrets = [Secret(name, value) for name, value in found.items()]
    secrets.append(Secret("prefect_auth", password))
    for path in sorted((state / "credentials.d").glob("*")):
        if path.is_file() and path.read_bytes().strip():
            secrets.append(Secret(path.name, path.read_bytes().strip(), path.name.removeprefix("database-")))
    for match in re.finditer(r'^key = "(.+)"$', (state / "s3" / "security.toml").read_text(), re.MULTILINE):
        secrets.append(Secret("a token key of SeaweedFS", match[1].encode()))
    secrets += _sealed_secrets(installation, world)
    world.close()
    return secrets


def _sealed_secrets(installation: Installation, world: EmbeddedWorld) -> Generator[Secret]:
    for application in world.applications.list():
        for secret in world.applications.webhook_secrets(application.name, now=datetime.now(UTC)):
            yield Secret(f"webhook secret of {application.name}", secret.encode())
        if access := world.applications.forge_access(application.name):
            yield Secret(f"forge token of {application.name}", access.token.encode())
        for environment in world.environments():
            owner = f"{application.name}_{environment.name}"
            for version in world.settings.history(application.name, environment.name):
                values = world.settings.values(application.name, environment.name, version.version)
                for name in version.secrets:
                    yield Secret(f"{name} of {owner}", values[name].encode(), owner)
    seal = Seal(read_secret(SEAL_SECRET, state=installation.state))
    with psycopg.connect(_superuser_url(installation, "slipway_ledger")) as connection:
        for name, sealed in connection.execute("SELECT name, seed FROM desk.approver").fetchall():
            seed = seal.open(bytes(sealed))
            yield Secret(f"seed of {name}", seed.encode())
            yield Secret(f"raw seed of {name}", base64.b32decode(seed + "=" * (-len(seed) % 8)))


def scan_installation(installation: Installation) -> list[Found]:
    """Scan everything that a running installation leaves or shows; returns what was found, sorted by place."""
    scanner = Scanner(read_secrets(installation))
    assert len(scanner.secrets) > 10, "there is nothing to look for"
    found = scan_files(scanner, installation.state)
    found |= scan_databases(scanner, installation)
    found |= scan_api(scanner, installation)
    found |= scan_processes(scanner, installation)
    return sorted(found, key=str)


def scan_files(scanner: Scanner, state: Path) -> set[Found]:
    """Every file below the state folder: logs, mailbox, demo, unpacked releases, objects, copies of the code."""
    found: set[Found] = set()
    for path in sorted(state.rglob("*")):
        place = path.relative_to(state).as_posix()
        if path.is_symlink() or not path.is_file() or FOREIGN.fullmatch(place):
            continue
        if HOLDERS.fullmatch(place):
            status = path.stat()
            if status.st_size and status.st_mode & 0o077:
                found.add(Found("secrets", "a file that others may read", place))
            continue
        found |= scanner.find_in_file(path, place)
    return found


def scan_databases(scanner: Scanner, installation: Installation) -> set[Found]:
    """Every row of every database: Prefect's (logs, parameters, inputs, events, artifacts), ledger, applications'."""
    found: set[Found] = set()
    with psycopg.connect(_superuser_url(installation, "postgres")) as connection:
        names = connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
    for (database,) in names:
        with psycopg.connect(_superuser_url(installation, database)) as connection:
            tables = connection.execute(
                "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('information_schema')"
            ).fetchall()
            for schema, table in tables:
                if schema == "pg_catalog" and table not in ("pg_authid", "pg_db_role_setting", "pg_description"):
                    continue
                query = sql.SQL("SELECT row(t.*)::text FROM {} AS t").format(sql.Identifier(schema, table))
                with connection.cursor(name="scan") as rows:
                    for (row,) in rows.execute(query):
                        found |= scanner.find(row.encode(), f"database {database}, {schema}.{table}")
    return found


def scan_api(scanner: Scanner, installation: Installation) -> set[Found]:
    """What Prefect hands to everybody who has its auth string, opened secrets of blocks included."""
    found: set[Found] = set()
    questions: dict[str, dict[str, Any]] = {
        "/block_documents/filter": {"include_secrets": True},
        "/logs/filter": {},
        "/flow_runs/filter": {},
        "/task_runs/filter": {},
        "/artifacts/filter": {},
        "/events/filter": {},
        "/variables/filter": {},
        "/automations/filter": {},
        "/deployments/filter": {},
        "/work_pools/filter": {},
    }
    user, _, password = read_secret("prefect_auth", state=installation.state).partition(":")
    with httpx.Client(base_url=installation.prefect_api_url, auth=(user, password), trust_env=False, timeout=60) as api:
        for path, body in questions.items():
            seen: set[bytes] = set()
            following = ""
            for offset in range(0, 100_000, 200):
                page = {} if path.startswith("/events") else {"limit": 200, "offset": offset}
                answer = api.get(following) if following else api.post(path, json={**body, **page})
                assert answer.status_code == 200, f"{path}: {answer.text[:200]}"
                found |= scanner.find(answer.content, f"Prefect's API, {path}")
                rows = answer.json()
                following = str((rows.get("next_page") if isinstance(rows, dict) else "") or "")
                if following:
                    continue
                if not isinstance(rows, list) or len(rows) < 200 or answer.content in seen:
                    break
                seen.add(answer.content)
    return found


def scan_processes(scanner: Scanner, installation: Installation) -> set[Found]:
    """Command lines of all processes of this machine; environments of the stack's, with what each part may hold."""
    found: set[Found] = set()
    for process in psutil.process_iter():
        try:
            words = "\0".join(process.cmdline()).encode()
        except psutil.Error:
            continue
        found |= scanner.find(words, f"command line of {_describe(process)}")
    owners = {
        secret.owner: frozenset(s.name for s in scanner.secrets if s.owner == secret.owner)
        for secret in scanner.secrets
    }
    groups = {one.pid: one.group for one in Supervisor.of(installation).processes() if one.pid}
    for member in stack_members(installation.state):
        try:
            environment = "\0".join(f"{name}={value}" for name, value in member.process.environ().items()).encode()
            part = _part_of(member.process, groups)
            is_ours = member.process.uids().real == os.geteuid()
        except psutil.Error:
            continue
        # what runs as another user below a part of ours (a build, a check) is given nothing of the part's
        allowed = MAY_HOLD.get(part, frozenset()) if is_ours or part in OWN_USER else frozenset[str]()
        for owner, names in owners.items():
            if owner and is_instance_of(part, owner):
                allowed |= names
        found |= scanner.find(environment, f"environment of {part or _describe(member.process)}", allowed=allowed)
    return found


def is_instance_of(part: str, owner: str) -> bool:
    """Whether a group of supervisor runs instances of an application in an environment."""
    application, environment = owner.split("_", 1)
    return application in part and environment in part


def _part_of(process: psutil.Process, groups: Mapping[int, str]) -> str:
    """The group of the nearest ancestor that supervisor started."""
    for one in (process, *process.parents()):
        if one.pid in groups:
            return groups[one.pid]
    return ""


def _describe(process: psutil.Process) -> str:
    try:
        return f"pid {process.pid} ({process.name()})"
    except psutil.Error:
        return f"pid {process.pid}"


def _superuser_url(installation: Installation, database: str) -> str:
    password = read_secret("postgres_superuser", state=installation.state)
    return f"postgresql://postgres:{password}@127.0.0.1:{installation.ports['postgres']}/{database}"
