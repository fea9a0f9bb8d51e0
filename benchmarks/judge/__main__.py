"""Measure the judge: `python -m benchmarks.judge [--full]`.

Prints, over streams drawn from fixed seeds: how many watches with nothing wrong were rolled back, and of bad ones how
many were found, when, and how many requests the canary had harmed by then; beside three rivals on the same streams. A
watch is 15 minutes, looked at by the code that `cd` runs: each 2 s in the first minute, then each 5 s. The short run
has 200 good watches and 20 bad ones of each kind; `--full` five times as many.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import Pool

from benchmarks.judge.rivals import end_test_fails_at, repeated_test_fails_at, thresholds_fail_at
from benchmarks.judge.streams import WATCH_S, Scene, Stream, make_stream, with_badness
from domain.application import ObjectivesPart
from domain.judgement import Verdict, judge_alone, judge_canary

LOOKS_S = [*range(2, 60, 2), *range(60, WATCH_S + 1, 5)]
OBJECTIVES = ObjectivesPart()

FAMILIES = ("lognormal", "gamma", "pareto", "weibull", "mixed", "narrow")
SHARES = ((10.0, 1.0), (100.0, 1.0), (100.0, 0.1))
"""Requests a second of the live release, and the canary's share of that."""

NOTHING_WRONG = {
    "as usual": {},
    "failures in clusters of 3": {"clusters": 3.0},
    "three hiccups with retries": {"storms": 3},
    "latency wanders (3 %, 50 s)": {"noise_sd": 0.03, "noise_memory": 0.98},
    "instances differ by 1.5 %": {"offset_sd": 0.015},
}
BAD = {
    "latency +10 %": ("latency", 1.1, 0.0),
    "latency +20 %": ("latency", 1.2, 0.0),
    "latency +50 %": ("latency", 1.5, 0.0),
    "3 % of requests × 4": ("tail", 0.03, 0.0),
    "errors × 2": ("errors", 2.0, 0.0),
    "errors × 5": ("errors", 5.0, 0.0),
    "outage of a half": ("outage", 0.5, 0.0),
    "outage": ("outage", 1.0, 0.0),
    "errors × 5 from minute 5": ("errors", 5.0, 300.0),
    "latency +50 % from minute 5": ("latency", 1.5, 300.0),
}
BAD_ALONE = {
    "errors × 10": ("errors", 10.0),
    "outage of a half": ("outage", 0.5),
    "outage": ("outage", 1.0),
}
GOOD_WATCHES, BAD_WATCHES = 200, 20
BEFORE_S = 300


def ours_fails_at(stream: Stream) -> float | None:
    """When our judge says FAIL."""
    for end in LOOKS_S:
        judgement = judge_canary(
            stream.canary[:end], stream.live[:end], objectives=OBJECTIVES, watch_s=WATCH_S, elapsed_s=end
        )
        if judgement.verdict is Verdict.FAIL:
            return float(end)
    return None


JUDGES: dict[str, Callable[[Stream], float | None]] = {
    "Slipway": ours_fails_at,
    "thresholds, 5 failed checks": lambda stream: thresholds_fail_at(stream.canary, stream.live),
    "rank test at the end": lambda stream: end_test_fails_at(stream.canary, stream.live),
    "test repeated each 10 s": lambda stream: repeated_test_fails_at(stream.canary, stream.live, look_s=10),
}


@dataclass(frozen=True, slots=True)
class Watched:
    """One watch by one judge: when it rolled back (None: never), the requests harmed by then, and the work it cost."""

    ended_s: float | None
    harmed: float
    spent_s: float


def watch(scene: Scene, seed: int) -> dict[str, Watched]:
    """Let every judge watch one stream, in turn."""
    stream = make_stream(scene, seed=seed)
    results: dict[str, Watched] = {}
    for name, fails_at in JUDGES.items():
        begun = time.process_time()
        ended_s = fails_at(stream)
        spent_s = time.process_time() - begun
        results[name] = Watched(ended_s, _harmed(stream, scene, ended_s or WATCH_S), spent_s)
    return results


def alone_fails_at(scene: Scene, seed: int) -> float | None:
    """When our judge says FAIL of a release that has all the traffic, after five minutes of the one before it."""
    stream = make_stream(scene, seed=seed)
    windows, before = stream.canary[BEFORE_S:], stream.live[:BEFORE_S]
    for end in (look for look in LOOKS_S if look <= len(windows)):
        judgement = judge_alone(
            windows[:end], objectives=OBJECTIVES, watch_s=len(windows), elapsed_s=end, before=before
        )
        if judgement.verdict is Verdict.FAIL:
            return float(end)
    return None


def _harmed(stream: Stream, scene: Scene, ended_s: float) -> float:
    """How many of the canary's answers were worse than they would have been, until it was gone."""
    windows = stream.canary[int(scene.onset_s) : int(ended_s)]
    if scene.badness in ("errors", "outage"):
        share = 1 - 1 / scene.size if scene.badness == "errors" else 1.0
        return share * sum(window.failures for window in windows)
    share = {"latency": 1.0, "tail": scene.size}.get(scene.badness, 0.0)
    return share * sum(window.requests for window in windows)


