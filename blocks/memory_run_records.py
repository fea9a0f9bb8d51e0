"""Flow runs in memory: the twin of `blocks/run_records_prefect.py`."""

from dataclasses import replace
from datetime import datetime

from domain.ports import RunRecord


class MemoryRunRecords:
    """Fulfils `domain.ports.RunRecords` for tests, which put records into `records` by id."""

    def __init__(self) -> None:
        self.records: dict[str, RunRecord] = {}

    def find(self, run: str) -> RunRecord | None:
        return self.records.get(run)

    def crashed(self, *, since: datetime) -> list[RunRecord]:
        return [r for r in self.records.values() if r.state == "crashed" and r.since is not None and r.since >= since]

    def late(self, *, before: datetime) -> list[RunRecord]:
        waiting = ("scheduled", "pending")
        return [r for r in self.records.values() if r.state in waiting and r.since is not None and r.since <= before]

    def unfinished(self, *, flow: str) -> list[RunRecord]:
        return [r for r in self.records.values() if r.flow == flow and not r.has_ended]

    def close(self, run: str, *, name: str, message: str) -> None:
        record = self.records.get(run)
        if record is not None and record.state == "paused":
            self.records[run] = replace(record, state="completed", message=message)

    def cancel(self, run: str) -> None:
        record = self.records.get(run)
        if record is not None and not record.has_ended:
            self.records[run] = replace(record, state="cancelled")

    def crash(self, run: str, *, message: str) -> None:
        record = self.records.get(run)
        if record is not None and record.state == "pending":
            self.records[run] = replace(record, state="crashed", message=message)

    def url(self, run: str) -> str:
        return f"memory://runs/{run}"
