"""Measure restore drills: `python -m benchmarks.drill clean|speed|damage|tools`.

clean   drills of whole backups, which must all pass:            --count 50
speed   checks against restore, and the cost of a day (G7, G8):  --gigabytes 3 --rounds 3
damage  damage at random, of which none may pass:                --count 200 --seed 1
tools   broken tools, of which none may pass (G14)

A server and a store of its own, our engine with barman-cloud 3.19.1, the whole drill from the choice of the backup to
the signed result; only the orchestrator is left out. Ratios are of one run, since figures of a busy machine mean
nothing alone. Ends with 1 where something that must not be green was, or a clean one was not.
"""

import argparse
import collections
import itertools
import resource
import secrets
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "contracts"), str(ROOT / "tests" / "faults")]

import fixtures_backup as fixtures  # noqa: E402
import fixtures_s3  # noqa: E402
from drill_bench import DrillBench  # noqa: E402
from drill_damage import series  # noqa: E402
from drill_tools import BROKEN, broken_tools  # noqa: E402

from blocks import wal_client  # noqa: E402
from blocks.client_settings import DEFAULT_VARIABLES, passed_variables  # noqa: E402
from blocks.embedded_drills import data_python  # noqa: E402
from blocks.identity import ensure_users, find_python, give  # noqa: E402
from blocks.packages_pip import PipPackages  # noqa: E402
from blocks.postgres_server import runnable_binaries  # noqa: E402
from blocks.wal_door import open_door  # noqa: E402
from blocks.wal_settings import archive_settings, client_command  # noqa: E402

DAY_S = 86_400
SUITE = """[
  {"type": "ExpectColumnValuesToNotBeNull", "table": "public.accounts", "arguments": {"column": "aid"}},
  {"type": "ExpectColumnValuesToBeBetween", "table": "public.accounts",
   "arguments": {"column": "bid", "min_value": 0, "max_value": 99}},
  {"type": "ExpectColumnValuesToNotBeNull", "table": "public.texts", "arguments": {"column": "body"}},
  {"type": "ExpectTableRowCountToBeBetween", "table": "public.blobs", "arguments": {"min_value": 1}},
  {"type": "UnexpectedRowsExpectation", "query": "SELECT 1 AS one",
   "arguments": {"unexpected_rows_query": "SELECT aid FROM public.accounts WHERE balance <> 0"}}
]"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.drill")
    parser.add_argument("what", choices=["clean", "speed", "damage", "tools"])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1e9, help="end earlier, after the case that then runs")
    parser.add_argument("--report", type=Path, help="where to write the last drill's page")
    asked = parser.parse_args()
    run = {"clean": clean, "speed": speed, "damage": damage, "tools": tools}[asked.what]
    with benched() as bench:
        return run(bench, asked)


@contextmanager
def benched() -> Generator[DrillBench]:
    """A server that archives, a store, and a bench on them; all of it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-", dir="/tmp"))
    folder.chmod(0o755)
    users = ensure_users()
    place = folder / "archiving"
    place.mkdir()
    give(place, users.database, mode=0o711)
    client = folder / "wal_client.py"
    client.write_text(Path(wal_client.__file__).read_text())
    python = find_python(users.database, copy_to=folder / "python")
    settings = archive_settings(client_command(python, client, place / "wal", "put"), timeout_s=3600)
    bin = runnable_binaries(users.database, copy_to=folder / "binaries")
    source = fixtures.ArchivingServer(place, bin=bin, user=users.database, settings={**settings, "max_wal_size": "4GB"})
    try:
        with (
            contextmanager(fixtures_s3.serve)(folder) as store,
            open_door(place / "wal", source, user=users.database),
            source.running(place / "log"),
        ):
            drills = folder / "drills"
            drills.mkdir()
            yield DrillBench(fixtures.BarmanBench(source, store, python, client), bin=bin, folder=drills)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clean(bench: DrillBench, asked: argparse.Namespace) -> int:
    """Drills of whole backups, while the server is written to; every tenth one takes another backup first."""
    verdicts, begun = collections.Counter[str](), time.monotonic()
    for number in range(asked.count):
        if time.monotonic() - begun > asked.seconds:
            break
        bench.source.write(f"between drills {number}")
        if number % 10 == 9:
            bench.take(f"clean{number}")
        verdict, _ = bench.drill()
        verdicts[verdict] += 1
        if verdict != "PASS":
            print(f"drill {number + 1}: {verdict}: {bench.said()}", flush=True)
    done = sum(verdicts.values())
    print(
        f"{done} clean drills: {verdicts['FAIL']} red, {verdicts['UNCLEAR']} unclear, {verdicts['PASS']} green; "
        f"{(time.monotonic() - begun) / max(1, done):.1f} s each"
    )
    return int(verdicts["PASS"] != done)


