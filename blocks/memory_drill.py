"""The twins of a drill's outside: scratch servers, fingerprints and results in memory.

A scratch server holds the rows that `MemoryBackupEngine` restored; what its fingerprint says comes from them.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from blocks.drill_results import SignedResults, make_key
from blocks.memory_backup_engine import MemoryBackupServer
from blocks.memory_ledger import MemoryLedger
from blocks.scratch_objects import ScratchObjects
from domain.canonical import canonical_json, digest_of, sha256_hex
from domain.drill import Check, Damage, failed, passed, unavailable
from domain.errors import ConfigError, InvariantError
from domain.fingerprint import Fingerprint
from domain.ports import Ledger
from domain.ports_backup import Recovery
from domain.ports_drill import Findings, Recovered
from domain.wal import write_lsn

SYSTEM_ID = "7000000000000000001"


def _print(rows: Sequence[str], *, point: str = "", lsn: str = "") -> Fingerprint:
    told = [row for row in rows if row != "backup label"]
    return Fingerprint(SYSTEM_ID, point, lsn, tables={"app.public.said": (len(told), digest_of(told)[:16])})


class MemoryFingerprints:
    """Fulfils `domain.ports_drill.Fingerprints` on a server in memory; `reason` makes it unable."""

    def __init__(self, server: MemoryBackupServer) -> None:
        self.server = server
        self.reason = ""

    def take(self, point: str) -> Mapping[str, Any]:
        if self.reason:
            return {"fingerprint_unavailable": self.reason}
        rows = [text for _, _, text in self.server.rows]
        return {"fingerprint": _print(rows, point=point, lsn=write_lsn(self.server.lsn)).as_dict()}

    def system_id(self) -> str:
        return SYSTEM_ID


class MemoryScratch:
    """Fulfils `domain.ports_drill.Scratch`; the attributes say what it lacks, and what it finds."""

    user: str | None = None

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slipway-scratch-"))
        self.servers: dict[str, list[str]] = {}
        self.damaged: dict[str, Damage] = {}
        self.free = 1 << 40
        self.is_blind = False
        self.reasons: dict[str, str] = {}
        self.unmet: tuple[str, ...] = ()
        self.columns: dict[tuple[str, str, str], list[str]] = {}
        self.restored_ledger = MemoryLedger()
        self.awaited: list[str] = []

    def free_bytes(self) -> int:
        return self.free

    def prepare(self, name: str) -> Path:
        self.destroy(name)
        path = self.folder / name
        path.mkdir(parents=True)
        self.servers[name] = []
        return path

    def start(self, name: str, recovery: Recovery, *, limit_s: float) -> Recovered:
        if self.damaged.get(name) is Damage.TRUNCATED and not self.is_blind:
            raise InvariantError("The restored server ended: PANIC: could not read a block")
        self.servers[name] = json.loads((recovery.directory / "rows.json").read_text())
        return Recovered(write_lsn(1 << 40), 0.1)

    def check_backup(self, name: str) -> Check:
        return unavailable("integrity.postgres", "pg_verifybackup is not there")

    def fingerprint(self, name: str) -> Fingerprint:
        return _print(self.servers[name])

    def address(self, name: str) -> str:
        return f"memory:{name}"

    def check_indexes(self, name: str) -> Check:
        return self._tool("pages.indexes", "indexes_good")

    def check_rules(self, name: str) -> Sequence[Check]:
        if reason := self.reasons.get("expectations.rules"):
            return [unavailable("expectations.rules", reason)]
        return [passed("expectations.rules", "rules_kept", foreign=0, checks=1, sequences=0)]

    def check_pages(self, name: str) -> Check:
        if name in self.damaged and not self.is_blind:
            return failed("pages.checksums", "tool_found", tool="pg_checksums", found="1 bad checksum")
        return self._tool("pages.checksums", "pages_good")

    def await_expectations(self, name: str) -> None:
        self.awaited.append(name)

    def expect(self, name: str, database: str, suites: Mapping[str, Any], *, limit_s: float) -> Findings:
        checks: list[Check] = []
        for suite, expectations in suites.items():
            bad = [one["type"] for one in expectations if one["type"] in self.unmet]
            check = f"expectations.{suite}"
            count = len(expectations)
            if bad:
                checks.append(failed(check, "expectations_failed", count=count, failed="; ".join(bad)))
            else:
                checks.append(passed(check, "expectations_met", count=count))
        lines = [f"{suite}: ✓ {one['type']}" for suite, expectations in suites.items() for one in expectations]
        return Findings(tuple(checks), tuple(lines))

    def texts(self, name: str, database: str, table: str, column: str) -> Sequence[str]:
        if (found := self.columns.get((database, table, column))) is None:
            raise ConfigError(f"{database} has no column {table}.{column}.")
        return found

    def ledger(self, name: str) -> Ledger:
        return self.restored_ledger

    def damage(self, name: str, kind: Damage) -> str:
        self.damaged[name] = kind
        return f"{kind} of {name}"

    def destroy(self, name: str) -> None:
        self.servers.pop(name, None)
        self.damaged.pop(name, None)
        path = self.folder / name
        for file in [*path.glob("*")]:
            file.unlink()
        if path.exists():
            path.rmdir()

    def leftovers(self) -> Sequence[str]:
        return sorted(self.servers)

    def _tool(self, check: str, text: str) -> Check:
        if reason := self.reasons.get(check):
            return unavailable(check, reason)
        return passed(check, text, detail="nothing found")


class MemoryBytes:
    """Objects by key."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, body: bytes) -> None:
        self.objects[key] = body

    def get(self, key: str) -> tuple[bytes, Any] | None:
        return (self.objects[key], {}) if key in self.objects else None


