"""A process that takes a backup and is there to be killed; it gets to its manifest only where its label begins so."""

import json
import sys
import time
from pathlib import Path

from blocks.backup_barman import BarmanEngine
from blocks.backup_bucket import BackupBucket
from blocks.backup_pgbackrest import PgBackRestEngine, Repository
from blocks.backup_server import BackupServer
from blocks.bucket import Account
from domain.backup import BackupKind
from domain.ports_backup import BackupEngine

WHOLE = "whole"


def main() -> None:
    told = json.load(sys.stdin)
    engine = pgbackrest(*told) if told[6:] else barman(*told)
    sleeps_s = 0 if told[5].startswith(WHOLE) else 600
    engine.backup(BackupKind.FULL, label=told[5], limit_s=600, extra=lambda: {"slept": time.sleep(sleeps_s)})


def barman(url: str, access: str, secret: str, server: str, cluster: str, label: str) -> BackupEngine:
    bucket = BackupBucket(Account(url, access, secret))
    return BarmanEngine(
        bucket, server=BackupServer(lambda: server), python=Path(), client=Path("/unused"), cluster=cluster
    )


def pgbackrest(url: str, access: str, secret: str, server: str, cluster: str, label: str, *rest: str) -> BackupEngine:
    folder, ca_file, cipher, prefix, data, user, sockets, port, remover_access, remover_secret = rest
    bucket = BackupBucket(Account(url, access, secret))
    return PgBackRestEngine(
        Repository(bucket, f"https://localhost:{port}", Path(ca_file), cipher, prefix),
        server=BackupServer(lambda: server),
        data=Path(data),
        user=user or None,
        folder=Path(folder),
        sockets=Path(sockets),
        remover=lambda: BackupBucket(Account(url, remover_access, remover_secret)),
    )


if __name__ == "__main__":
    main()
