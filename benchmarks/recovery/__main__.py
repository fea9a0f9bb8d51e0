"""Measure recovery after each kind of kill: `python -m benchmarks.recovery`.

Rolls back and forth between two good releases on a stack of its own, under clients' load, and gives SIGKILL to one part
in the middle of each: seconds until the rollback is closed and every site is wholly on one release, seconds until
everything runs again, and the requests that clients lost which ask the standby where the primary fails.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# the outside of Slipway (a forge, visitors, people) is played by the same code as in the live tests
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "live")]

from journey import Journey, Visitors  # noqa: E402
from kills import Boundary, Clients, Pair, await_boundary, await_rest, await_settled, kill, parts_of  # noqa: E402

from benchmarks.journey.__main__ import a_stack  # noqa: E402

MIDDLE = Boundary("traffic.begun", "alpha")


def measure(pair: Pair, part: str) -> tuple[float, float, int]:
    """Kill one part in the middle of a rollback: seconds to whole, seconds to rest, requests lost."""
    with Clients(pair.journey).visiting() as clients:
        run = pair.start_rollback()
        await_boundary(pair.journey, run, MIDDLE)
        begun = time.monotonic()
        kill(pair.journey, part, run)
        await_settled(pair, run)
        whole_s = time.monotonic() - begun
        await_rest(pair, run)
        rest_s = time.monotonic() - begun
    return whole_s, rest_s, len(clients.lost)


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="slipway-recovery-"))
    print("| killed | production whole after | everything runs after | requests lost |\n| --- | ---: | ---: | ---: |")
    with a_stack() as stack:
        journey = Journey(stack, folder)
        with Visitors(stack.installation.ports["entry-production-alpha"]).visiting():
            first = journey.deliver("recovery a")
            journey.wait_end(journey.approve(first), limit_s=360)
            second = journey.deliver("recovery b", beside=True)
            journey.wait_end(journey.approve(second), limit_s=360)
        pair = Pair(journey, (first, second))
        for part in parts_of(journey):
            whole_s, rest_s, lost = measure(pair, part)
            print(f"| {part} | {whole_s:.1f} s | {rest_s:.1f} s | {lost} |", flush=True)
        journey.world.close()
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