def damage(bench: DrillBench, asked: argparse.Namespace) -> int:
    """Damage at random; what was green, or said less than it had to, is told with its seed."""
    found, missed, begun = dict[str, collections.Counter[str]](), 0, time.monotonic()
    bench.take("second")
    for number, case in enumerate(itertools.islice(series(asked.seed), asked.count)):
        if time.monotonic() - begun > asked.seconds:
            break
        with case.done(bench) as words:
            verdict, checks = bench.drill()
        found.setdefault(case.name, collections.Counter())[f"{verdict} {checks[0] if checks else ''}"] += 1
        if verdict not in case.verdicts:
            missed += 1
            print(f"MISSED {number + 1} {case.name} (seed {case.seed}): {words}: {verdict} {bench.said()}", flush=True)
        bench.forget_ledger()
    print("\n| damage | cases | said |\n| --- | ---: | --- |")
    for name, said in sorted(found.items()):
        print(f"| {name} | {said.total()} | {', '.join(f'{words} ({n})' for words, n in said.most_common(4))} |")
    total = sum(said.total() for said in found.values())
    print(f"\n{total} damaged: {missed} missed; {(time.monotonic() - begun) / max(1, total):.1f} s each")
    return int(missed > 0)


def speed(bench: DrillBench, asked: argparse.Namespace) -> int:
    """G7 and G8, with the suites of an application."""
    assert "great_expectations" not in sys.modules
    fill(bench, asked.gigabytes)
    packages = PipPackages(
        bench.scratch.folder.parent / "cache", Path(sys.executable), passed_variables(DEFAULT_VARIABLES)
    )
    packages.folder.mkdir(exist_ok=True)
    packages.folder.chmod(0o755)
    python = data_python(packages)
    bench.serve_application(SUITE, data_python=lambda: python)
    backup = bench.take("large")
    print(f"{backup.size_bytes / 1e9:.2f} GB in the server, {backup.stored_bytes / 1e9:.2f} GB stored", flush=True)
    rows: list[dict[str, float]] = []
    for number in range(asked.rounds):
        with CpuMeter(bench.scratch.folder) as meter:
            verdict, checks = bench.drill()
        row = {**bench.figures(), "cpu_s": meter.total_s, "server_cpu_s": meter.server_s}
        rows.append(row)
        print(f"drill {number + 1}: {verdict} {checks} " + " ".join(f"{k}={v:.2f}" for k, v in row.items()), flush=True)
        print("  " + " ".join(f"{name}={seconds:.1f}" for name, seconds in bench.seconds().items()), flush=True)
    with CpuMeter(bench.scratch.folder) as meter:
        verdict, checks = bench.drill(is_tamper_wanted=True)
    tamper_s = max(0.0, meter.total_s - statistics.median(row["cpu_s"] for row in rows))
    tell(rows, tamper_s, verdict)
    if asked.report:
        asked.report.write_text(bench.world.screen.reports["restore-drill"][-1])
    assert "great_expectations" not in sys.modules
    return int(verdict != "PASS")


