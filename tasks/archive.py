"""Archive before delete: copied, read back, counted, and only then deleted by the list of what was read back.

The archive of a batch is there when its manifest is: that is written last, under a fixed key, and the first one counts.
A run that dies anywhere is finished by the next: by the manifest, not by looking for expired rows again.

What is encrypted is opened once, by the process that wrote it: fetched, opened, counted. From then on its hash says
that it is the same, and a sealed list beside it which rows it holds: no clean-up needs what opens archives.
"""

import json
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from blocks.bundle import sha256_of
from blocks.rows_archived import count_rows, list_rows
from blocks.world import open_world
from domain.archive import (
    NONE,
    VERSION,
    encryption_of,
    file_key,
    find_unfinished,
    list_key,
    manifest_key,
    partition_prefix,
    prefix_of,
)
from domain.canonical import canonical_json
from domain.cleanup_policy import ARCHIVE_ROWS
from domain.errors import ConfigError, InvariantError, RefusedError
from domain.ports_cleanup import CopiedPartition, CopiedTable, Expired, Locked
from tasks.cleanup_policies import (
    read_policy,
    read_policy_holds,
    read_word,
    require_leave,
    subject_of,
)
from tasks.recording import effect, effect_task, reading_task

_KINDS = ("archive.begun", "archive.written", "deletion.completed")


@effect_task
def archive_batch(
    run: str,
    application: str,
    environment: str,
    name: str,
    plan_hash: str,
    number: int,
    after: tuple[str, ...] | None,
    most: int,
) -> dict[str, Any]:
    """Copy the next rows into an archive. Effect: objects under keys of this batch; may be repeated.

    Returns: `prefix`, `rows`, `last` (None at the end of the walk); no rows: nothing was written.
    """
    allowed = require_leave(run, application, environment, name, plan_hash)
    prefix = prefix_of(application, environment, name, run, number)
    subject = subject_of(run, application, environment)
    told: dict[str, Any]
    with effect(subject, "archive", "written", detail=prefix, policy=name, prefix=prefix) as told:
        manifest = _read_manifest(prefix) or _write(allowed.expired, prefix, after, min(most, ARCHIVE_ROWS))
        told.update(_sizes(manifest))
    return {"prefix": prefix, "rows": int(manifest["rows"]), "last": manifest["last"]}


def _sizes(manifest: dict[str, Any]) -> dict[str, Any]:
    """What the ledger says of an archive."""
    tables: dict[str, int] = {}
    for one in manifest["tables"]:
        tables[one["table"]] = tables.get(one["table"], 0) + int(one["rows"])
    return {
        "rows": manifest["rows"],
        "size_bytes": sum(int(one["size_bytes"]) for one in manifest["tables"]),
        "tables": tables,
        "encryption": encryption_of(manifest),
    }


def _write(expired: Expired, prefix: str, after: tuple[str, ...] | None, rows: int) -> dict[str, Any]:
    world = open_world()
    policy = expired.policy
    with world.cleaning.folder() as folder:
        source = world.cleaning.rows(*_place_of(prefix))
        copied = source.copy_batch(expired, after=after, rows=rows, folder=folder)
        tables = [_keep(prefix, table, folder) for table in copied.tables]
    manifest = {
        "policy": policy.name,
        "policy_hash": policy.hash,
        "cutoff": expired.cutoff.isoformat(),
        "rows": copied.tables[-1].rows if copied.tables else 0,
        "last": list(copied.last) if copied.last else None,
        "tables": tables,
    }
    if tables:
        world.cleaning.archives.keep(manifest_key(prefix), canonical_json(manifest).encode())
        return _read_manifest(prefix) or manifest  # the first one counts, and that may be another's
    return manifest


def _place_of(prefix: str) -> tuple[str, str]:
    application, environment = prefix.split("/")[:2]
    return application, "" if environment == "-" else environment


def _keep(prefix: str, table: CopiedTable, folder: Path) -> dict[str, Any]:
    """Pack one table, encrypt it, keep it under its hash, and say what it is."""
    archives = open_world().cleaning.archives
    parquet = folder / "packed.parquet"
    rows = archives.pack(table, parquet)
    if rows != table.rows:
        raise InvariantError(
            f"{table.table}: {table.rows} rows were copied, {rows} are in the archive. Nothing was deleted."
        )
    locked = archives.lock(parquet, folder / "packed.age")
    digest = sha256_of(locked.file)
    key = file_key(prefix, table.table, digest, encryption=locked.encryption)
    archives.put(key, locked.file, sha256=digest)
    told: dict[str, Any] = {
        "table": table.table,
        "key": key,
        "sha256": digest,
        "encryption": locked.encryption,
        "rows": rows,
        "size_bytes": locked.file.stat().st_size,
        "columns": [list(one) for one in table.columns],
        "keys": list(table.keys),
    }
    if locked.encryption != NONE:
        csv = _read_back(told, locked, parquet, folder)
        if table.keys:
            archives.keep(list_key(key), archives.seal(list_rows(csv, (*table.keys, VERSION)).encode()))
    return told


