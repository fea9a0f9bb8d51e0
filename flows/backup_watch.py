"""`backup_watch`: looks every quarter of an hour whether backups still protect: a recent one, a log without a gap.

A backup that did not run makes no noise of its own. This one does: an incident, once for each kind of trouble a day.
"""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from tasks.backup import explain_weaknesses, read_weaknesses
from tasks.backup_alarm import raise_alarm


@flow(name="backup_watch", persist_result=True)
def backup_watch() -> dict[str, Any]:
    """Judge PostgreSQL's backups and its log archive; open an incident where they stopped protecting."""
    weaknesses = read_weaknesses()
    if not weaknesses:
        return {"lacks": []}
    number = raise_alarm(str(flow_run.id), explain_weaknesses(weaknesses), tuple(weaknesses))
    return {"lacks": weaknesses, "incident": number}
