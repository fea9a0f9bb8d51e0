"""A real SeaweedFS with the stack's own flags and identities, for every suite that needs an S3 server."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from free_ports import free_ports

from blocks.backup_bucket import EXPIRER, READER, WRITER, ensure_backup_bucket
from blocks.bucket import Account, ensure_bucket, ensure_locked_bucket
from blocks.installation import Installation, Users, write_private
from blocks.seaweed import KEY_VARIABLE, Identity, ensure_configuration, server_flags, write_identities
from domain.errors import TransientError

KEPT_DAYS = 400
ATTEMPTS_MAX = 3


@pytest.fixture(scope="session")
def s3(open_tmp_root: Path) -> Generator[Installation]:
    """One for the session; where two modules of it import this fixture, one for each."""
    folder = Path(tempfile.mkdtemp(prefix="s3-", dir=open_tmp_root))
    folder.chmod(0o755)
    yield from serve(folder)


def serve(folder: Path) -> Generator[Installation]:
    """One with the bucket `releases`, and `anchors` under lock; everything of it is gone afterwards."""
    for attempt in range(1, ATTEMPTS_MAX + 1):
        installation, weed = _start(folder / f"s3-{attempt}")
        try:
            admin = s3_admin(installation)
            try:
                ensure_bucket(admin, "releases", limit_s=60)
            except TransientError:
                # a port that was free a moment ago may be somebody's by now: others
                if attempt == ATTEMPTS_MAX:
                    raise
                continue
            ensure_bucket(admin, "archives")
            ensure_locked_bucket(admin, "anchors", retention_days=KEPT_DAYS)
            ensure_locked_bucket(admin, "anchors", retention_days=KEPT_DAYS)  # a second `up` changes nothing
            ensure_backup_bucket(admin, lock_days=1)
            yield installation
            return
        finally:
            weed.kill()
            weed.wait()
            shutil.rmtree(installation.state, ignore_errors=True)


def _start(state: Path) -> tuple[Installation, subprocess.Popen[bytes]]:
    (state / "data").mkdir(parents=True)
    names = [f"{part}{kind}" for part in ("s3", "s3-master", "s3-volume", "s3-filer") for kind in ("", "-grpc")]
    names.append("s3-tls")
    installation = Installation(
        state=state,
        sockets=state,
        ports=dict(zip(names, free_ports(len(names)), strict=True)),
        users=Users(),
        python=Path(sys.executable),
        postgres_bin=state,
    )
    installation.save()
    keys = {f"{name}_{kind}_key": secrets.token_hex(16) for name in ALLOWED for kind in ("access", "secret")}
    keys["s3_encryption_key"] = secrets.token_hex(32)
    write_private(state / "credentials.json", json.dumps(keys))
    ensure_configuration(state, user=None)
    write_identities(state / "identities.json", [_identity(keys, name) for name in ALLOWED], user=None)
    flags = server_flags(
        data=state / "data", identities=state / "identities.json", ports=installation.ports, sockets=state, tls=state
    )
    with (state / "weed.log").open("wb") as log:
        weed = subprocess.Popen(
            [str(Path(sys.executable).parent / "weed"), "server", *flags],
            stdout=log,
            stderr=log,
            cwd=state,
            env={**os.environ, KEY_VARIABLE: keys["s3_encryption_key"]},
        )
    return installation, weed


ALLOWED = {
    "s3_admin": ("Admin", "Read", "Write", "List", "Tagging"),
    "s3": ("Read:releases", "Write:releases", "List:releases", "Tagging:releases"),
    "s3_anchor": ("Write:anchors", "List:anchors"),
    "s3_archive": ("Read:archives", "Write:archives", "List:archives"),
    "s3_backup": ("Read", "List", "Write:backups"),
    "s3_backup_expire": ("Read:backups", "Write:backups", "List:backups"),
    "s3_backup_read": ("Read:backups", "List:backups"),
    "s3_usage": ("List",),
}
NAMES = {"s3_backup": WRITER, "s3_backup_expire": EXPIRER, "s3_backup_read": READER}


def _identity(keys: dict[str, str], name: str) -> Identity:
    return Identity(NAMES.get(name, name), keys[f"{name}_access_key"], keys[f"{name}_secret_key"], ALLOWED[name])


def s3_account(installation: Installation, name: str) -> Account:
    """The account of an identity, by the name of its credentials."""
    keys = json.loads((installation.state / "credentials.json").read_text())
    url = f"http://127.0.0.1:{installation.ports['s3']}"
    return Account(url, keys[f"{name}_access_key"], keys[f"{name}_secret_key"])


def s3_admin(installation: Installation) -> Account:
    return s3_account(installation, "s3_admin")