def _read_back(told: dict[str, Any], locked: Locked, packed: Path, folder: Path) -> Path:
    """Fetch what was stored and open it, while this process still can: later only a restoration can.

    Raises: InvariantError where it is not what was packed.
    """
    archives = open_world().cleaning.archives
    fetched, opened, csv = folder / "fetched.age", folder / "opened.parquet", folder / "opened.csv"
    archives.get(told["key"], fetched, sha256=told["sha256"])
    locked.reopen(fetched, opened)
    if sha256_of(opened) != sha256_of(packed) or archives.unpack(opened, csv) != told["rows"]:
        raise InvariantError(f"{told['key']} does not hold what was copied. Nothing was deleted.")
    return csv


def _read_manifest(prefix: str) -> dict[str, Any] | None:
    content = open_world().cleaning.archives.read(manifest_key(prefix))
    return json.loads(content) if content is not None else None


def read_archive(manifest: dict[str, Any], folder: Path) -> tuple[CopiedTable, ...]:
    """Fetch every file of an archive, compare its hash, open it, and count its rows.

    Raises: InvariantError naming the first that is not what the manifest says; ConfigError where it is encrypted and
        this process may not open it.
    """
    archives, found = open_world().cleaning.archives, list[CopiedTable]()
    for number, one in enumerate(manifest["tables"]):
        fetched, parquet, csv = folder / "fetched", folder / "fetched.parquet", folder / f"{number:04}.read.csv"
        archives.get(one["key"], fetched, sha256=one["sha256"])
        if one.get("encryption", NONE) == NONE:
            fetched.replace(parquet)
        else:
            archives.open(fetched, parquet)
        _need_count(one, archives.unpack(parquet, csv))
        columns = tuple((str(name), str(kind)) for name, kind in one["columns"])
        found.append(CopiedTable(str(one["table"]), csv, columns, tuple(one["keys"]), int(one["rows"])))
    return tuple(found)


def _read_lists(manifest: dict[str, Any], folder: Path) -> tuple[CopiedTable, ...]:
    """Fetch every file of an archive as it is, compare its hash, and read which rows it holds from the list beside it.

    What is encrypted was opened and counted when it was written; that it still is the same, its hash says.
    """
    archives, found = open_world().cleaning.archives, list[CopiedTable]()
    for number, one in enumerate(manifest["tables"]):
        archives.get(one["key"], folder / "fetched", sha256=one["sha256"])
        content = archives.read(list_key(one["key"]))
        if content is None:
            raise InvariantError(f"{one['key']} has no list of its rows. Nothing of it was deleted.")
        try:
            text = archives.unseal(content).decode()
        except ConfigError as exc:
            raise RefusedError(
                f"The list of {one['key']} was sealed with a key that is gone. Its rows stay, and are archived anew."
            ) from exc
        _need_count(one, count_rows(text))
        csv = folder / f"{number:04}.list.csv"
        csv.write_text(text, newline="")
        kinds = dict(one["columns"])
        columns = tuple((str(name), str(kinds[name])) for name in (*one["keys"], VERSION))
        found.append(CopiedTable(str(one["table"]), csv, columns, tuple(one["keys"]), int(one["rows"])))
    return tuple(found)


def _need_count(one: dict[str, Any], rows: int) -> None:
    if rows != one["rows"]:
        raise InvariantError(f"{one['key']} holds {rows} rows, its manifest says {one['rows']}. Do not use it.")


@effect_task
def delete_archived(
    run: str, application: str, environment: str, name: str, plan_hash: str, prefix: str
) -> dict[str, int]:
    """Read an archive back, and delete exactly the rows that it holds. Effect: rows; deletes nothing twice.

    Returns: `rows` and `related` that went now, `archived`, `left` (changed, held or in use since).
    """
    allowed = require_leave(run, application, environment, name, plan_hash)
    return _delete(run, application, environment, allowed.expired, prefix)


def _delete(run: str, application: str, environment: str, expired: Expired, prefix: str) -> dict[str, int]:
    manifest = _read_manifest(prefix)
    if manifest is None:
        raise InvariantError(f"The archive {prefix} has no manifest. Nothing of it was deleted.")
    if "partition" in manifest:
        return _drop(run, application, environment, expired, prefix, manifest)
    world = open_world()
    subject = subject_of(run, application, environment)
    told: dict[str, Any]
    with ExitStack() as stack:
        told = stack.enter_context(
            effect(subject, "deletion", "completed", detail=prefix, policy=expired.policy.name, prefix=prefix)
        )
        folder = stack.enter_context(world.cleaning.folder())
        read = read_archive if encryption_of(manifest) == NONE else _read_lists
        tables = read(manifest, folder)
        source = world.cleaning.rows(application, environment)
        deleted = source.delete_archived(expired, tables, rows=expired.policy.batch_rows)
        told.update(rows=deleted.rows, related=deleted.related, left=deleted.left, archived=int(manifest["rows"]))
    return {key: int(told[key]) for key in ("rows", "related", "left", "archived")}


