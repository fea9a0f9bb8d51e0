"""Measure the judge: `python -m benchmarks.judge [--full]`.

Prints, over streams drawn from fixed seeds: how many of 200 watches with nothing wrong were rolled back, and for 100
bad ones when, and how many requests the canary had harmed by then; beside two rivals on the same streams. A watch is
15 minutes, looked at every 10 s by the code that `cd` runs. `--full` has five times as many watches.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from benchmarks.judge.rivals import repeated_test_fails_at, thresholds_fail_at
from benchmarks.judge.streams import WATCH_S, Scene, Stream, make_stream, with_badness
from domain.application import ObjectivesPart
from domain.judgement import Verdict, judge_canary

LOOK_S = 10
OBJECTIVES = ObjectivesPart()
FAMILIES = ("lognormal", "gamma", "pareto", "weibull", "mixed")
NOTHING_WRONG = [
    Scene(rate=rate, canary_share=share, family=family, error_ratio=errors, clusters=clusters)
    for rate, share in ((10.0, 1.0), (100.0, 1.0), (100.0, 0.1))
    for family, errors, clusters in zip(FAMILIES, (0.001, 0.01, 0.05, 0.01, 0.001), (1, 1, 1, 3, 1), strict=True)
]
BAD = {
    "latency +20 %": ("latency", 1.2, 0.0),
    "latency +50 %": ("latency", 1.5, 0.0),
    "3 % of requests × 4": ("tail", 0.03, 0.0),
    "errors × 2": ("errors", 2.0, 0.0),
    "errors × 5": ("errors", 5.0, 0.0),
    "outage": ("outage", 1.0, 0.0),
    "errors × 5 from minute 5": ("errors", 5.0, 300.0),
}


def ours_fails_at(stream: Stream) -> float | None:
    """When our judge says FAIL, looking every 10 s."""
    for end in range(LOOK_S, WATCH_S + 1, LOOK_S):
        judgement = judge_canary(
            stream.canary[:end], stream.live[:end], objectives=OBJECTIVES, watch_s=WATCH_S, elapsed_s=end
        )
        if judgement.verdict is Verdict.FAIL:
            return float(end)
    return None


JUDGES: dict[str, Callable[[Stream], float | None]] = {
    "Slipway": ours_fails_at,
    "thresholds, 5 failed checks": lambda stream: thresholds_fail_at(stream.canary, stream.live),
    "test repeated at each look": lambda stream: repeated_test_fails_at(stream.canary, stream.live, look_s=LOOK_S),
}


def measure_false_alarms(watches: int) -> None:
    streams = [make_stream(NOTHING_WRONG[n % len(NOTHING_WRONG)], seed=n) for n in range(watches)]
    print(f"\n## {watches} watches with nothing wrong\n\n| judge | rolled back | share | CPU ms a watch |")
    print("| --- | ---: | ---: | ---: |")
    for name, fails_at in JUDGES.items():
        begun = time.process_time()
        count = sum(fails_at(stream) is not None for stream in streams)
        spent_ms = (time.process_time() - begun) / watches * 1000
        print(f"| {name} | {count} | {100 * count / watches:.1f} % | {spent_ms:.0f} |", flush=True)


def measure_delays(watches: int) -> None:
    print(f"\n## {watches} watches of bad releases, 100 requests/s on each arm, 1 % base errors\n")
    print("| badness | judge | found | median s | slowest tenth s | requests harmed, median |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    each = max(1, watches // len(BAD))
    for badness, (kind, size, onset_s) in BAD.items():
        scene = with_badness(replace(Scene(rate=100.0), family="lognormal"), kind, size, onset_s=onset_s)
        streams = [make_stream(scene, seed=10_000 + n) for n in range(each)]
        for name, fails_at in JUDGES.items():
            ends = [fails_at(stream) for stream in streams]
            # an alarm before the harm began is no find
            found = [end - onset_s for end in ends if end is not None and end > onset_s]
            harmed = [
                sum(window.requests for window in stream.canary[int(onset_s) : int(end)])
                for stream, end in zip(streams, ends, strict=True)
                if end is not None and end > onset_s
            ]
            print(f"| {badness} | {name} | {len(found)}/{each} | {_delays(found)} | {_median(harmed)} |", flush=True)


def _delays(found: list[float]) -> str:
    if not found:
        return "– | –"
    ordered = sorted(found)
    return f"{statistics.median(ordered):.0f} | {ordered[int(0.9 * (len(ordered) - 1))]:.0f}"


def _median(values: list[int]) -> str:
    return f"{statistics.median(values):.0f}" if values else "–"


def main() -> None:
    factor = 5 if "--full" in sys.argv else 1
    measure_false_alarms(200 * factor)
    measure_delays(105 * factor)


if __name__ == "__main__":
    main()
