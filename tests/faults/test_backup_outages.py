"""Killed backups and a store that goes away: older ones stay restorable, the next one is done, nothing is left (G9)."""

from collections.abc import Generator
from pathlib import Path

import pytest
from backup_outages import Trial, Ways, ways_to
from fixtures_backup import ArchivingServer, BarmanBench, archiving_server  # noqa: F401 - a fixture
from fixtures_s3 import s3  # noqa: F401 - a fixture

from blocks.identity import find_python
from blocks.installation import Installation, Users

SEED = "2026"


@pytest.fixture
def ways(s3: Installation) -> Generator[Ways]:  # noqa: F811
    with ways_to(s3) as found:
        yield found


@pytest.mark.timeout(600)
def test_after_kills_and_outages_older_ones_restore_the_next_is_done_and_a_sweep_leaves_nothing(
    archiving_server: ArchivingServer,  # noqa: F811
    ways: Ways,
    users: Users,
    open_tmp: Path,
    open_tmp_root: Path,
):
    python = find_python(users.database, copy_to=open_tmp_root / "python")
    bench = BarmanBench(archiving_server, ways.store, python, open_tmp_root / "wal_client.py")
    trial = Trial(bench, ways, seed=SEED)
    try:
        trial.begin()
        for _ in range(3):
            trial.kill()
        for _ in range(2):
            trial.outage(seconds_max=6)
        trial.next()
        found = trial.end(open_tmp, restored_max=2)
    finally:
        archiving_server.archiving = None
    assert found.killed == 3 and len(found.outages_s) == 2 and found.next_done == 1
    assert found.killed_before_end >= 2 and found.left_over == 0 and found.restorable == 2
