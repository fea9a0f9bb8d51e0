"""Clean-up in memory: the twins of `blocks/rows_postgres.py`, `blocks/archives_s3.py` and of what else expires."""

import json
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from domain.archive import NONE
from domain.canonical import sha256_hex
from domain.cleanup import Load, Preview
from domain.cleanup_policy import ConditionPart, full_name
from domain.drill import Check, failed, passed
from domain.errors import ConfigError, InvariantError, RefusedError
from domain.ports_cleanup import (
    Batch,
    Copied,
    CopiedPartition,
    CopiedTable,
    Deleted,
    Expirable,
    Expirables,
    Expired,
    Key,
    Locked,
    Proof,
    Removed,
)
from domain.ports_drill import Findings

Row = dict[str, Any]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _among(row: Row, part: ConditionPart) -> bool:
    return row.get(part.column) is not None and _text(row[part.column]) in part.values


@dataclass
class MemoryRows:
    """Fulfils `domain.ports_cleanup.ExpiringRows` for tests.

    Attributes:
        tables: rows by `schema.table`; each has an `id`, and a `version` that changes when the row does.
        references: of a table: the column that refers, and the table it refers to.
        loads: answers of `load`, the last one for ever.
        row_bytes: what a row takes.
    """

    tables: dict[str, list[Row]] = field(default_factory=dict[str, list[Row]])
    references: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    loads: list[Load] = field(default_factory=lambda: [Load(0.001)])
    vacuumed: int = 0
    row_bytes: int = 100

    def preview(self, expired: Expired) -> Preview:
        table, rows = self._table(expired), self._expired(expired)
        ages = sorted(row[expired.policy.age_column] for row in rows)
        along = {name: len(self._related(name, rows)) for name in self._children(expired)}
        return Preview(
            method="archive" if expired.policy.archive else "batches",
            rows=len(rows),
            size_bytes=self.row_bytes * (len(rows) + sum(along.values())),
            total_rows=len(self.tables[table]),
            oldest=ages[0].isoformat() if ages else "",
            newest=ages[-1].isoformat() if ages else "",
            sample=tuple(f"id={row['id']}" for row in rows[:5]),
            related=tuple(along.items()),
            held_rows=self._held(expired),
        )

    def pending_partitions(self, expired: Expired) -> list[str]:
        self._table(expired)
        return []

    def copy_partition(
        self, expired: Expired, partition: str, *, folder: Path, keep: Callable[[CopiedTable], None]
    ) -> CopiedPartition:
        raise RefusedError(f"There is no partition {partition} in memory.")

    def drop_partition(self, expired: Expired, partition: str, *, state: str = "") -> int:
        raise RefusedError(f"There is no partition {partition} in memory.")

    def delete_batch(self, expired: Expired, *, after: Key | None, rows: int) -> Batch:
        picked = self._next(expired, after, rows)
        along = self._delete(expired, picked)
        return Batch(len(picked), along, (str(picked[-1]["id"]),) if len(picked) == rows else None)

    def load(self) -> Load:
        return self.loads.pop(0) if len(self.loads) > 1 else self.loads[0]

    def close(self) -> None:
        """Nothing is open."""

    def vacuum(self, expired: Expired) -> None:
        self.vacuumed += 1

    def prove(self, expired: Expired) -> Proof:
        orphans = 0
        for name in self._children(expired):
            column, parent = self.references[name]
            there = {row["id"] for row in self.tables[parent]}
            orphans += sum(1 for row in self.tables[name] if row[column] not in there)
        return Proof(len(self._expired(expired)), self._held(expired), orphans)

    def copy_batch(self, expired: Expired, *, after: Key | None, rows: int, folder: Path) -> Copied:
        picked = self._next(expired, after, rows)
        last = (str(picked[-1]["id"]),) if len(picked) == rows else None
        if not picked:
            return Copied((), None)
        parts = [(name, self._related(name, picked)) for name in self._children(expired)]
        parts.append((self._table(expired), picked))
        return Copied(tuple(_write(folder, name, part) for name, part in parts), last)

    def delete_archived(self, expired: Expired, tables: Sequence[CopiedTable], *, rows: int) -> Deleted:
        copied = {one.table: {_identity(row) for row in _read(one)} for one in tables}
        table, gone, along = self._table(expired), 0, 0
        for row in self._expired(expired):
            related = {name: self._related(name, [row]) for name in self._children(expired)}
            is_same = _identity(row) in copied[table] and all(
                _identity(one) in copied[name] for name, found in related.items() for one in found
            )
            if is_same:
                along += self._delete(expired, [row])
                gone += 1
        keys = {row["id"] for row in _read(tables[-1])}
        return Deleted(gone, along, sum(1 for row in self.tables[table] if row["id"] in keys))

    def restore(self, tables: Sequence[CopiedTable], *, partition: CopiedPartition | None = None) -> dict[str, int]:
        found: dict[str, int] = {}
        for one in reversed(tables):
            there = {row["id"] for row in self.tables[one.table]}
            back = [row for row in _read(one) if row["id"] not in there]
            self.tables[one.table] += back
            found[one.table] = len(back)
        return found

    def _table(self, expired: Expired) -> str:
        name = ".".join(full_name(expired.policy.table))
        if name not in self.tables:
            raise ConfigError(
                f"No table '{expired.policy.table}' in this database. There are: {', '.join(self.tables)}."
            )
        self._refuse_misfits(expired, name)
        return name

    def _children(self, expired: Expired) -> list[str]:
        found = [".".join(full_name(name)) for name in expired.policy.children]
        for given, name in zip(expired.policy.children, found, strict=True):
            if name not in self.tables:
                raise ConfigError(f"No table '{given}' in this database. There are: {', '.join(self.tables)}.")
        return found

    def _refuse_misfits(self, expired: Expired, table: str) -> None:
        """Refuse what the catalogue of a database would: columns and references as the rows there are have them."""
        policy, children = expired.policy, self._children(expired)
        columns = {column for row in self.tables[table] for column in row}
        if columns and policy.age_column not in columns:
            raise ConfigError(f"Policy '{policy.name}': column '{policy.age_column}' of {table} does not exist.")
        for one in (*policy.only, *expired.all_holds):
            if columns and one.column not in columns:
                raise ConfigError(f"{table} has no column '{one.column}'. It has: {', '.join(sorted(columns))}.")
        for child, (_, parent) in self.references.items():
            if parent in (table, *children) and child not in children:
                raise ConfigError(f"Rows of {child} refer to {parent}. Add it to 'children'.")

    def _past(self, expired: Expired) -> list[Row]:
        age = expired.policy.age_column
        rows = [row for row in self.tables[self._table(expired)] if row[age] is not None and row[age] < expired.cutoff]
        return [row for row in rows if all(_among(row, one) for one in expired.policy.only)]

    def _expired(self, expired: Expired) -> list[Row]:
        rows = [row for row in self._past(expired) if not any(_among(row, one) for one in expired.all_holds)]
        return sorted(rows, key=lambda row: row["id"])

    def _held(self, expired: Expired) -> int:
        return sum(1 for row in self._past(expired) if any(_among(row, one) for one in expired.all_holds))

    def _next(self, expired: Expired, after: Key | None, rows: int) -> list[Row]:
        return [row for row in self._expired(expired) if after is None or row["id"] > int(after[0])][:rows]

    def _related(self, name: str, rows: Sequence[Row]) -> list[Row]:
        column, parent = self.references[name]
        among = rows if parent not in self.references else self._related(parent, rows)
        keys = {row["id"] for row in among}
        return [row for row in self.tables[name] if row[column] in keys]

    def _delete(self, expired: Expired, rows: Sequence[Row]) -> int:
        along = 0
        for name in self._children(expired):
            gone = self._related(name, rows)
            self.tables[name] = [row for row in self.tables[name] if row not in gone]
            along += len(gone)
        keys = {row["id"] for row in rows}
        table = self._table(expired)
        self.tables[table] = [row for row in self.tables[table] if row["id"] not in keys]
        return along


