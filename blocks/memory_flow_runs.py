"""Flow runs in memory: the twin of `blocks/flow_runs_prefect.py`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from domain.errors import TransientError


@dataclass(frozen=True, slots=True)
class StartedRun:
    """One run that was asked for."""

    id: str
    deployment: str
    parameters: Mapping[str, Any]
    name: str


class MemoryFlowRuns:
    """Fulfils `domain.ports.FlowRuns` for tests; `runs` shows what was started, `is_away` makes it refuse."""

    def __init__(self, deployments: Collection[str] = ("ci/ci", "cd/cd")) -> None:
        self.deployments = set(deployments)
        self.runs: dict[tuple[str, str], StartedRun] = {}
        self.is_away = False

    def start(self, deployment: str, *, parameters: Mapping[str, Any], idempotency_key: str, name: str = "") -> str:
        if self.is_away:
            raise TransientError("Prefect does not answer. Look at `slipway status`.")
        if deployment not in self.deployments:
            raise TransientError(f"Prefect has no deployment '{deployment}'. Run `slipway up`.")
        run = StartedRun(f"run-{len(self.runs) + 1}", deployment, dict(parameters), name)
        return self.runs.setdefault((deployment, idempotency_key), run).id
