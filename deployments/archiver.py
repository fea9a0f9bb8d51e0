"""`python -m deployments.archiver`: takes PostgreSQL's log to the backups' bucket, started by the stack's supervisor.

Resident: `archive_command` only knocks at its socket. Where S3 is away it says so, PostgreSQL keeps the segment and
asks again; nothing is lost and nobody waits.
"""

import logging
import signal
import threading

from blocks.embedded_backups import wal_archive
from blocks.installation import read_installation
from blocks.wal_door import Archiving, open_door
from blocks.wal_settings import ARCHIVE_SOCKET


def main() -> None:
    """Serve until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    log = logging.getLogger("archiver")
    installation, stop = read_installation(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stop.set())
    answer = Archiving(wal_archive(installation), installation.state / "postgres" / "pg_wal")
    socket = installation.sockets / "postgres" / ARCHIVE_SOCKET
    with open_door(socket, answer, user=installation.users.database, say=log.warning):
        log.info("archiving at %s", socket)
        stop.wait()


if __name__ == "__main__":
    main()
