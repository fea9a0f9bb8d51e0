"""Exchangeable databases in memory: the twin of `blocks/restorations_postgres.py`.

Rows are texts. A live database's rows are what its server has, until one was exchanged; what is restored comes from a
scratch server in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from blocks.memory_backup_engine import MemoryBackupServer
from blocks.memory_drill import MemoryScratch
from domain.canonical import digest_of, sha256_hex
from domain.errors import ConfigError, InvariantError, TransientError
from domain.fingerprint import Fingerprint
from domain.restore import (
    Comparison,
    Database,
    Databases,
    LeftOver,
    Reach,
    beside_name,
    compare_tables,
    database_name,
    kept_name,
)
from domain.wal import write_lsn

TABLE = "public.said"


@dataclass
class MemoryDatabase:
    """One database: what stays with it under any name, and its rows."""

    identity: str
    rows: list[str]
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


class MemoryRestorations:
    """Fulfils `domain.ports_restore.Restorations` for tests.

    Attributes:
        databases: every database by its name.
        is_away: whether the server does not bring its log into the archive.
        loses: makes what is loaded lack its last row.
        unreachable: why an application can't enter its database.
    """

    def __init__(self, server: MemoryBackupServer, scratch: MemoryScratch) -> None:
        self.server, self.scratch = server, scratch
        self.databases: dict[str, MemoryDatabase] = {}
        self.extracts: dict[str, dict[str, Any]] = {}
        self.is_away = False
        self.loses = False
        self.unreachable = ""
        self._made = 0

    def write(self, application: str, environment: str, text: str) -> str:
        """Commit a row; returns the place in the log after it."""
        lsn = self.server.write(text)
        self._live(application, environment, make=True).rows.append(text)
        return lsn

    def mark(self, name: str) -> Reach:
        if self.is_away:
            raise TransientError("PostgreSQL does not answer: it is away.")
        return Reach(self.server.write("backup label"), self.server.now(), name)

    def position(self) -> str:
        return write_lsn(self.server.lsn)

    def find(self, application: str, environment: str) -> Databases:
        name = database_name(application, environment)

        def named(what: str) -> dict[str, Database]:
            prefix = f"{name}_{what}_"
            return {key[len(prefix) :]: self._told(key) for key in self.databases if key.startswith(prefix)}

        return Databases(
            self._told(name) if name in self.databases else None,
            named("restored"),
            named("before"),
        )

    def compare(self, application: str, environment: str, *, source: str = "", kept: str = "") -> Comparison:
        then = self._source(source) if source else self._kept(application, environment, kept).rows
        live = self.databases.get(database_name(application, environment))
        if live is None:
            table = compare_tables(TABLE, None, (len(then), digest_of(then), ""))
            return Comparison((table,), 0, len(then), "there is no such database")
        sides = [(len(rows), digest_of(rows), "") for rows in (live.rows, then)]
        hashes = [{_number(row): _number(row) for row in rows} for rows in (live.rows, then)]
        table = compare_tables(TABLE, sides[0], sides[1], rows=(hashes[0], hashes[1]))
        return Comparison((table,), len(live.rows), len(then))

    def extract(self, application: str, environment: str, *, source: str, key: str) -> Fingerprint:
        rows = self._source(source)
        self.extracts[key] = {"rows": list(rows)}
        return _print(rows)

    def remember(self, key: str, facts: Mapping[str, Any]) -> None:
        self.extracts[key]["facts"] = dict(facts)

    def recall(self, key: str) -> Mapping[str, Any] | None:
        return self.extracts.get(key, {}).get("facts")

    def forget(self, key: str) -> None:
        self.extracts.pop(key, None)

    def load(
        self,
        application: str,
        environment: str,
        *,
        key: str,
        on_progress: Callable[[float], None] = lambda percent: None,
    ) -> Fingerprint:
        name = beside_name(application, environment, key)
        if key not in self.extracts:
            raise ConfigError(f"What was restored is not in {key} any more. Start `restore` again.")
        rows = list(self.extracts[key]["rows"])
        loaded = rows[:-1] if self.loses else rows
        on_progress(50.0)
        if digest_of(loaded) != digest_of(rows):
            self.databases.pop(name, None)
            raise InvariantError("What was loaded is not what was restored. Nothing was exchanged.")
        if name not in self.databases and not self.find(application, environment).is_live(key):
            self.databases[name] = self._make(loaded, {"restored": key})
        return _print(rows)

    def exchange(self, application: str, environment: str, *, key: str, kept: str = "") -> None:
        name = database_name(application, environment)
        live = self.databases.get(name)
        if self.find(application, environment).is_live(key):
            return
        source = kept_name(application, environment, kept) if kept else beside_name(application, environment, key)
        if source not in self.databases:
            raise ConfigError(f"Nothing is {source} that could take the name {name}. Start `restore` again.")
        coming = self.databases.pop(source)
        if live:
            now = datetime.now(UTC).isoformat()
            live.facts |= {"live_since": "", "kept_by": key, "kept_at": now}
            self.databases[kept_name(application, environment, key)] = live
        coming.facts["live_since"] = key
        self.databases[name] = coming

    def verify(self, application: str, environment: str) -> str:
        if database_name(application, environment) not in self.databases:
            return "there is no such database"
        return self.unreachable

    def drop(self, application: str, environment: str, *, key: str, kept: bool) -> None:
        self.databases.pop((kept_name if kept else beside_name)(application, environment, key), None)

    def left_over(self) -> Sequence[LeftOver]:
        beside = [name.split("_") for name in sorted(self.databases) if "_restored_" in name]
        return [
            *(LeftOver(key) for key in sorted(self.extracts)),
            *(LeftOver(parts[3], parts[0], parts[1]) for parts in beside),
        ]

    def _live(self, application: str, environment: str, *, make: bool = False) -> MemoryDatabase:
        name = database_name(application, environment)
        if name not in self.databases and make:
            self.databases[name] = self._make([], {})
        return self.databases[name]

    def _make(self, rows: list[str], facts: dict[str, Any]) -> MemoryDatabase:
        self._made += 1
        return MemoryDatabase(str(16384 + self._made), rows, facts)

    def _told(self, name: str) -> Database:
        one = self.databases[name]
        return Database(name, one.identity, len(one.rows), dict(one.facts))

    def _kept(self, application: str, environment: str, key: str) -> MemoryDatabase:
        name = kept_name(application, environment, key)
        if name not in self.databases:
            raise InvariantError(f"{name} can't be read: it is not there.")
        return self.databases[name]

    def _source(self, source: str) -> list[str]:
        return [row for row in self.scratch.servers[source.removeprefix("memory:")] if row != "backup label"]


def _number(text: str) -> int:
    return int(sha256_hex(text)[:15], 16)


def _print(rows: Sequence[str]) -> Fingerprint:
    return Fingerprint("", tables={f"app.{TABLE}": (len(rows), digest_of(list(rows)))})
