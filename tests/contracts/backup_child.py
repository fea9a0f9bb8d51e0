"""A process that takes a backup and never gets to its manifest: it is there to be killed."""

import json
import sys
import time
from pathlib import Path

from blocks.backup_barman import BarmanEngine
from blocks.backup_bucket import BackupBucket
from blocks.backup_server import BackupServer
from blocks.bucket import Account
from domain.backup import BackupKind


def main() -> None:
    url, access, secret, server, cluster, label = json.load(sys.stdin)
    engine = BarmanEngine(
        BackupBucket(Account(url, access, secret)),
        server=BackupServer(lambda: server),
        python=Path(sys.executable),
        client=Path("/unused"),
        cluster=cluster,
    )
    engine.backup(BackupKind.FULL, label=label, limit_s=600, extra=lambda: {"slept": time.sleep(600)})


if __name__ == "__main__":
    main()
