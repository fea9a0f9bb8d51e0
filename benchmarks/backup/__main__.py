"""Measure backups against the bare tools in the same run: `python -m benchmarks.backup [--full]`.

A server of its own, SeaweedFS with the stack's flags, our engine with barman-cloud 3.19.1, and beside it the bare
commands, in turn. Per round: the floor (upload and download of the same bytes under zstd -1), the bare command, our
backup; the bare restore, ours; and the log, segment by segment, by our resident door and by the bare command line.
Medians of ratios within rounds, since figures of a busy machine mean nothing alone. G1 to G5 name the goals.
"""

import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psycopg
import zstandard

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "contracts")]

import fixtures_backup as bench  # noqa: E402
import fixtures_s3  # noqa: E402
from fixtures_s3 import s3_account  # noqa: E402

from blocks import wal_client  # noqa: E402
from blocks.identity import ensure_users, find_python, give  # noqa: E402
from blocks.installation import Installation  # noqa: E402
from blocks.postgres_server import runnable_binaries  # noqa: E402
from blocks.wal_archive import WalArchive  # noqa: E402
from blocks.wal_door import Archiving, Serving, open_door  # noqa: E402
from blocks.wal_settings import archive_settings, client_command  # noqa: E402
from domain.backup import Backup, BackupKind, at_lsn  # noqa: E402

ROUNDS, SCALE = 3, 8
FULL_ROUNDS, FULL_SCALE = 3, 40
SEGMENTS = 6


def main() -> int:
    is_full = "--full" in sys.argv
    folder = Path(tempfile.mkdtemp(prefix="slipway-bench-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        with contextmanager(fixtures_s3.serve)(folder) as installation:
            run(folder, installation, rounds=FULL_ROUNDS if is_full else ROUNDS, scale=FULL_SCALE if is_full else SCALE)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def run(folder: Path, installation: Installation, *, rounds: int, scale: int) -> None:
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
        fill(source, scale)
        measure(bench.BarmanBench(source, installation, python, client), folder, rounds=rounds)


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


def measure(made: bench.BarmanBench, folder: Path, *, rounds: int) -> None:
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
    tell(rows)


def one_round(made: bench.BarmanBench, pack: Path, folder: Path, n: int) -> SimpleNamespace:
    one, bucket, taken = SimpleNamespace(), made.bucket("s3_backup"), list[Backup]()
    one.floor_up = timed(lambda: bucket.put_file(f"floor/{n}", pack))
    one.floor_down = timed(lambda: bucket.fetch(f"floor/{n}", folder / "down"))
    one.bare = timed(lambda: bare_backup(made, f"bare{n}"))
    one.ours = timed(lambda: taken.append(made.engine.backup(BackupKind.FULL, label=f"n{n}", limit_s=3600)))
    one.stored = taken[0].stored_bytes / pack.stat().st_size
    one.bare_restore = timed(lambda: bare_restore(made, f"bare{n}", folder / f"bare{n}"))
    one.restore = timed(lambda: restore(made, taken[0], folder / f"ours{n}"))
    one.push, one.get = log_ours(made, folder, n)
    one.cli_push, one.cli_get = log_bare(made, folder, n)
    for name in (f"bare{n}", f"ours{n}"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return one


def bare_backup(made: bench.BarmanBench, cluster: str) -> None:
    account = s3_account(made.store, "s3_backup")
    where = ["--endpoint-url", account.endpoint_url, "--addressing-style", "path"]
    server = made.source.server
    command = [tool("barman-cloud-backup"), *where, "--lz4", "--jobs", "2", "--encryption", "AES256"]
    command += ["--immediate-checkpoint", "--host", "127.0.0.1", "--port", str(server.port), "--user", "postgres"]
    subprocess.run([*command, "s3://backups/bare", cluster], env=environment(made), check=True, capture_output=True)


def bare_restore(made: bench.BarmanBench, cluster: str, folder: Path) -> None:
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


def restore(made: bench.BarmanBench, backup: Backup, folder: Path) -> None:
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


def log_bare(made: bench.BarmanBench, folder: Path, n: int) -> tuple[float, float]:
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


def tell(rows: list[SimpleNamespace]) -> None:
    def ratio(over: str, under: str) -> float:
        return statistics.median(getattr(one, over) / getattr(one, under) for one in rows)

    def median(name: str) -> float:
        return statistics.median(getattr(one, name) for one in rows)

    lines = [
        ("G1 our backup / bare barman-cloud-backup, wall", ratio("ours", "bare"), "<= 1.05"),
        ("G2 our backup / floor (upload of zstd -1 bytes)", ratio("ours", "floor_up"), "<= 2.2 idle"),
        ("G3 stored / zstd -1", median("stored"), "<= 1.30"),
        ("G4 restore to first good query / bare restore of files", ratio("restore", "bare_restore"), "-"),
        ("G5 log: bare command / ours, push", ratio("cli_push", "push"), ">= 8"),
        ("G5 log: bare command / ours, get", ratio("cli_get", "get"), ">= 8"),
    ]
    print("\n| goal | measured | wanted |\n| --- | ---: | ---: |")
    for name, value, wanted in lines:
        print(f"| {name} | {value:.2f} | {wanted} |")
    print(f"\n{len(rows)} rounds; barman-cloud 3.19.1, PostgreSQL 18, SeaweedFS 4.48 on the same machine")


def environment(made: bench.BarmanBench) -> dict[str, str]:
    account = s3_account(made.store, "s3_backup")
    keys = {"AWS_ACCESS_KEY_ID": account.access_key, "AWS_SECRET_ACCESS_KEY": account.secret_key}
    return {**os.environ, **keys, "PGPASSWORD": bench.PASSWORD, "AWS_DEFAULT_REGION": "us-east-1"}


def tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


if __name__ == "__main__":
    sys.exit(main())
