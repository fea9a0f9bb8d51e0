"""Measure backups against the bare tools in the same run: `python -m benchmarks.backup [WHAT] [--full]`.

WHAT is `barman-cloud` (on PostgreSQL 18, by itself), `pgbackrest` (Debian's PostgreSQL 15) or `outages` (G9: 20 kills
and 10 absences of the store; `--engine pgbackrest` for the other one). A server of its own, SeaweedFS with the stack's
flags, our engine, and beside it the bare commands, in turn. Per round: the floor (upload and download of the same bytes
under zstd -1), the native way (pg_basebackup | zstd -1 -T2 | boto), the bare command, our backup; each one's restore;
and the log, segment by segment. Medians of ratios within rounds, since figures of a busy machine mean nothing alone. G1
to G5 name the goals.
"""

import argparse
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import psutil
import psycopg
import zstandard

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "contracts"), str(ROOT / "tests" / "faults")]

import fixtures_backup as bench  # noqa: E402
import fixtures_s3  # noqa: E402
from backup_outages import Outcome, Trial, ways_to  # noqa: E402
from fixtures_s3 import s3_account  # noqa: E402

from blocks import wal_client  # noqa: E402
from blocks.backup_pgbackrest import archive_push  # noqa: E402
from blocks.identity import as_user, ensure_users, find_python, give  # noqa: E402
from blocks.installation import Installation  # noqa: E402
from blocks.postgres_server import runnable_binaries  # noqa: E402
from blocks.wal_archive import WalArchive  # noqa: E402
from blocks.wal_door import Archiving, Serving, open_door  # noqa: E402
from blocks.wal_settings import archive_settings, client_command  # noqa: E402
from domain.backup import Backup, BackupKind, at_lsn  # noqa: E402
from domain.ports_backup import Recovery  # noqa: E402

ROUNDS, SCALE, FULL_SCALE = 3, 8, 40
SEGMENTS = 6
Bench: TypeAlias = bench.BarmanBench | bench.PgBackRestBench


