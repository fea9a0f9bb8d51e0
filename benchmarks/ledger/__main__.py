"""What the ledger costs: `python -m benchmarks ledger [--full]`; --full walks 1,000,000 entries, else 100,000.

On a throw-away PostgreSQL that writes durably (fsync as in the stack). The chain is filled past the adapter, but true.
"""

import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from blocks.identity import ensure_users
from blocks.ledger_postgres import PostgresLedger
from blocks.ledger_schema import install_schema
from blocks.postgres_server import PostgresServer, runnable_binaries, wait_ready
from blocks.postgres_session import PostgresSession
from deployments.ledger_export import VERIFIER, write_export
from domain.anchor import Anchor, verify_anchored
from domain.canonical import canonical_json
from domain.ledger import GENESIS, Event, hash_entry

APPENDS, APPENDERS = 500, 20
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def durable_server(folder: Path) -> Generator[str]:
    """A server with the stack's durability; yields its superuser's URL."""
    user = ensure_users().database
    password = secrets.token_urlsafe(12)
    bin = runnable_binaries(user, copy_to=folder / "binaries")
    server = PostgresServer(bin=bin, data=folder / "data", port=_free_port(), user=user, settings={})
    server.initialise(password)
    process = server.start(folder / "postgres.log")
    try:
        wait_ready(server.url(password), process=process)
        yield server.url(password)
    finally:
        process.terminate()
        process.wait()


def measure_appends(url: str) -> None:
    """One appender's latency, then twenty at once."""
    ledger = PostgresLedger(PostgresSession(url))
    milliseconds: list[float] = []
    for n in range(APPENDS):
        begun = time.perf_counter()
        ledger.append(Event(kind="check.ended", application="desk", run="r", key=f"one:{n}", data={"n": n}))
        milliseconds.append((time.perf_counter() - begun) * 1000)
    cuts = statistics.quantiles(milliseconds, n=100)
    print(f"append: median {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms ({APPENDS} one after another)")
    sessions = [PostgresSession(url) for _ in range(APPENDERS)]

    def append(number: int) -> None:
        own = PostgresLedger(sessions[number])
        for n in range(APPENDS // APPENDERS):
            own.append(Event(kind="check.ended", key=f"{number}:{n}", data={"n": n}))

    begun = time.perf_counter()
    with ThreadPoolExecutor(APPENDERS) as pool:
        list(pool.map(append, range(APPENDERS)))
    print(f"append: {APPENDS / (time.perf_counter() - begun):.0f} a second by {APPENDERS} at once")


def fill(superuser_url: str, count: int) -> Anchor:
    """Write a true chain of `count` entries; returns an anchor of its head."""
    columns = "seq, at, kind, application, environment, site, release, actor, run, key, data, prev_hash, hash"
    prev_hash, release = GENESIS, "ab" * 32
    with psycopg.connect(superuser_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("TRUNCATE ledger.event")
        with connection.cursor().copy(f"COPY ledger.event ({columns}) FROM STDIN") as copy:  # type: ignore[arg-type]
            for seq in range(1, count + 1):
                data = {"step": seq % 5, "findings": [{"name": "latency_ms_p99", "value": seq / 7}], "text": "ok"}
                event = Event(
                    "verdict.given", "desk", "production", "alpha", release, run="r", key=f"k{seq}", data=data
                )
                at = BEGINNING + timedelta(seconds=seq)
                hash = hash_entry(prev_hash, seq, at, event)
                fields = (event.kind, event.application, event.environment, event.site, event.release, event.actor)
                text = canonical_json(data)
                copy.write_row((seq, at, *fields, event.run, event.key, text, prev_hash, hash))
                prev_hash = hash
    return Anchor(count, prev_hash, BEGINNING)


def measure_walks(url: str, anchor: Anchor, folder: Path) -> None:
    """Verify, export, and verify the export with the stand-alone script."""
    ledger, before = PostgresLedger(PostgresSession(url)), _peak_mb()
    begun = time.perf_counter()
    with closing(ledger.links()) as links:
        proof = verify_anchored(links, [anchor])
    assert proof.newest == anchor and proof.chain.broken_at is None
    _say("verify", anchor.seq, begun, f"memory {before:.0f} MB before, {_peak_mb():.0f} MB at most")
    begun, bundle = time.perf_counter(), folder / "ledger.tar.gz"
    with closing(ledger.links()) as links:
        write_export(bundle, links, [anchor])
    _say("export", anchor.seq, begun, f"{bundle.stat().st_size / 1e6:.0f} MB")
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-S", str(VERIFIER), str(bundle)], check=True, stdout=subprocess.DEVNULL)
    _say("verify_export.py", anchor.seq, begun, "alone, off-line")


def _say(what: str, count: int, begun: float, rest: str) -> None:
    seconds = time.perf_counter() - begun
    print(f"{what}: {count:,} entries in {seconds:.1f} s, {count / seconds:,.0f} a second; {rest}", flush=True)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    count = 1_000_000 if "--full" in sys.argv else 100_000
    with tempfile.TemporaryDirectory(prefix="slipway-bench-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with durable_server(folder) as superuser_url:
            install_schema(superuser_url)
            with psycopg.connect(superuser_url, autocommit=True) as connection:
                connection.execute("ALTER ROLE slipway PASSWORD 'of-the-benchmark'")
            url = psycopg.conninfo.make_conninfo(superuser_url, user="slipway", password="of-the-benchmark")
            measure_appends(url)
            measure_walks(url, fill(superuser_url, count), folder)


if __name__ == "__main__":
    main()