def _drop(
    run: str, application: str, environment: str, expired: Expired, prefix: str, manifest: dict[str, Any]
) -> dict[str, int]:
    """Drop a partition that is archived whole, where it still is what was copied; else its rows stay, and are told."""
    world, rows = open_world(), int(manifest["rows"])
    subject, one = subject_of(run, application, environment), manifest["partition"]
    told: dict[str, Any]
    with ExitStack() as stack:
        told = stack.enter_context(
            effect(
                subject,
                "deletion",
                "completed",
                detail=prefix,
                policy=expired.policy.name,
                prefix=prefix,
                partition=one["name"],
            )
        )
        folder = stack.enter_context(world.cleaning.folder())
        for file in manifest["tables"]:
            world.cleaning.archives.get(file["key"], folder / "fetched", sha256=file["sha256"])
        source = world.cleaning.rows(application, environment)
        try:
            source.drop_partition(expired, one["name"], state=one["state"])
            told.update(rows=rows, related=0, left=0, archived=rows, reason="")
        except RefusedError as exc:
            told.update(rows=0, related=0, left=rows, archived=rows, reason=str(exc)[:300])
    return {key: int(told[key]) for key in ("rows", "related", "left", "archived")}


@effect_task
def archive_partition(
    run: str, application: str, environment: str, name: str, plan_hash: str, partition: str
) -> dict[str, Any]:
    """Copy a whole partition into an archive. Effect: objects under keys of this partition; may be repeated.

    Returns: `prefix`, `rows`.
    """
    allowed = require_leave(run, application, environment, name, plan_hash)
    prefix = partition_prefix(application, environment, name, run, partition)
    subject = subject_of(run, application, environment)
    told: dict[str, Any]
    with effect(subject, "archive", "written", detail=prefix, policy=name, prefix=prefix) as told:
        manifest = _read_manifest(prefix) or _write_partition(allowed.expired, prefix, partition)
        told.update(_sizes(manifest), partition=partition)
    return {"prefix": prefix, "rows": int(manifest["rows"])}


def _write_partition(expired: Expired, prefix: str, partition: str) -> dict[str, Any]:
    world, tables = open_world(), list[dict[str, Any]]()
    with world.cleaning.folder() as folder:
        source = world.cleaning.rows(*_place_of(prefix))
        one = source.copy_partition(
            expired, partition, folder=folder, keep=lambda part: tables.append(_keep(prefix, part, folder))
        )
    manifest = {
        "policy": expired.policy.name,
        "policy_hash": expired.policy.hash,
        "cutoff": expired.cutoff.isoformat(),
        "rows": one.rows,
        "last": None,
        "partition": asdict(one),
        "tables": tables,
    }
    world.cleaning.archives.keep(manifest_key(prefix), canonical_json(manifest).encode())
    return _read_manifest(prefix) or manifest


def partition_of(manifest: dict[str, Any]) -> CopiedPartition | None:
    """The partition that an archive holds whole, if it does."""
    return CopiedPartition(**manifest["partition"]) if "partition" in manifest else None


@reading_task
def list_unfinished(application: str, environment: str, name: str) -> list[str]:
    """List archives of a policy that were begun and whose rows were not deleted; those without a manifest are none."""
    entries = open_world().ledger.entries(kinds=_KINDS, application=application, environment=environment, limit=100_000)
    return [prefix for prefix in find_unfinished(entries, policy=name) if _read_manifest(prefix) is not None]


@effect_task
def finish_archive(run: str, application: str, environment: str, name: str, prefix: str) -> dict[str, int]:
    """Delete the rows of an archive that a run which died has left. Effect: rows; deletes nothing twice.

    It takes the approval that holds for the policy now, as its holds do; its cut-off is the archive's.
    """
    policy = read_policy(application, environment, name)
    manifest = _read_manifest(prefix) or {}
    if not any(one.policy_hash == policy.hash for one in read_word(application, environment, name)):
        raise RefusedError(f"Archive {prefix} is not finished: nobody approved policy '{name}' as it is now.")
    if manifest.get("policy_hash") != policy.hash:
        raise RefusedError(f"Archive {prefix} is not finished: policy '{name}' was changed since. Its rows stay.")
    holds = read_policy_holds(application, environment, policy)
    expired = Expired(policy, datetime.fromisoformat(manifest["cutoff"]), holds)
    return _delete(run, application, environment, expired, prefix)