def tell(rows: list[dict[str, float]], tamper_s: float, verdict: str) -> None:
    def median(name: str) -> float:
        return statistics.median(row[name] for row in rows)

    ratio = statistics.median(row["checks_s"] / row["rto_s"] for row in rows)
    one = median("cpu_s")
    # a day: the newest backup and an older one, and a seventh of the weekly proof of tampering
    share = (2 * one + tamper_s / 7) / DAY_S
    print("\n| goal | measured | wanted |\n| --- | ---: | ---: |")
    print(f"| G7 all checks after the restore / restore to first answer | {ratio:.2f} | <= 1.5, aim 1.0 |")
    print(f"| G8 CPU of a day's drills / one core's day | {share:.2%} | <= 2 % |")
    print(f"| restore and recovery, s | {median('rto_s'):.1f} | - |")
    print(f"| all checks, s | {median('checks_s'):.1f} | - |")
    print(f"| CPU of one backup's drill, s (of it the scratch server) | {one:.0f} ({median('server_cpu_s'):.0f}) | - |")
    print(f"| CPU of the weekly proof of tampering, s | {tamper_s:.0f} ({verdict}) | - |")


def tools(bench: DrillBench, asked: argparse.Namespace) -> int:
    """G14: a tool that is missing, crashes or is another's is unavailable, in a whole drill."""
    real, wrong = bench.scratch, 0
    print("| tool | how | its check | drill |\n| --- | --- | --- | --- |")
    for tool, check in (("pg_checksums", "pages.checksums"), ("pg_amcheck", "pages.indexes")):
        for way, script in BROKEN.items():
            folder = bench.scratch.folder.parent / f"{tool} {way}"
            lacking = broken_tools(folder, real.binaries, tool, script)
            with bench.with_scratch(binaries=lacking):
                verdict, _ = bench.drill()
            outcome = bench.outcomes()[check]
            wrong += outcome != "unavailable"
            print(f"| {tool} | {way} | {outcome} | {verdict} |", flush=True)
    print(f"\n{wrong} shown as something else than unavailable")
    return int(wrong > 0)


def fill(bench: DrillBench, gigabytes: float) -> None:
    """As pgbench fills its accounts, texts that compress, and bytes that do not: 60, 18 and 20 in a hundred."""
    bench.source.execute("CREATE DATABASE desk_production")
    with psycopg.connect(make_conninfo(bench.source.url, dbname="desk_production"), autocommit=True) as connection:
        rows = int(gigabytes * 4_000_000)
        connection.execute("CREATE TABLE accounts (aid int, bid int NOT NULL, balance int, filler char(84))")
        connection.execute(
            f"INSERT INTO accounts SELECT n, n % 100, 0, '' FROM generate_series(1, {rows}) n"  # pyright: ignore[reportArgumentType]
        )
        connection.execute("ALTER TABLE accounts ADD PRIMARY KEY (aid)")
        connection.execute("CREATE TABLE texts (n int PRIMARY KEY, body text NOT NULL)")
        connection.execute(
            "INSERT INTO texts SELECT n, repeat('the same words again ', 8) || md5(n::text) "
            f"FROM generate_series(1, {int(gigabytes * 800_000)}) n"  # pyright: ignore[reportArgumentType]
        )
        connection.execute("CREATE TABLE blobs (n int PRIMARY KEY, body bytea)")
        connection.execute("ALTER TABLE blobs ALTER body SET STORAGE EXTERNAL")
        for n in range(int(gigabytes * 200)):
            connection.execute("INSERT INTO blobs VALUES (%s, %s)", (n, secrets.token_bytes(1_000_000)))
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


class CpuMeter:
    """The CPU seconds of this process, of what it started and waited for, and of the scratch servers."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._servers: dict[int, float] = {}
        self._ended = threading.Event()
        self.total_s = self.server_s = 0.0

    def __enter__(self) -> "CpuMeter":
        self._before = _own_cpu_s()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._watcher.join()
        self.server_s = sum(self._servers.values())
        self.total_s = _own_cpu_s() - self._before + self.server_s

    def _watch(self) -> None:
        while not self._ended.wait(0.25):
            for process in psutil.process_iter(["name"]):
                with suppress(psutil.Error):
                    if process.info["name"].startswith("postgres") and self._folder in process.cwd():
                        times: Any = process.cpu_times()
                        self._servers[process.pid] = times.user + times.system


def _own_cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    sys.exit(main())
