"""`what_if`: how the dates move if something happens that is not planned yet. It keeps nothing."""

from typing import Any

from prefect import flow

from domain.capacity import GpuModel, PlannedEvent, VectorPlan
from tasks.outlook import compare_what_if
from tasks.report import publish_report


@flow(name="what_if", persist_result=True)
def what_if(
    events: list[PlannedEvent] | None = None,
    models: list[GpuModel] | None = None,
    vectors: list[VectorPlan] | None = None,
) -> dict[str, Any]:
    """Say how the dates move. The answer is the artifact `what-if`.

    Args:
        events: Load that changes by so many per cent from a day on, or an amount that comes or goes.
        models: Models to serve on GPUs; one of a name that is set already replaces it.
        vectors: Documents to come into a vector store.
    """
    answer = compare_what_if(tuple(events or ()), tuple(models or ()), tuple(vectors or ()))
    publish_report("what-if", answer["markdown"], "What if")
    return {"moved": answer["moved"]}
