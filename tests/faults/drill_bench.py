"""Where drills are tried: a real cluster with one real backup in a real store, and hands that damage what is kept.

Each damage is done to the objects of the bucket, with the keys of the store's keeper, and taken back afterwards. Hidden
damage is recorded anew in the backup's manifest, as by a tool that ends with 0 or a disk that rotted before the hash
was taken: only what is done with the restored server can find it.
"""

import io
import json
import sys
import tarfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import lz4.frame

sys.path.append(str(Path(__file__).resolve().parent.parent / "contracts"))
from fixtures_backup import ArchivingServer, BarmanBench
from fixtures_s3 import s3_admin

from blocks.fingerprint_postgres import PostgresFingerprints
from blocks.installation import Installation
from blocks.memory_world import MemoryWorld
from blocks.scratch_postgres import PostgresScratch
from blocks.world import use_world
from domain.backup import Backup, BackupKind
from domain.canonical import canonical_json, sha256_hex
from domain.drill import Objectives
from domain.ledger import Event
from domain.ports import Application
from domain.ports_backup import Purpose
from domain.release import Bundle, Manifest
from flows.drilling import drill_backups
from tasks.drill import Restored, restore_scratch
from tasks.recording import without_engine

BUCKET = "backups"
TOML = """
[application]
name = "desk"
[[check]]
name = "unit"
kind = "unit"
command = ["true"]
[service]
command = ["true"]
[data]
expectations = ["expectations/content.json"]
"""
PAGE = 8192
OBJECTIVES = Objectives(rto_s=600, rpo_s=7200)


