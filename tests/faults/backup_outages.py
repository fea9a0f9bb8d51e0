"""Backups that are killed at random moments, and stores that go away in the middle of one; then what is left (G9).

A way between the engine and its store can be cut and mended: as when the store's process is killed and started again,
everybody is cut off and nobody gets in. Used by `test_backup_outages.py` with a few, by `benchmarks/backup` with many.
"""

import random
import select
import socket
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "contracts"))
from drill_bench import DrillWorld
from fixtures_backup import BarmanBench, PgBackRestBench, start_child
from fixtures_s3 import s3_admin

from blocks.installation import Installation
from blocks.world import use_world
from domain.backup import Backup, at_lsn
from tasks.backup import take_backup
from tasks.recording import without_engine


class Way:
    """A TCP way to a port of this machine that can be cut."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._ended = threading.Event()
        self._away = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._away.set()
        self._listener.close()
        for one in list(self._open):
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._listener = self._listen(self.port)
        self._away.clear()

    def close(self) -> None:
        self._ended.set()
        self.cut()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        listener.settimeout(0.2)
        return listener

    def _accept(self) -> None:
        while not self._ended.is_set():
            if self._away.is_set():
                time.sleep(0.02)
                continue
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                continue
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        self._open |= {near, far}
        try:
            while not self._away.is_set():
                ready, _, _ = select.select([near, far], [], [], 0.5)
                for one in ready:
                    body = one.recv(1 << 18)
                    if not body:
                        return
                    (far if one is near else near).sendall(body)
        except (OSError, ValueError):
            return
        finally:
            self._open -= {near, far}
            near.close()
            far.close()


@dataclass
class Ways:
    """All ways to a store, cut and mended together; `store` is what it looks like from here."""

    store: Installation
    ways: list[Way]

    def away(self, seconds: float) -> None:
        for way in self.ways:
            way.cut()
        time.sleep(seconds)
        for way in self.ways:
            way.mend()


@contextmanager
def ways_to(store: Installation) -> Generator[Ways]:
    ways = {name: Way(store.ports[name]) for name in ("s3", "s3-tls")}
    seen = replace(store, ports={**store.ports, **{name: way.port for name, way in ways.items()}})
    try:
        yield Ways(seen, list(ways.values()))
    finally:
        for way in ways.values():
            way.close()


class RealClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass
class Outcome:
    """What became of it all."""

    killed: int = 0
    killed_before_end: int = 0
    outages_s: list[float] = field(default_factory=list[float])
    outage_backup_s: list[float] = field(default_factory=list[float])
    runs_tried_again: int = 0
    next_done: int = 0
    next_s: list[float] = field(default_factory=list[float])
    swept: int = 0
    left_over: int = 0
    restorable: int = 0
    backups: int = 0


class Trial:
    """One engine on one server, its store behind ways that can be cut."""

    def __init__(self, bench: BarmanBench | PgBackRestBench, ways: Ways, *, seed: str) -> None:
        self.bench, self.ways, self.random = bench, ways, random.Random(seed)
        self.outcome = Outcome()
        self.rows: dict[str, list[str]] = {}
        self._written: list[str] = []
        self._runs = 0
        self._took_s = 0.0
        self.world: Any = DrillWorld(open_engine=lambda purpose: bench.engine)
        self.world.clock = RealClock()

    def begin(self) -> None:
        """One whole backup in a process of its own, by whose time kills are placed; and one that counts as older."""
        begun = time.monotonic()
        child = start_child(self.bench.told("whole-measured"))
        assert child.wait(timeout=300) == 0, "a backup that nobody disturbs must end well"
        self._took_s = time.monotonic() - begun
        self.take()

    def kill(self) -> None:
        """Kill -9 a process that takes a backup, somewhere between its start and its end."""
        moment_s = self.random.uniform(0.1, 0.95) * self._took_s
        child = start_child(self.bench.told(f"whole-killed-{self.outcome.killed}"))
        with suppress(Exception):
            child.wait(timeout=moment_s)
        self.outcome.killed += 1
        self.outcome.killed_before_end += child.poll() is None
        child.kill()
        child.wait()

    def outage(self, seconds_max: float) -> None:
        """Take a backup as the flow does, while the store goes away in the middle for a while."""
        away_s, after_s = self.random.uniform(1, seconds_max), self.random.uniform(0.1, 0.9) * self._took_s
        cutting = threading.Timer(after_s, self.ways.away, args=(away_s,))
        cutting.start()
        begun = time.monotonic()
        self.take()
        cutting.join()
        self.outcome.outages_s.append(away_s)
        self.outcome.outage_backup_s.append(time.monotonic() - begun)

    def next(self) -> None:
        """The next one of the schedule."""
        begun = time.monotonic()
        self.take()
        self.outcome.next_s.append(time.monotonic() - begun)
        self.outcome.next_done += 1

    def take(self) -> Backup:
        """Write a row, and take a backup by the flow's own task, with its own pauses between tries."""
        self._runs += 1
        self.bench.source.execute("INSERT INTO said (text) VALUES (%s)", f"row {self._runs}")
        self._written.append(f"row {self._runs}")
        use_world(lambda: self.world)
        try:
            with without_engine():
                taken: dict[str, Any] = take_backup(f"trial-{self._runs}", "full")
        finally:
            use_world(None)
        (found,) = [one for one in self.bench.engine.backups() if one.id == taken["id"]]
        assert found.is_done
        self.rows[found.id] = list(self._written)
        return found

    def end(self, folder: Path, *, restored_max: int) -> Outcome:
        """Sweep as a day later; look for what is left, and restore what is there."""
        swept = self.bench.expirer.sweep(older_than=timedelta(0), dry_run=False)
        self.outcome.swept = len(swept)
        self.outcome.runs_tried_again = len(self.world.ledger.entries(kinds=["backup.failed"]))
        self.outcome.left_over = self._left_over()
        done = [one for one in self.bench.engine.backups() if one.is_done]
        self.outcome.backups = len(done)
        for one in done:
            assert self.bench.reader.verify(one.id, expected_sha256=one.manifest_sha256).is_intact, one.id
        ours = [one for one in done if one.id in self.rows]
        for number, one in enumerate(self.random.sample(ours, min(restored_max, len(ours)))):
            place = folder / f"restored-{number}"
            with self.bench.reader.restore(
                one.id, at_lsn(one.target_lsn), place, user=self.bench.user, limit_s=300
            ) as recovery:
                assert self.bench.rows(recovery) == self.rows[one.id], one.id
            self.outcome.restorable += 1
        return self.outcome

    def _left_over(self) -> int:
        """Backups that nobody finished, objects that no manifest names, uploads that nobody ended."""
        unfinished = [one for one in self.bench.engine.backups() if not one.is_done]
        manifests = [self.bench.engine.manifest(one.id) for one in self.bench.engine.backups()]
        named = {one.key for manifest in manifests if manifest for one in manifest.objects}
        objects = {one.key for one in self.bench.bucket("s3_backup_read").objects(self.bench.folder_of_backups)}
        admin = s3_admin(self.ways.store).client()
        prefix = self.bench.folder_of_backups.partition("/")[0]
        uploads = admin.list_multipart_uploads(Bucket="backups", Prefix=prefix).get("Uploads", [])
        history = {key for key in objects if "/backup.history/" in key}
        return len(unfinished) + len(objects - named - history) + len(uploads)