def _identity(row: Row) -> tuple[Any, Any]:
    return row["id"], row.get("version", 0)


def _write(folder: Path, name: str, rows: Sequence[Row]) -> CopiedTable:
    path = folder / f"{name}.csv"
    path.write_text("".join(f"{json.dumps(row, default=_dated)}\n" for row in rows))
    return CopiedTable(name, path, (("id", "bigint"),), ("id",), len(rows))


def _dated(value: Any) -> Any:
    return {"at": value.isoformat()}


def _read(table: CopiedTable) -> list[Row]:
    def back(value: dict[str, Any]) -> Any:
        return datetime.fromisoformat(value["at"]) if set(value) == {"at"} else value

    return [json.loads(line, object_hook=back) for line in table.file.read_text().splitlines()]


def _never(file: Path, to: Path) -> None:
    raise InvariantError(f"{file} is not encrypted, so nothing opens it.")


class MemoryArchives:
    """Fulfils `domain.ports_cleanup.Archives` for tests; `blobs` shows what is kept. Files stay what they are."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def pack(self, table: CopiedTable, to: Path) -> int:
        to.write_bytes(table.file.read_bytes())
        return table.rows

    def unpack(self, file: Path, to: Path) -> int:
        to.write_bytes(file.read_bytes())
        return len(file.read_text().splitlines())

    def lock(self, file: Path, to: Path) -> Locked:
        return Locked(file, NONE, _never)

    def open(self, file: Path, to: Path) -> None:
        raise ConfigError("Nothing in memory is encrypted.")

    def seal(self, content: bytes) -> bytes:
        return content

    def unseal(self, content: bytes) -> bytes:
        return content

    def put(self, key: str, path: Path, *, sha256: str) -> None:
        content = path.read_bytes()
        if sha256_hex(content) != sha256:
            raise InvariantError(f"{path.name} does not have SHA-256 {sha256}. Make it again; nothing was stored.")
        if self.blobs.setdefault(key, content) != content:
            raise InvariantError(f"{key} holds other bytes than SHA-256 {sha256}. Store under another key.")

    def get(self, key: str, path: Path, *, sha256: str) -> None:
        if key not in self.blobs:
            raise ConfigError(f"Could not fetch {key}: there is no such object.")
        if sha256_hex(self.blobs[key]) != sha256:
            raise InvariantError(f"{key} has another SHA-256 than {sha256}. Do not use it.")
        path.write_bytes(self.blobs[key])

    def keep(self, key: str, content: bytes) -> None:
        self.blobs.setdefault(key, content)

    def read(self, key: str) -> bytes | None:
        return self.blobs.get(key)


class MemoryExpirables:
    """Fulfils `domain.ports_cleanup.Expirables` for tests; `items` shows what is there."""

    def __init__(self, items: Sequence[Expirable] = ()) -> None:
        self.items = {one.key: one for one in items}

    def read(self) -> Sequence[Expirable]:
        return sorted(self.items.values(), key=lambda one: (one.at, one.key))

    def remove(self, keys: Sequence[str]) -> Removed:
        found = [self.items[key] for key in keys if key in self.items]
        kept = tuple((one.key, one.protected) for one in found if one.protected)
        gone = [one for one in found if not one.protected]
        for one in gone:
            del self.items[one.key]
        return Removed(len(gone), sum(one.size_bytes for one in gone), kept)


@dataclass
class MemoryCleaning:
    """Fulfils `domain.ports_cleanup.Cleaning` for tests."""

    databases: dict[tuple[str, str], MemoryRows] = field(default_factory=dict[tuple[str, str], MemoryRows])
    archives: MemoryArchives = field(default_factory=MemoryArchives)
    own_policies: str = "cleanup: []"
    kinds: dict[str, Expirables] = field(default_factory=dict[str, Expirables])
    unmet: set[str] = field(default_factory=set[str])

    @contextmanager
    def folder(self) -> Generator[Path]:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)

    def rows(self, application: str, environment: str) -> MemoryRows:
        return self.databases.setdefault((application, environment), MemoryRows())

    def expect(self, application: str, environment: str, suites: Mapping[str, Any], *, limit_s: float) -> Findings:
        checks: list[Check] = []
        for suite, expectations in suites.items():
            bad = [one["type"] for one in expectations if one["type"] in self.unmet]
            name, count = f"expectations.{suite}", len(expectations)
            failing = failed(name, "expectations_failed", count=count, failed="; ".join(bad))
            checks.append(failing if bad else passed(name, "expectations_met", count=count))
        return Findings(tuple(checks))

    def expirables(self) -> dict[str, Expirables]:
        return self.kinds

    def objects(self, bucket: str, prefix: str) -> Expirables:
        return self.kinds[f"{bucket}/{prefix}"]
