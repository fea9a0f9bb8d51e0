"""What became of flow runs, asked of Prefect's API: `RunRecords`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelling, Completed, Crashed

from domain.errors import TransientError
from domain.ports import RunRecord

R = TypeVar("R")
PAGE = 100

UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]


class PrefectRunRecords:
    """Fulfils `domain.ports.RunRecords` with the API that this process is configured for."""

    def __init__(self, ui_url: str) -> None:
        self._ui_url = ui_url

    def find(self, run: str) -> RunRecord | None:
        try:
            return self._ask(lambda client: _read_run(client, client.read_flow_run(UUID(run))))
        except (ObjectNotFound, ValueError):
            return None

    def crashed(self, *, since: datetime) -> list[RunRecord]:
        ended = FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])),
            end_time=FlowRunFilterEndTime.model_validate({"after_": since}),
        )
        return self._list(ended, sort=FlowRunSort.START_TIME_ASC)

    def late(self, *, before: datetime) -> list[RunRecord]:
        waiting = FlowRunFilter(
            state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Late", "Pending"])),
            expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": before}),
        )
        return self._list(waiting, sort=FlowRunSort.EXPECTED_START_TIME_ASC)

    def unfinished(self, *, flow: str) -> list[RunRecord]:
        open_runs = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)))
        return self._list(open_runs, sort=FlowRunSort.EXPECTED_START_TIME_ASC, flow=flow)

    def close(self, run: str, *, name: str, message: str) -> None:
        record = self.find(run)
        if record is None or record.state != "paused":
            return
        ended = Completed(name=name, message=message)
        # by force: Prefect's rules have no way from suspended to ended but through a process
        self._ask(lambda client: client.set_flow_run_state(UUID(run), ended, force=True))

    def cancel(self, run: str) -> None:
        record = self.find(run)
        if record is not None and not record.has_ended:
            self._ask(lambda client: client.set_flow_run_state(UUID(run), Cancelling(), force=False))

    def crash(self, run: str, *, message: str) -> None:
        record = self.find(run)
        if record is not None and record.state == "pending":
            self._ask(lambda client: client.set_flow_run_state(UUID(run), Crashed(message=message), force=True))

    def url(self, run: str) -> str:
        return f"{self._ui_url}/v2/runs/flow-run/{run}"

    def _list(self, runs: FlowRunFilter, *, sort: FlowRunSort, flow: str = "") -> list[RunRecord]:
        flows = FlowFilter(name=FlowFilterName(any_=[flow])) if flow else None

        def read(client: SyncPrefectClient) -> list[RunRecord]:
            found = client.read_flow_runs(flow_filter=flows, flow_run_filter=runs, sort=sort, limit=PAGE)
            return [_read_run(client, run) for run in found]

        return self._ask(read)

    def _ask(self, question: Callable[[SyncPrefectClient], R]) -> R:
        try:
            with get_client(sync_client=True) as client:
                return question(client)
        except ObjectNotFound:
            raise
        except (httpx.TransportError, PrefectHTTPStatusError) as exc:
            raise TransientError(f"Prefect's API does not answer: {str(exc)[:256]}. Look at `slipway status`.") from exc


_flow_names: dict[Any, str] = {}


def _read_run(client: SyncPrefectClient, run: FlowRun) -> RunRecord:
    if run.flow_id not in _flow_names:
        _flow_names[run.flow_id] = client.read_flow(run.flow_id).name
    state = run.state
    return RunRecord(
        id=str(run.id),
        flow=_flow_names[run.flow_id],
        name=run.name,
        state=state.type.value.lower() if state else "pending",
        message=(state.message or "")[:500] if state else "",
        since=state.timestamp.astimezone(UTC) if state else None,
        parameters=run.parameters,
    )
