"""The page docs/reference/kill-matrix.md: what was killed where, and what became of it.

The upper part is computed from the plan each time; the lower part is kept from runs on the real stack
(`tests/live/test_kills.py`, with `SLIPWAY_KILL_MATRIX=write`). `make kill-matrix` writes the page anew.
"""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "kill-matrix.md"
RESULTS = ROOT / "tests" / "data" / "kill-matrix.json"

HEAD = """# Kill matrix

Written by the tests (`make kill-matrix`); edit nothing here. What dies, dies by SIGKILL, and nobody helps afterwards.
What must hold then, and is looked at each time:

- production is wholly on one release on every site, and that is what the ledger says;
- an outside client that asks the primary, and the standby where that fails, loses no request;
- the ledger's chain is whole, no rollout is open, and the run went on or is closed with a reason;
- no lease is held, and no process runs that should not, nor twice.

## Every boundary, in memory

Each change that a flow makes to the world, in its order, found by running the flow; its process dies just before it.
Then the lease runs out and `reconcile` runs, once. *a* was live before, *b* is the new release. `tests/faults/` tries
more: each change done and its answer lost, the run retried at once, the run retried after it was settled.
"""

REAL = """
## Boundaries × parts, on the real stack

Whole runs on the embedded stack, under clients' load. The part gets SIGKILL as soon as the ledger's entry can be read,
milliseconds after it was written. Seconds until the rollout was closed and every site on one release; on two cores,
which other work kept busy too. CI takes another turn of this table each day (`tests/live/test_kills.py`); shown is the
newest run of each cell, those that are missing were not taken yet.
"""

Rows = Sequence[tuple[str, str, str]]


def render(scenarios: Mapping[str, Rows]) -> str:
    """The whole page. Rows are (boundary, release that production is on then, how the run was closed)."""
    parts = [HEAD]
    for scenario, rows in scenarios.items():
        parts.append(f"\n### {scenario}: {len(rows)} boundaries, {len(rows)} held\n")
        parts.append("| killed before | production is on | the run is closed by |\n| --- | --- | --- |")
        parts += [f"| {number}. {name} | {release} | {closing} |" for number, name, release, closing in _merge(rows)]
    return "\n".join(parts) + "\n" + REAL + _render_real(json.loads(RESULTS.read_text()))


def _merge(rows: Rows) -> list[tuple[str, str, str, str]]:
    return [(str(number), *row) for number, row in enumerate(rows, start=1)]


def _render_real(results: Mapping[str, Mapping[str, str]]) -> str:
    lines = ["", "| flow | killed | at the entry | held | seconds | on |", "| --- | --- | --- | --- | ---: | --- |"]
    for key in sorted(results):
        flow, part, boundary = key.split("|")
        one = results[key]
        lines.append(f"| {flow} | {part} | {boundary} | {one['held']} | {one['seconds']} | {one['on']} |")
    return "\n".join(lines) + "\n"


def keep_result(*, flow: str, part: str, boundary: str, seconds: float, complaints: Sequence[str]) -> None:
    """Print one result of the real stack, and keep it for the page where that is asked for."""
    held = "yes" if not complaints else "; ".join(complaints)[:200]
    print(f"{flow} | {part} | {boundary} | {held} | {seconds:.1f} s")
    if os.environ.get("SLIPWAY_KILL_MATRIX") != "write":
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found = {"held": held, "seconds": f"{seconds:.1f}", "on": f"{datetime.now(UTC):%Y-%m-%d}"}
    results["|".join((flow, part, boundary))] = found
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
