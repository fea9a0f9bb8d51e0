"""A door of one's own: a real process on a real PostgreSQL, and deliveries as a Gitea server sends them."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from cryptography.fernet import Fernet
from psycopg import sql

from blocks.applications_postgres import PostgresApplications
from blocks.forge_payload import signature_of
from blocks.installation import Installation, Users, write_private
from blocks.ledger_postgres import PostgresLedger
from blocks.ledger_schema import install_schema
from blocks.postgres_server import PostgresServer, wait_ready
from blocks.postgres_session import LEDGER_DATABASE, LEDGER_ROLE, PostgresSession, ledger_session
from blocks.seal import Seal
from domain.ledger import Event
from domain.ports import Application

SECRET = "a webhook's secret"
REPOSITORY = "team/desk"
ZERO = "0" * 40
CLIENT = httpx.Client(trust_env=False, timeout=20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def push_body(*, after: str = "", before: str = ZERO, ref: str = "refs/heads/main", filler: str = "") -> bytes:
    """A push as Gitea tells it; to a commit of its own where none is given, because a known push is a replay."""
    after = after or secrets.token_hex(20)
    person = {"login": "ann", "email": "ann@example.org"}
    value = {"ref": ref, "before": before, "after": after, "repository": {"full_name": REPOSITORY}, "filler": filler}
    return json.dumps({**value, "pusher": person, "sender": person}).encode()


def headers_for(body: bytes, *, secret: str = SECRET, delivery: str = "", event: str = "push") -> dict[str, str]:
    return {
        "content-type": "application/json",
        "x-gitea-delivery": delivery or str(uuid.uuid4()),
        "x-gitea-event": event,
        "x-gitea-signature": signature_of(body, secret),
    }


@dataclass
class RunningDoor:
    """The door's process, its PostgreSQL, and what is in its inbox."""

    installation: Installation
    server: PostgresServer
    superuser_password: str
    environ: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.installation.ports['door']}"

    @property
    def log(self) -> str:
        return (self.installation.state / "door.log").read_text()

    def start_postgres(self) -> None:
        self.postgres = self.server.start(self.installation.state / "postgres.log")
        wait_ready(self.server.url(self.superuser_password), process=self.postgres)

    def stop_postgres(self) -> None:
        self.postgres.send_signal(signal.SIGINT)
        self.postgres.wait(timeout=30)

    def start(self) -> None:
        with (self.installation.state / "door.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deployments.door"],
                env={**os.environ, "SLIPWAY_STATE": str(self.installation.state), **self.environ},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                assert httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200
                return
            except httpx.TransportError:
                assert self.process.poll() is None and time.monotonic() < deadline, self.log
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)

    def post(
        self, body: bytes, headers: dict[str, str], *, path: str = f"/webhooks/gitea/{REPOSITORY}"
    ) -> httpx.Response:
        return CLIENT.post(f"{self.url}{path}", content=body, headers=headers)

    def session(self) -> PostgresSession:
        return ledger_session(self.installation)

    def deliveries(self) -> dict[str, tuple[str, str]]:
        """Status and note of every delivery, by the forge's id."""
        session = self.session()
        rows = session.rows("SELECT delivery_id, status, note FROM desk.delivery")
        session.close()
        return {row["delivery_id"]: (row["status"], row["note"]) for row in rows}

    def wait_settled(self, delivery: str, *, limit_s: float = 20) -> tuple[str, str]:
        deadline = time.monotonic() + limit_s
        while (found := self.deliveries().get(delivery, ("", "")))[0] in ("", "waiting"):
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)
        return found

    def events(self, *kinds: str) -> list[Event]:
        """Read the ledger's events of these kinds."""
        session = self.session()
        entries = PostgresLedger(session).entries(kinds=kinds)
        session.close()
        return [entry.event for entry in entries]


def make_door(state: Path, users: Users, binaries: Path) -> RunningDoor:
    """Everything that a door needs, but nothing started except PostgreSQL."""
    seal_key, password = Fernet.generate_key().decode(), secrets.token_urlsafe(12)
    ports = {"door": free_port(), "postgres": free_port(), "prefect": free_port()}
    installation = Installation(
        state=state, sockets=state, ports=ports, users=users, python=Path(sys.executable), postgres_bin=binaries
    )
    installation.save()
    write_private(state / "credentials.json", json.dumps({"postgres_slipway": password, "seal_key": seal_key}))
    server = PostgresServer(bin=binaries, data=state / "pgdata", port=ports["postgres"], user=users.database)
    door = RunningDoor(installation, server, superuser_password=secrets.token_urlsafe(12))
    server.initialise(door.superuser_password, durable=False)
    door.start_postgres()
    url = server.url(door.superuser_password)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(LEDGER_DATABASE)))
    install_schema(server.url(door.superuser_password, database=LEDGER_DATABASE))
    with psycopg.connect(url, autocommit=True) as connection:
        change = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(LEDGER_ROLE), sql.Literal(password))
        connection.execute(change)
    session = door.session()
    application = Application("desk", "gitea", REPOSITORY, "/nowhere/desk.git")
    PostgresApplications(session, Seal(seal_key)).add(application, webhook_secret=SECRET)
    session.close()
    return door
