"""Old flow runs and artifacts of Prefect's: removed through its API, page by page, never behind its back.

Called by `cleanup`. A run that has not ended is protected; so is the run that asks. The ledger keeps what they meant.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from domain.errors import TransientError
from domain.ports_cleanup import Expirable, Removed

_PAGE = 200
_RUNS_MAX = 20_000
_RUN_BYTES = 20_000
"""What a run takes in Prefect's database with its states, logs and events: an estimate, said as one."""
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


class RunExpirables:
    """Fulfils `domain.ports_cleanup.Expirables` for flow runs; their logs and artifacts go along."""

    def __init__(self, own_run: str = "") -> None:
        self._own_run = own_run

    def read(self) -> Sequence[Expirable]:
        found: list[Expirable] = []
        for run in self._runs():
            at = run.end_time or run.expected_start_time or run.created
            state = run.state_type.value if run.state_type else ""
            reason = "" if state in _ENDED else f"it has not ended ({state.lower() or 'no state'})"
            reason = reason or ("it is this run" if str(run.id) == self._own_run else "")
            found.append(Expirable(str(run.id), _RUN_BYTES, at.astimezone(UTC) if at else _now(), reason))
        return sorted(found, key=lambda one: (one.at, one.key))

    def remove(self, keys: Sequence[str]) -> Removed:
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound

        known, count = {one.key: one for one in self.read()}, 0
        failed: list[tuple[str, str]] = []
        with get_client(sync_client=True) as client:
            for key in keys:
                one = known.get(key)
                if one is None:
                    continue
                if one.protected:
                    failed.append((key, one.protected))
                    continue
                try:
                    _asked(lambda k=key: client.delete_flow_run(UUID(k)))
                    count += 1
                except ObjectNotFound:
                    continue
        return Removed(count, count * _RUN_BYTES, tuple(failed))

    def _runs(self) -> list[Any]:
        """Read every run, a page at a time, oldest first."""
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.sorting import FlowRunSort

        found: list[Any] = []
        with get_client(sync_client=True) as client:
            while len(found) < _RUNS_MAX:
                first = len(found)
                page = _asked(
                    lambda o=first: client.read_flow_runs(
                        sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=_PAGE, offset=o
                    )
                )
                found += page
                if len(page) < _PAGE:
                    break
        return found


def _now() -> datetime:
    return datetime.now(UTC)


def _asked(question: Any) -> Any:
    import httpx
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    try:
        return question()
    except ObjectNotFound:
        raise
    except (httpx.TransportError, PrefectHTTPStatusError) as exc:
        raise TransientError(f"Prefect's API does not answer: {str(exc)[:256]}. Look at `slipway status`.") from exc