class ShiftedClock:
    """The machine's clock, set wrong on purpose."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def sleep(self, seconds: float) -> None:
        """Nothing here is worth waiting for."""


@dataclass(frozen=True)
class ReleaseFiles:
    """As much of a target as a drill needs: the text files of the release that is live."""

    files: Mapping[str, str]

    def read_file(self, manifest: Manifest, path: str) -> str:
        return self.files[path]


@dataclass
class DrillWorld(MemoryWorld):
    """A world in memory whose backups, fingerprints and scratch servers are real."""

    open_engine: Callable[[Purpose], Any] = field(default=lambda purpose: None)
    files: dict[str, str] = field(default_factory=dict[str, str])

    def target(self, environment: str, site: str) -> Any:
        return ReleaseFiles(self.files) if self.files else super().target(environment, site)

    def backup_engine(self, purpose: Purpose) -> Any:
        return self.open_engine(purpose)


class DrillBench:
    """A cluster of some megabytes with one backup. `world` is what a drill sees of it."""

    def __init__(self, barman: BarmanBench, *, bin: Path, folder: Path) -> None:
        self.barman = barman
        self.source: ArchivingServer = barman.source
        self.admin = s3_admin(cast(Installation, barman.store)).client()
        self.clock = ShiftedClock()
        self.runs = 0
        self.scratch = PostgresScratch(
            folder=folder / "drills", sockets=folder, binaries=bin, user=barman.user, data_python=lambda: Path("/none")
        )
        self.fingerprints = PostgresFingerprints(lambda: self.source.url)
        self.world = DrillWorld(open_engine=lambda purpose: self.engine(purpose))
        self.taken: list[Backup] = []
        self._fill()
        self.backup = self.take("corpus")

    def engine(self, purpose: Purpose) -> Any:
        # what reads sees the server's archiver as well, as in an installation
        keys = {"write": "s3_backup", "expire": "s3_backup_expire", "read": "s3_backup_read"}[purpose]
        return self.barman.open(keys)

    def take(self, label: str) -> Backup:
        """Take a backup whose target lies some segments after its end."""

        def extra() -> Mapping[str, Any]:
            for number in range(3):
                self.source.write(f"{label} {number}")
            return self.fingerprints.take(f"slipway-{label}")

        self.taken.append(self.barman.engine.backup(BackupKind.FULL, label=label, limit_s=600, extra=extra))
        self._record(self.taken[-1])
        return self.taken[-1]

    def _record(self, backup: Backup) -> None:
        """As the flow `backup` does."""
        facts = {name: value for name, value in backup.as_dict().items() if name not in ("kind", "hold")}
        self.world.ledger.append(Event("backup.taken", data=facts))

    def serve_application(self, suite: str, *, data_python: Callable[[], Path]) -> None:
        """Let an application be live whose suite judges its database, `desk_production`."""
        manifest = Manifest("desk", "c" * 40, Bundle("d" * 64, 1))
        ledger = self.world.ledger
        self.world.files = {"slipway.toml": TOML, "expectations/content.json": suite}
        self.world.applications.add(
            Application("desk", "gitea", "team/desk", "http://forge/team/desk"), webhook_secret="x"
        )
        pinned = {"manifest": manifest.as_dict()}
        ledger.append(Event("release.pinned", application="desk", release=manifest.digest, data=pinned))
        ledger.append(Event("rollout.completed", application="desk", environment="production", release=manifest.digest))
        self.scratch = replace(self.scratch, data_python=data_python)

    @contextmanager
    def with_scratch(self, **changes: Any) -> Generator[None]:
        """Other settings of the scratch servers, for the length of a block."""
        real = self.scratch
        self.scratch = replace(real, **changes)
        try:
            yield
        finally:
            self.scratch = real

    def last(self) -> Mapping[str, Any]:
        """The last drill's result, as it was signed."""
        return self.world.drill_results.verify(f"d{self.runs:06}")

    def figures(self) -> dict[str, float]:
        return dict(self.last()["figures"])

    def seconds(self) -> dict[str, float]:
        """How long the last drill's checks took, those that took any time."""
        return {one["name"]: one["seconds"] for one in self.last()["checks"] if one["seconds"] > 0.05}

    def outcomes(self) -> dict[str, str]:
        return {one["name"]: one["outcome"] for one in self.last()["checks"]}

    def said(self) -> dict[str, str]:
        """What the last drill's checks that did not pass said, by name; for messages of tests."""
        return {one["name"]: str(one["values"]) for one in self.last()["checks"] if one["outcome"] != "pass"}

    def drill(self, *, is_tamper_wanted: bool = False, objectives: Objectives = OBJECTIVES) -> tuple[str, list[str]]:
        """Drill; returns the verdict and the checks that decided it."""
        self.runs += 1
        with self.opened():
            done = drill_backups(f"d{self.runs:06}", objectives, seed="corpus", is_tamper_wanted=is_tamper_wanted)
        assert self.scratch.leftovers() == [], "a drill left something behind"
        return str(done["verdict"]), list(done["checks"])

    @contextmanager
    def restored(self, name: str) -> Generator[Restored]:
        """Lend the backup as a running scratch server."""
        with self.opened():
            try:
                yield restore_scratch("tools", self.backup.id, name)
            finally:
                self.scratch.destroy(name)

    @contextmanager
    def opened(self) -> Generator[None]:
        """Put this world in the place of the installation's, and no orchestrator in that of Prefect."""
        world: Any = self.world
        world.clock, world.scratch, world.fingerprints = self.clock, self.scratch, self.fingerprints
        use_world(lambda: world)
        try:
            with without_engine():
                yield
        finally:
            use_world(None)

    def forget_ledger(self) -> None:
        """Begin a new ledger, which has the backups and nothing else."""
        self.world.ledger = type(self.world.ledger)()
        for backup in self.taken:
            self._record(backup)

    @contextmanager
    def unrecorded(self) -> Generator[None]:
        """A ledger that never heard of a backup: what only it can know is not looked at."""
        self.world.ledger = type(self.world.ledger)()
        try:
            yield
        finally:
            self.forget_ledger()

    @property
    def prefix(self) -> str:
        return f"postgres/{self.barman.cluster}/"

    def keys(self, part: str) -> list[str]:
        pages = self.admin.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{self.prefix}{part}")
        return sorted(one["Key"] for page in pages for one in page.get("Contents", []))

    @property
    def data_key(self) -> str:
        return next(key for key in self.keys(f"base/{self.backup.id}/") if "/data.tar" in key)

    @property
    def manifest_key(self) -> str:
        return f"{self.prefix}slipway/manifests/{self.backup.id}.json"

    def segments(self) -> list[str]:
        """The keys of the segments that recovery to the target needs, oldest first."""
        names = [
            key for key in self.keys("wals/") if self.backup.begin_wal <= Path(key).name[:24] and ".history" not in key
        ]
        return [key for key in names if ".backup" not in key]

    def get(self, key: str) -> bytes:
        return self.admin.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    @contextmanager
    def changed(self, key: str, body: bytes | None) -> Generator[None]:
        """Put other bytes in the place of an object, or nothing; as it was afterwards, its metadata included."""
        found = self.admin.get_object(Bucket=BUCKET, Key=key)
        before, metadata = found["Body"].read(), found["Metadata"]
        if body is None:
            self.admin.delete_object(Bucket=BUCKET, Key=key)
        else:
            self.admin.put_object(Bucket=BUCKET, Key=key, Body=body, Metadata=metadata)
        try:
            yield
        finally:
            self.admin.put_object(Bucket=BUCKET, Key=key, Body=before, Metadata=metadata)

    @contextmanager
    def added(self, key: str, body: bytes) -> Generator[None]:
        """An object more."""
        self.admin.put_object(Bucket=BUCKET, Key=key, Body=body)
        try:
            yield
        finally:
            self.admin.delete_object(Bucket=BUCKET, Key=key)

    @contextmanager
    def hidden(self, path: str, change: Callable[[bytearray], None]) -> Generator[None]:
        """Change a file inside the backup, and record it in the manifest as if it had always been so."""
        body = self._repacked(path, change)
        manifest = self._manifest()
        for one in manifest["objects"]:
            if one["key"] == self.data_key:
                one.update(sha256=sha256_hex(body), size_bytes=len(body))
        with self.changed(self.data_key, body), self.recorded(manifest):
            yield

    @contextmanager
    def recorded(self, manifest: Mapping[str, Any]) -> Generator[None]:
        with self.changed(self.manifest_key, canonical_json(manifest).encode()):
            yield

    def _manifest(self) -> dict[str, Any]:
        return json.loads(self.get(self.manifest_key))

    def extra(self, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """The manifest with other facts about the content."""
        manifest = self._manifest()
        change(manifest)
        return manifest

    def _repacked(self, path: str, change: Callable[[bytearray], None]) -> bytes:
        packed = io.BytesIO(lz4.frame.decompress(self.get(self.data_key)))
        out = io.BytesIO()
        has_found = False
        with tarfile.open(fileobj=packed) as old, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as new:
            for member in old:
                content = old.extractfile(member).read() if member.isfile() else b""  # pyright: ignore[reportOptionalMemberAccess]
                if member.name.removeprefix("./") == path:
                    has_found = True
                    body = bytearray(content)
                    change(body)
                    content = bytes(body)
                    member.size = len(content)
                new.addfile(member, io.BytesIO(content) if member.isfile() else None)
        assert has_found, f"{path} is not in the backup"
        return lz4.frame.compress(out.getvalue())

    def path_of(self, what: str) -> str:
        """Where the file of a relation lies inside the cluster."""
        return str(self.source.execute("SELECT pg_relation_filepath(%s::regclass)", what)[0])

    def toast_of(self, table: str) -> str:
        return self.path_of(
            str(
                self.source.execute(
                    "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = %s::regclass", table
                )[0]
            )
        )

    def _fill(self) -> None:
        self.source.execute("CREATE TABLE doc (id int PRIMARY KEY, words text NOT NULL, body text)")
        self.source.execute(
            "INSERT INTO doc SELECT i, 'document ' || i, "
            "CASE WHEN mod(i, 100) = 0 THEN "
            "(SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 300) j) END "
            "FROM generate_series(1, 20000) i"
        )
        self.source.execute("CREATE INDEX doc_words ON doc (words)")
        self.source.execute("VACUUM FREEZE doc")


def flip(place: int) -> Callable[[bytearray], None]:
    """Change one byte."""

    def change(body: bytearray) -> None:
        body[place] ^= 0xFF

    return change


def zero_page(number: int) -> Callable[[bytearray], None]:
    """Empty a page: PostgreSQL takes one for new, and its checksum for good."""

    def change(body: bytearray) -> None:
        body[number * PAGE : (number + 1) * PAGE] = bytes(PAGE)

    return change


def bytes_changed(body: bytes, place: int) -> bytes:
    changed = bytearray(body)
    changed[place] ^= 0xFF
    return bytes(changed)
