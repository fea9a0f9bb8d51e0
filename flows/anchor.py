"""`anchor`: copies the ledger's head to a bucket under Object Lock, every hour.

Whoever rewrites the ledger from then on, a superuser of its database included, can't rewrite that copy: see
`slipway ledger verify`. `cd`, `rollback` and `reconcile` do the same when a rollout has ended.
"""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from tasks.anchor import write_anchor


@flow(name="anchor", persist_result=True)
def anchor() -> dict[str, Any]:
    """Copy the head of the ledger (sequence, hash, time) to where nobody can change it."""
    return write_anchor(str(flow_run.id))