def measure_false_alarms(watches: int) -> None:
    print(f"\n## {watches} watches with nothing wrong: how many were rolled back\n")
    print(f"| what is unusual | {' | '.join(JUDGES)} |\n| --- |{' ---: |' * len(JUDGES)}")
    totals = dict.fromkeys(JUDGES, 0)
    spent_s = dict.fromkeys(JUDGES, 0.0)
    each = watches // len(NOTHING_WRONG)
    for row, (unusual, changes) in enumerate(NOTHING_WRONG.items()):
        results = _watch_all([(_good_scene(n, changes), 1000 * row + n) for n in range(each)])
        counts = {name: sum(result[name].ended_s is not None for result in results) for name in JUDGES}
        for name in JUDGES:
            totals[name] += counts[name]
            spent_s[name] += sum(result[name].spent_s for result in results)
        print(f"| {unusual} ({each}) | {' | '.join(str(count) for count in counts.values())} |", flush=True)
    print(f"| **all ({each * len(NOTHING_WRONG)})** | {' | '.join(f'**{count}**' for count in totals.values())} |")
    print(f"| CPU ms a watch | {' | '.join(f'{1000 * spent / watches:.0f}' for spent in spent_s.values())} |")


def measure_alone(watches: int) -> None:
    """With all the traffic there is nothing to compare with but the time before."""
    print(f"\n## After full share: {watches} watches of each kind, {WATCH_S - BEFORE_S} s\n")
    print("| what happens | requests/s | rolled back | after s (median) |\n| --- | ---: | ---: | ---: |")
    kinds = {name: Scene(**changes) for name, changes in NOTHING_WRONG.items()} | {  # type: ignore[arg-type]
        name: with_badness(Scene(), kind, size, onset_s=float(BEFORE_S)) for name, (kind, size) in BAD_ALONE.items()
    }
    for row, (name, scene) in enumerate(kinds.items()):
        for rate in (10.0, 100.0):
            jobs = [(replace(scene, rate=rate), 200_000 + 1000 * row + n) for n in range(watches)]
            with Pool(min(4, os.cpu_count() or 1)) as pool:
                ends = [end for end in pool.starmap(alone_fails_at, jobs, chunksize=2) if end is not None]
            after = f"{statistics.median(ends):.0f}" if ends else "–"
            print(f"| {name} | {rate:.0f} | {len(ends)} of {watches} | {after} |", flush=True)


def _good_scene(number: int, changes: dict[str, float]) -> Scene:
    """Every combination of family, base errors and traffic in turn."""
    rate, share = SHARES[number % 3]
    family = FAMILIES[number // 3 % len(FAMILIES)]
    errors = (0.001, 0.01, 0.05)[(number + number // 3) % 3]
    return Scene(rate=rate, canary_share=share, family=family, error_ratio=errors, **changes)  # type: ignore[arg-type]


def measure_delays(watches: int) -> None:
    for rate in (10.0, 100.0):
        print(f"\n## {watches} bad watches of each kind, {rate:.0f} requests/s on each arm, 1 % base errors\n")
        print("Seconds from the harm's beginning to the rollback: median, and the slowest tenth in brackets;")
        print("then the requests harmed by then (median). A watch that found nothing counts to its end.\n")
        print(f"| badness | found | {' | '.join(JUDGES)} |\n| --- | ---: |{' ---: |' * len(JUDGES)}")
        for row, (badness, (kind, size, onset_s)) in enumerate(BAD.items()):
            scene = with_badness(Scene(rate=rate), kind, size, onset_s=onset_s)
            results = _watch_all([(scene, 100_000 + 1000 * row + n) for n in range(watches)])
            cells = [_delay_cell([result[name] for result in results], onset_s=onset_s) for name in JUDGES]
            found = sum((result["Slipway"].ended_s or 0.0) > onset_s for result in results)
            print(f"| {badness} | {found}/{watches} | {' | '.join(cells)} |", flush=True)


def _delay_cell(watched: Sequence[Watched], *, onset_s: float) -> str:
    # a rollback before the harm began is a false alarm, and finds nothing
    ends = sorted(one.ended_s if one.ended_s and one.ended_s > onset_s else float(WATCH_S) for one in watched)
    median, tenth = statistics.median(ends) - onset_s, ends[int(0.9 * (len(ends) - 1))] - onset_s
    harmed = statistics.median(one.harmed for one in watched)
    return f"{_seconds(median, onset_s)} ({_seconds(tenth, onset_s)}); {harmed:.0f}"


def _seconds(delay_s: float, onset_s: float) -> str:
    return "end" if delay_s >= WATCH_S - onset_s else f"{delay_s:.0f}"


def _watch_all(jobs: list[tuple[Scene, int]]) -> list[dict[str, Watched]]:
    with Pool(min(4, os.cpu_count() or 1)) as pool:
        return pool.starmap(watch, jobs, chunksize=2)


def main() -> None:
    factor = 5 if "--full" in sys.argv else 1
    measure_false_alarms(GOOD_WATCHES * factor)
    measure_delays(BAD_WATCHES * factor)
    measure_alone(BAD_WATCHES * factor)


if __name__ == "__main__":
    main()
