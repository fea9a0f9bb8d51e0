"""`collect_usage`: measures what is used up, every ten minutes, and keeps it by minutes, hours and days.

A source that fails costs its own series only: the run says so, the ledger has when it began and ended, and the stretch
is a gap. A later run asks again for what can still be told.
"""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from tasks.usage import collect_source, list_sources, prune_usage, publish_collected


@flow(name="collect_usage", persist_result=True)
def collect_usage() -> dict[str, Any]:
    """Measure what is used up: processor, memory, disks, databases, buckets, requests. Nothing has to be filled in."""
    run = str(flow_run.id)
    collected = [collect_source(run, source) for source in list_sources()]
    pruned = prune_usage(run)
    if any(one["problems"] for one in collected):
        publish_collected(run, collected)
    return {
        "series": sum(one["series"] for one in collected),
        "samples": sum(one["samples"] for one in collected),
        "failed": [one["source"] for one in collected if one["failed"]],
        "pruned": pruned,
    }
