"""`backup`: all that must outlive a disk, every night: PostgreSQL, its log, objects, and all of it once more elsewhere.

PostgreSQL holds the applications' databases, Prefect's own and the ledger: one physical backup covers them. Weekly each
is dumped as well, independent of the files' format. What is proven, and what is not protected, is a page at the end.
"""

from typing import Any, Literal

from prefect import flow
from prefect.runtime import flow_run

from tasks.backup import (
    copy_elsewhere,
    copy_objects,
    dump_database,
    expire_backups,
    expire_elsewhere,
    list_databases,
    publish_protection,
    sweep_backups,
    take_backup,
)
from tasks.drill_objects import list_buckets


@flow(name="backup", persist_result=True)
def backup(
    kind: Literal["auto", "full", "differential", "incremental"] = "full", with_dumps: bool = False
) -> dict[str, Any]:
    """Back up PostgreSQL and the object store, copy elsewhere, expire by the rules, and say what is protected.

    Args:
        kind: full; differential or incremental where the engine can; auto: full once a week, incremental between
            where the engine can, full each time otherwise.
        with_dumps: also dump each database, as every Sunday.
    """
    run = str(flow_run.id)
    swept = sweep_backups(run)
    taken = take_backup(run, kind)
    for bucket in list_buckets(run):
        copy_objects(run, bucket)
    if with_dumps:
        for database in list_databases():
            dump_database(run, database)
    copy_elsewhere(run)
    expired = expire_backups(run) + expire_elsewhere(run)
    unprotected = publish_protection(len(expired), len(swept), is_new=True)
    return {"backup": taken["id"], "expired": expired, "swept": swept, "unprotected": unprotected}
