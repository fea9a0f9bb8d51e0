"""What the demo found, as `STATE/demo/summary.json` keeps it and as a person reads it at the end.

Every key is explained in docs/reference/demo-summary.md; a claim that does not hold makes the demo fail.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from blocks.installation import write_private


@dataclass(slots=True)
class Summary:
    """Figures of one demo; seconds are wall-clock, None where the demo did not get there."""

    started_at: str = ""
    finished_at: str = ""
    seconds: float = 0.0
    up_s: float | None = None
    requests: int = 0
    requests_per_s: float = 0.0
    failed_outside_canary: int = 0
    failed_outside_examples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    canary_requests: int = 0
    harmed_by_canary: int = 0
    harmed_failed: int = 0
    harmed_slow: int = 0
    push_to_live_s: float | None = None
    push_to_completed_s: float | None = None
    verdict_s: float | None = None
    verdict: str = ""
    rollback_s: float | None = None
    manual_rollback_s: float | None = None
    manual_rollback_traffic_s: float | None = None
    latency_ms_p50: float = 0.0
    latency_ms_p99: float = 0.0
    releases: dict[str, str] = field(default_factory=dict[str, str])
    commits: dict[str, str] = field(default_factory=dict[str, str])
    runs: dict[str, str] = field(default_factory=dict[str, str])
    ui: str = ""
    ledger_entries: int = 0
    claims: dict[str, bool] = field(default_factory=dict[str, bool])
    problem: str = ""
    passed: bool = False

    def write(self, file: Path) -> None:
        """Write it whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        write_private(file, json.dumps(rounded(asdict(self)), indent=2) + "\n", mode=0o644)


def rounded(value: Any) -> Any:
    """Round figures to what they mean: two digits."""
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return [rounded(item) for item in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]
