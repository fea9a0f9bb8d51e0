"""Archive before delete: copied, read back, counted, and only then deleted by the list of what was read back.

The archive of a batch is there when its manifest is: that is written last, under a fixed key, and the first one counts.
A run that dies anywhere is finished by the next: by the manifest, not by looking for expired rows again.
"""

import json
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from blocks.bundle import sha256_of
from blocks.world import open_world
from domain.archive import find_unfinished, manifest_key, prefix_of
from domain.canonical import canonical_json
from domain.cleanup_policy import ARCHIVE_ROWS
from domain.errors import InvariantError, RefusedError
from domain.ports_cleanup import CopiedTable, Expired
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
        told.update(
            rows=manifest["rows"],
            size_bytes=sum(int(one["size_bytes"]) for one in manifest["tables"]),
            tables={one["table"]: one["rows"] for one in manifest["tables"]},
        )
    return {"prefix": prefix, "rows": int(manifest["rows"]), "last": manifest["last"]}


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
    """Pack one table, keep it under its hash, and say what it is."""
    archives = open_world().cleaning.archives
    parquet = folder / f"{table.table}.parquet"
    rows = archives.pack(table, parquet)
    if rows != table.rows:
        raise InvariantError(
            f"{table.table}: {table.rows} rows were copied, {rows} are in the archive. Nothing was deleted."
        )
    digest = sha256_of(parquet)
    key = f"{prefix}{table.table}-{digest[:16]}.parquet"
    archives.put(key, parquet, sha256=digest)
    return {
        "table": table.table,
        "key": key,
        "sha256": digest,
        "rows": rows,
        "size_bytes": parquet.stat().st_size,
        "columns": [list(one) for one in table.columns],
        "keys": list(table.keys),
    }


def _read_manifest(prefix: str) -> dict[str, Any] | None:
    content = open_world().cleaning.archives.read(manifest_key(prefix))
    return json.loads(content) if content is not None else None


def read_archive(manifest: dict[str, Any], folder: Path) -> tuple[CopiedTable, ...]:
    """Fetch every file of an archive, compare its hash, and count its rows.

    Raises: InvariantError naming the first that is not what the manifest says.
    """
    archives, found = open_world().cleaning.archives, list[CopiedTable]()
    for one in manifest["tables"]:
        parquet, csv = folder / "fetched.parquet", folder / f"{one['table']}.read.csv"
        archives.get(one["key"], parquet, sha256=one["sha256"])
        rows = archives.unpack(parquet, csv)
        if rows != one["rows"]:
            raise InvariantError(f"{one['key']} holds {rows} rows, its manifest says {one['rows']}. Do not use it.")
        columns = tuple((str(name), str(kind)) for name, kind in one["columns"])
        found.append(CopiedTable(str(one["table"]), csv, columns, tuple(one["keys"]), rows))
    return tuple(found)


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
    world = open_world()
    subject = subject_of(run, application, environment)
    told: dict[str, Any]
    with ExitStack() as stack:
        told = stack.enter_context(
            effect(subject, "deletion", "completed", detail=prefix, policy=expired.policy.name, prefix=prefix)
        )
        folder = stack.enter_context(world.cleaning.folder())
        tables = read_archive(manifest, folder)
        source = world.cleaning.rows(application, environment)
        deleted = source.delete_archived(expired, tables, rows=expired.policy.batch_rows)
        told.update(rows=deleted.rows, related=deleted.related, left=deleted.left, archived=int(manifest["rows"]))
    return {key: int(told[key]) for key in ("rows", "related", "left", "archived")}


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
