"""Whatever damages what is kept turns the drill red: a small series at random; `benchmarks/drill` has the long one.

Another seed tries others (`SLIPWAY_FUZZ_SEED`, `SLIPWAY_FUZZ_COUNT`); a failure names the case with its own.
"""

import itertools
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from drill_bench import DrillBench
from drill_damage import KINDS, Case, series
from fixtures_backup import ArchivingServer, BarmanBench, archiving_server  # noqa: F401 - fixture
from fixtures_s3 import s3  # noqa: F401 - fixture

from blocks.identity import find_python
from blocks.installation import Installation, Users

SEED = int(os.environ.get("SLIPWAY_FUZZ_SEED") or 1)
COUNT = int(os.environ.get("SLIPWAY_FUZZ_COUNT") or 4)


@pytest.fixture(scope="module")
def bench(
    archiving_server: ArchivingServer,  # noqa: F811
    s3: Installation,  # noqa: F811
    users: Users,
    postgres_bin: Path,
    open_tmp_root: Path,
) -> Generator[DrillBench]:
    python = find_python(users.database, copy_to=open_tmp_root / "python")
    barman = BarmanBench(archiving_server, s3, python, open_tmp_root / "wal_client.py")
    folder = open_tmp_root / "fuzz"
    folder.mkdir()
    yield DrillBench(barman, bin=postgres_bin, folder=folder)
    archiving_server.archiving = None


@pytest.mark.parametrize("case", itertools.islice(series(SEED), COUNT), ids=lambda case: f"{case.name}, {case.seed}")
def test_damage_at_random_is_never_green_and_names_what_found_it(case: Case, bench: DrillBench):
    with case.done(bench) as words:
        verdict, checks = bench.drill()
    assert verdict in case.verdicts and checks, (words, verdict, bench.said())
    bench.forget_ledger()


def test_the_series_has_every_kind_before_it_has_one_twice():
    names = [case.name for case in itertools.islice(series(1), len(KINDS))]
    assert sorted(names) == sorted(KINDS)