def main() -> int:
    given = argparse.ArgumentParser(prog="python -m benchmarks.backup")
    given.add_argument("what", nargs="?", default="barman-cloud", choices=["barman-cloud", "pgbackrest", "outages"])
    given.add_argument("--full", action="store_true", help="a larger server")
    given.add_argument("--scale", type=int, default=SCALE, help="10 MB of rows and 5 MB of random bytes each")
    given.add_argument("--rounds", type=int, default=ROUNDS)
    given.add_argument("--engine", default="barman-cloud", choices=["barman-cloud", "pgbackrest"])
    given.add_argument("--kills", type=int, default=20)
    given.add_argument("--outages", type=int, default=10)
    given.add_argument("--away-s", type=float, default=30)
    asked = given.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        with contextmanager(fixtures_s3.serve)(folder) as installation, ExitStack() as stack:
            if asked.what == "outages":
                ways = stack.enter_context(ways_to(installation))
                made = stack.enter_context(opened(asked.engine, folder, ways.store, scale=1))
                tell_outages(asked.engine, disturb(Trial(made, ways, seed="g9"), folder, asked))
            else:
                made = stack.enter_context(
                    opened(asked.what, folder, installation, scale=FULL_SCALE if asked.full else asked.scale)
                )
                measure(made, folder, rounds=asked.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


@contextmanager
def opened(engine: str, folder: Path, store: Installation, *, scale: int) -> Generator[Bench]:
    """A filled server with an engine over it."""
    with (opened_barman if engine == "barman-cloud" else opened_pgbackrest)(folder, store) as made:
        fill(made.source, scale)
        yield made


@contextmanager
def opened_pgbackrest(folder: Path, store: Installation) -> Generator[bench.PgBackRestBench]:
    users, bin, place = ensure_users(), bench.debian_binaries(), folder / "debian"
    place.mkdir()
    give(place, users.database, mode=0o755)
    settings = archive_settings(archive_push(place), timeout_s=3600) | {"max_wal_size": "4GB"}
    source = bench.DebianServer(place, bin=bin, user=users.database, settings=settings)
    source.initialise()
    authority = folder / "ca.crt"
    authority.write_text((store.state / "security" / "ca.crt").read_text())
    authority.chmod(0o644)
    with source.running(place / "log"):
        yield bench.PgBackRestBench(source, store, place, authority)


@contextmanager
def opened_barman(folder: Path, store: Installation) -> Generator[bench.BarmanBench]:
    users = ensure_users()
    place = folder / "archiving"
    place.mkdir()
    give(place, users.database, mode=0o711)
    client = folder / "wal_client.py"
    client.write_text(Path(wal_client.__file__).read_text())
    python = find_python(users.database, copy_to=folder / "python")
    settings = archive_settings(client_command(python, client, place / "wal", "put"), timeout_s=3600)
    settings |= {"max_wal_size": "4GB"}
    bin = runnable_binaries(users.database, copy_to=folder / "binaries")
    source = bench.ArchivingServer(place, bin=bin, user=users.database, settings=settings)
    with open_door(place / "wal", source, user=users.database), source.running(place / "log"):
        yield bench.BarmanBench(source, store, python, client)


def fill(source: bench.ArchivingServer, scale: int) -> None:
    """Rows as pgbench makes them, texts that compress, and bytes that do not."""
    with psycopg.connect(source.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE accounts (aid int PRIMARY KEY, bid int, balance int, filler char(84))")
        connection.execute(
            f"INSERT INTO accounts SELECT n, n % 100, 0, '' FROM generate_series(1, {scale * 100_000}) n"  # pyright: ignore[reportArgumentType]
        )
        connection.execute("CREATE TABLE blobs (n int, body bytea)")
        for n in range(scale * 5):
            connection.execute("INSERT INTO blobs VALUES (%s, %s)", (n, secrets.token_bytes(1_000_000)))
        connection.execute("CHECKPOINT")


def timed(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def measure(made: Bench, folder: Path, *, rounds: int) -> None:
    pack = folder / "data.tar.zst"
    tar = subprocess.Popen(
        ["tar", "-C", str(made.source.server.data), "--exclude=./pg_wal", "-c", "."], stdout=subprocess.PIPE
    )
    assert tar.stdout is not None
    with pack.open("wb") as file:
        zstandard.ZstdCompressor(level=1, threads=2).copy_stream(tar.stdout, file)
    tar.wait()
    rows: list[SimpleNamespace] = []
    for n in range(rounds):
        rows.append(one_round(made, pack, folder, n))
        print(" ".join(f"{key}={value:.2f}" for key, value in vars(rows[-1]).items()), flush=True)
    tell(made, rows)


def one_round(made: Bench, pack: Path, folder: Path, n: int) -> SimpleNamespace:
    one, bucket, taken = SimpleNamespace(), made.bucket("s3_backup"), list[Backup]()
    made.source.execute("CHECKPOINT")
    one.floor_up = timed(lambda: bucket.put_file(f"floor/{n}", pack))
    one.floor_down = timed(lambda: bucket.fetch(f"floor/{n}", folder / "down"))
    one.native = timed(lambda: native_backup(made, f"native/{n}"))
    one.native_restore = timed(lambda: native_restore(made, f"native/{n}", folder / f"native{n}"))
    one.bare = timed(lambda: bare_backup(made, f"bare{n}"))
    one.ours = timed(lambda: taken.append(made.engine.backup(BackupKind.FULL, label=f"n{n}", limit_s=3600)))
    one.stored = taken[0].stored_bytes / pack.stat().st_size
    one.bare_restore = timed(lambda: bare_restore(made, f"bare{n}", folder / f"bare{n}"))
    one.restore = timed(lambda: restore(made, taken[0], folder / f"ours{n}"))
    if n == 0:
        one.rss_bare, one.rss_ours = memory_of(made, "bare-memory"), memory_of(made, "")
    if isinstance(made, bench.BarmanBench):
        one.push, one.get = log_ours(made, folder, n)
    one.cli_push, one.cli_get = log_bare(made, folder, n)
    for name in (f"bare{n}", f"ours{n}", f"native{n}"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return one


def native_backup(made: Bench, key: str) -> None:
    """pg_basebackup | zstd -1 -T2 | boto: what costs nothing but the work itself."""
    server = made.source.server
    command = [str(server.bin / "pg_basebackup"), "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]
    command += ["-c", "fast", "-Ft", "-X", "fetch", "-D", "-"]
    account = s3_account(made.store, "s3_backup")
    with subprocess.Popen(command, env={**os.environ, "PGPASSWORD": bench.PASSWORD}, stdout=subprocess.PIPE) as base:
        assert base.stdout is not None
        packed = zstandard.ZstdCompressor(level=1, threads=2).stream_reader(base.stdout, closefd=False)
        account.client().upload_fileobj(packed, "backups", key)
    assert base.returncode == 0


def native_restore(made: Bench, key: str, folder: Path) -> None:
    """Download | zstd -d | tar -x, and start: to the first good query."""
    user = made.user
    folder.mkdir()
    give(folder, user, mode=0o700)
    body = s3_account(made.store, "s3_backup_read").client().get_object(Bucket="backups", Key=key)["Body"]
    with subprocess.Popen(["tar", "-C", str(folder), "-x"], stdin=subprocess.PIPE, **as_user(user)) as tar:
        assert tar.stdin is not None
        zstandard.ZstdDecompressor().copy_stream(body, tar.stdin)
        tar.stdin.close()
    assert tar.returncode == 0
    made.rows(Recovery(folder, {"archive_mode": "off"}))


def memory_of(made: Bench, bare: str) -> float:
    """The most memory, in MB, that a backup's processes hold together: the bare command's, or a process of ours and all
    that it starts."""
    process = subprocess.Popen(**bare_command(made, bare)) if bare else bench.start_child(made.told("whole-memory"))
    most = 0.0
    while process.poll() is None:
        most = max(most, sum(resident(one) for one in tree(process.pid)) / 1e6)
        time.sleep(0.05)
    assert process.returncode == 0
    return most


def tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def resident(process: psutil.Process) -> int:
    """Its part of memory, what it shares divided among those who share it."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.Error, OSError):
        return 0


def bare_backup(made: Bench, cluster: str) -> None:
    assert subprocess.Popen(**bare_command(made, cluster)).wait() == 0


def bare_command(made: Bench, cluster: str) -> dict[str, Any]:
    """The engine's own command, as an operator without us runs it."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if isinstance(made, bench.PgBackRestBench):
        words = [*pgbackrest(made.folder), "--type=full", "--no-expire-auto", "--start-fast", "backup"]
        env = {**os.environ, "PGPASSWORD": bench.PASSWORD}
        return {"args": words, "env": env, "cwd": "/", **quiet, **as_user(made.user)}
    account = s3_account(made.store, "s3_backup")
    where = ["--endpoint-url", account.endpoint_url, "--addressing-style", "path"]
    server = made.source.server
    command = [tool("barman-cloud-backup"), *where, "--lz4", "--jobs", "2", "--encryption", "AES256"]
    command += ["--immediate-checkpoint", "--host", "127.0.0.1", "--port", str(server.port), "--user", "postgres"]
    return {"args": [*command, "s3://backups/bare", cluster], "env": environment(made), **quiet}


def pgbackrest(folder: Path) -> list[str]:
    return ["/usr/bin/pgbackrest", f"--config={folder / 'pgbackrest.conf'}", "--stanza=main"]


def bare_restore(made: Bench, cluster: str, folder: Path) -> None:
    if isinstance(made, bench.PgBackRestBench):
        folder.mkdir()
        give(folder, made.user, mode=0o700)
        command = [*pgbackrest(made.folder), f"--pg1-path={folder}", "--archive-mode=off", "restore"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **as_user(made.user))
        return
    account = s3_account(made.store, "s3_backup_read")
    where = ["--endpoint-url", account.endpoint_url, "--addressing-style", "path"]
    listed = subprocess.run(
        [tool("barman-cloud-backup-list"), *where, "s3://backups/bare", cluster],
        env=environment(made),
        check=True,
        capture_output=True,
        text=True,
    )
    name = listed.stdout.split()[listed.stdout.split().index("Name") + 1] if "Name" in listed.stdout else ""
    name = next(word for word in listed.stdout.split() if word[:8].isdigit() and "T" in word) or name
    command = [tool("barman-cloud-restore"), *where, "s3://backups/bare", cluster, name, str(folder)]
    subprocess.run(command, env=environment(made), check=True, capture_output=True)


def restore(made: Bench, backup: Backup, folder: Path) -> None:
    """To the first good query."""
    with made.reader.restore(backup.id, at_lsn(backup.target_lsn), folder, user=made.user, limit_s=3600) as recovery:
        made.rows(recovery)


def log_ours(made: bench.BarmanBench, folder: Path, n: int) -> tuple[float, float]:
    """Seconds a segment, in and out, through the door and the client that PostgreSQL starts."""
    pg_wal = folder / "pg_wal"
    pg_wal.mkdir(exist_ok=True)
    names = [f"0000000100000{n:03X}{number:08X}" for number in range(SEGMENTS)]
    source = next(path for path in sorted((made.source.server.data / "pg_wal").iterdir()) if len(path.name) == 24)
    for name in names:
        shutil.copyfile(source, pg_wal / name)
    archive = WalArchive(made.bucket("s3_backup"), f"bench{secrets.token_hex(3)}/")

    archiving, serving = Archiving(archive, pg_wal), Serving(archive)

    def answer(action: str, name: str) -> bytes:
        return (archiving if action == "put" else serving)(action, name)

    with open_door(folder / "door", answer, user=None):
        client = [str(made.python), "-I", "-S", str(made.client), str(folder / "door")]
        subprocess.run([*client, "put", names[0]], check=True)
        push = [timed(lambda name=name: subprocess.run([*client, "put", name], check=True)) for name in names[1:]]
        target = str(folder / "got")
        get = [
            timed(lambda name=name: subprocess.run([*client, "get", name, target], check=True)) for name in names[1:]
        ]
    return statistics.median(push), statistics.median(get)


def log_bare(made: Bench, folder: Path, n: int) -> tuple[float, float]:
    """Seconds a segment, in and out, by the engine's own command for each."""
    if isinstance(made, bench.PgBackRestBench):
        return log_pgbackrest(made, folder)
    account, cluster = s3_account(made.store, "s3_backup"), f"log{secrets.token_hex(3)}"
    where = ["--endpoint-url", account.endpoint_url, "--addressing-style", "path"]
    pg_wal = folder / "pg_wal"
    names = [f"0000000100000{n:03X}{number:08X}" for number in range(1, 4)]

    def run(name: str, *words: str) -> None:
        subprocess.run([tool(name), *words], env=environment(made), check=True, capture_output=True)

    push = [
        timed(
            lambda one=one: run(
                "barman-cloud-wal-archive", *where, "--zstd", "s3://backups/bare", cluster, str(pg_wal / one)
            )
        )
        for one in names
    ]
    get = [
        timed(
            lambda one=one: run(
                "barman-cloud-wal-restore", *where, "s3://backups/bare", cluster, one, str(folder / "got")
            )
        )
        for one in names
    ]
    return statistics.median(push), statistics.median(get)


def log_pgbackrest(made: bench.PgBackRestBench, folder: Path) -> tuple[float, float]:
    """Segments that the server wrote and that its archive has: pushed again, which compares, are no measure; so the
    server itself pushes, and the time is its own for a switch."""
    push = [timed(lambda number=number: made.write(f"segment {number}")) for number in range(SEGMENTS)]
    names = [name for name in sorted(archived(made)) if len(name) == 24][-SEGMENTS:]
    got = folder / "got15"
    got.mkdir(exist_ok=True)
    give(got, made.user, mode=0o700)
    get = [
        timed(
            lambda name=name: subprocess.run(
                [*pgbackrest(made.folder), "archive-get", name, str(got / name)],
                check=True,
                capture_output=True,
                cwd="/",
                **as_user(made.user),
            )
        )
        for name in names
    ]
    return statistics.median(push), statistics.median(get)


def archived(made: bench.PgBackRestBench) -> set[str]:
    keys = [one.key for one in made.bucket("s3_backup_read").objects(f"{made.prefix}/archive/")]
    return {key.rpartition("/")[2].partition("-")[0] for key in keys}


def disturb(trial: Trial, folder: Path, asked: argparse.Namespace) -> Outcome:
    """Kills and outages in turn, as many as asked for; after each kill the next backup of the schedule."""
    trial.begin()
    for n in range(max(asked.kills, asked.outages)):
        if n < asked.kills:
            trial.kill()
            trial.next()
        if n < asked.outages:
            trial.outage(asked.away_s)
        print(f"{n + 1}: {trial.outcome}", flush=True)
    return trial.end(folder, restored_max=asked.kills + asked.outages)


def tell_outages(engine: str, found: Outcome) -> None:
    away = f"{min(found.outages_s):.0f} to {max(found.outages_s):.0f} s" if found.outages_s else "none"
    lines = [
        ("backups killed by kill -9, of them before their end", f"{found.killed}, {found.killed_before_end}"),
        ("next backup of the schedule done", f"{found.next_done} of {found.killed}"),
        ("absences of the store in mid-backup, length", f"{len(found.outages_s)}, {away}"),
        (
            "the backup of that very run done, runs that tried again",
            f"{len(found.outage_backup_s)}, {found.runs_tried_again}",
        ),
        ("backups intact at the end, restored row by row", f"{found.backups}, {found.restorable}"),
        ("swept, left over after the sweep", f"{found.swept}, {found.left_over}"),
    ]
    print(f"\n| G9, {engine} | |\n| --- | ---: |")
    for name, value in lines:
        print(f"| {name} | {value} |")


def tell(made: Bench, rows: list[SimpleNamespace]) -> None:
    def ratio(over: str, under: str) -> float:
        return statistics.median(getattr(one, over) / getattr(one, under) for one in rows)

    def median(name: str) -> float:
        return statistics.median(getattr(one, name) for one in rows)

    is_barman = isinstance(made, bench.BarmanBench)
    added = rows[0].rss_ours - rows[0].rss_bare
    lines = [
        ("G1 our backup / the bare command, wall", ratio("ours", "bare"), "<= 1.05"),
        ("G1 memory that ours adds, MB (PSS of all processes)", added, "<= 64"),
        (
            "G2 our backup / floor (upload of zstd -1 bytes)",
            ratio("ours", "floor_up"),
            "<= 2.2 idle" if is_barman else "<= 2.0 idle",
        ),
        ("G2 our backup / native (pg_basebackup, zstd, boto)", ratio("ours", "native"), "-"),
        ("G2 the bare command / native", ratio("bare", "native"), "-"),
        ("G3 stored / zstd -1", median("stored"), "<= 1.30" if is_barman else "<= 1.02"),
        (
            "G4 restore to first good query / native",
            ratio("restore", "native_restore"),
            "<= 3" if is_barman else "<= 1.75",
        ),
        ("G4 the same / the bare restore of files alone", ratio("restore", "bare_restore"), "-"),
    ]
    if is_barman:
        lines.append(("G5 log: bare command / ours, push", ratio("cli_push", "push"), ">= 8"))
        lines.append(("G5 log: bare command / ours, get", ratio("cli_get", "get"), ">= 8"))
        lines.append(("G5 log: ours, push and get, s", median("push") + median("get"), "-"))
    else:
        lines.append(("G5 log: a switch until archived, and a get, s", median("cli_push") + median("cli_get"), "-"))
    print("\n| goal | measured | wanted |\n| --- | ---: | ---: |")
    for name, value, wanted in lines:
        print(f"| {name} | {value:.2f} | {wanted} |")
    version = made.source.execute("SHOW server_version")[0].split()[0]
    of = f"{made.engine.name} {made.engine.availability().version}, PostgreSQL {version}, SeaweedFS on the same machine"
    print(f"\n{len(rows)} rounds; {of}; load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores")


def environment(made: Bench) -> dict[str, str]:
    account = s3_account(made.store, "s3_backup")
    keys = {"AWS_ACCESS_KEY_ID": account.access_key, "AWS_SECRET_ACCESS_KEY": account.secret_key}
    return {**os.environ, **keys, "PGPASSWORD": bench.PASSWORD, "AWS_DEFAULT_REGION": "us-east-1"}


def tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


if __name__ == "__main__":
    sys.exit(main())