@dataclass(frozen=True, slots=True)
class _Listed:
    key: str


class MemoryObjectCopies(ScratchObjects):
    """Fulfils `domain.ports_drill.ObjectCopies` on a bucket in memory; `keep` copies objects as `backup` would."""

    def __init__(self) -> None:
        self.bytes: dict[str, bytes]
        super().__init__(lambda: self, Path(tempfile.gettempdir()) / f"slipway-objects-{uuid4().hex}")
        object.__setattr__(self, "bytes", {})

    def keep(self, source: str, objects: Mapping[str, bytes], *, at: datetime) -> str:
        """Copy a bucket's objects; returns the manifest's hash, which the ledger keeps."""
        names = {
            key: {"size_bytes": len(body), "at": at.isoformat(), "sha256": sha256_hex(body)}
            for key, body in objects.items()
        }
        for body in objects.values():
            self.bytes[f"objects/{source}/data/{sha256_hex(body)}"] = body
        text = canonical_json({"format": 1, "source": source, "objects": names})
        self.bytes[f"objects/{source}/manifests/{at:%Y%m%dT%H%M%S%f}.json"] = text.encode()
        return sha256_hex(text)

    def objects(self, prefix: str) -> Sequence[Any]:
        return [_Listed(key) for key in sorted(self.bytes) if key.startswith(prefix)]

    def get(self, key: str) -> tuple[bytes, Any] | None:
        return (self.bytes[key], {}) if key in self.bytes else None

    def fetch(self, key: str, path: Path) -> str:
        if key not in self.bytes:
            raise ConfigError(f"There is no {key}.")
        path.write_bytes(self.bytes[key])
        return sha256_hex(self.bytes[key])


class MemoryDrillResults(SignedResults):
    """Fulfils `domain.ports_drill.DrillResults` with a key of its own."""

    def __init__(self) -> None:
        self.bytes = MemoryBytes()
        key = make_key()
        super().__init__(write=lambda: self.bytes, read=lambda: self.bytes, key=lambda: key)
