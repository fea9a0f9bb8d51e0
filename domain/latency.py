"""Latency, side by side: is the canary slower as a rule, and are more of its answers slow?

Works on histograms, in blocks after the warm-up. Called by `domain/judgement.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from domain import evidence as ev
from domain.application import ObjectivesPart
from domain.counts import Count, count_numbers, total
from domain.evidence import Block
from domain.traffic import Window
from domain.triggers import REST_SHARE, threshold
from domain.verdict import Finding, Verdict, numbers

BLOCK_S_MAX = 5.0
BLOCK_S_MIN = 2.0
TAIL_TOLERANCE = 1.25

TAIL_BOUNDS = {0.45: 0.1, 1.0: 0.45, 1.5: 0.45}
"""Where answers count as slow, as multiples of the live release's 99th percentile, and how much each weighs."""

TAIL_BELIEFS = {1.5: 0.2, 2.0: 0.25, 3.0: 0.25, 5.0: 0.15, 10.0: 0.1, 30.0: 0.05}

LATENCY_EXCESS_S_MIN = 0.002
"""Nobody is harmed by less, whatever the ratio: a service that answers in 5 ms is not rolled back for 1 ms."""

TAIL_REQUESTS_MIN = 200
"""How many answers of the live release are needed before its 99th percentile is believed."""


@dataclass(frozen=True, slots=True)
class Histograms:
    """Both arms' answers by latency in one block: canary and live."""

    canary: tuple[int, ...]
    live: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Tail:
    """What was counted above one bound."""

    bound_s: float
    tolerance: float
    counts: list[Count]
    unevenness: float

    def evidence(self, *, without_worst: bool = False) -> float:
        """What it says; at will without the block that speaks most against the canary."""
        counts = ev.without_worst(self.counts, tolerance=self.tolerance) if without_worst else self.counts
        return ev.rate_evidence(
            counts, tolerance=self.tolerance, dispersion=self.unevenness, beliefs=TAIL_BELIEFS, onset_every=2
        )


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies of both arms in blocks after the warm-up, and what may be tolerated of them."""

    bounds_s: tuple[float, ...]
    blocks: tuple[Histograms, ...]
    early: tuple[int, ...]
    """The live release's answers during the warm-up: what its percentiles are first known from."""
    tolerance: float

    @classmethod
    def between(
        cls,
        canary: Sequence[Window],
        live: Sequence[Window],
        *,
        objectives: ObjectivesPart,
        watch_s: float,
        noise_sd: float,
    ) -> "Latency":
        bounds_s = next((window.bounds_s for window in reversed(live) if window.buckets), ())
        tolerance = max(math.log(objectives.latency_ratio_tolerance), 3 * noise_sd)
        begun = next((window.start_s for window in canary if window.requests), None)
        if begun is None or not bounds_s:
            return cls(bounds_s, (), (), tolerance)
        warm_s = begun + objectives.warm_up_s
        block_s = min(BLOCK_S_MAX, max(BLOCK_S_MIN, watch_s / 10))
        early = _add_up([window.buckets for window in live if window.end_s <= warm_s and window.bounds_s == bounds_s])
        blocks = _blocks(canary, live, bounds_s=bounds_s, warm_s=warm_s, block_s=block_s)
        return cls(bounds_s, blocks, early or (0,) * len(bounds_s), tolerance)

    def find_level(self, *, alpha: float) -> Finding:
        canary, live = self._totals()
        if not sum(canary) or not sum(live):
            return Finding("latency", None, numbers(canary_requests=sum(canary), live_requests=sum(live)))
        _, canary_variance = ev.log_moments(canary, self.bounds_s)
        live_mean, live_variance = ev.log_moments(live, self.bounds_s)
        blocks = self._differences(canary_variance, live_variance)
        tolerance = ev.resolved_tolerance(
            self.tolerance, variance=min(live_variance, canary_variance), width=ev.bucket_width(self.bounds_s)
        )
        noise = ev.long_run_noise(blocks)
        evidence = ev.level_evidence(blocks, tolerance=tolerance, noise=noise)
        difference, error = ev.level_difference(blocks, noise=noise)
        excess_s = math.exp(live_mean) * (math.exp(difference) - 1)
        failing = evidence >= threshold(alpha) and excess_s >= LATENCY_EXCESS_S_MIN
        figures = numbers(
            canary_requests=sum(canary),
            live_requests=sum(live),
            canary_latency_s=math.exp(live_mean + difference),
            live_latency_s=math.exp(live_mean),
            latency_ratio=math.exp(difference),
            latency_ratio_error=math.exp(difference) * error,
            tolerance=math.exp(tolerance),
            visible_ratio=math.exp(tolerance + 2 * error),
            evidence=evidence,
            threshold=threshold(alpha),
        )
        return Finding("latency", Verdict.FAIL if failing else None, figures)

    def _totals(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return _add_up([block.canary for block in self.blocks]), _add_up([block.live for block in self.blocks])

    def _differences(self, canary_variance: float, live_variance: float) -> list[Block]:
        blocks: list[Block] = []
        for block in self.blocks:
            n1, n0 = sum(block.canary), sum(block.live)
            if n1 and n0:
                means = [ev.log_mean(arm, self.bounds_s) for arm in (block.canary, block.live)]
                blocks.append(Block(means[0] - means[1], canary_variance / n1 + live_variance / n0))
        return blocks

    def find_tail(self, *, alpha: float) -> Finding:
        """Compare how many answers are slower than bounds near the live release's 99th percentile."""
        known, blocks = self._known()
        if not blocks:
            return Finding("tail", None, {})
        percentile_s = ev.percentile_s(known, self.bounds_s, share=0.99)
        tails = [self._tail(_nearest(self.bounds_s, percentile_s * at), blocks) for at in TAIL_BOUNDS]
        weights = list(TAIL_BOUNDS.values())
        evidences = [tail.evidence() for tail in tails]
        evidence = ev.log_mean_of(evidences, weights=weights)
        failing = evidence >= threshold(alpha)
        if failing:  # a pause makes many answers slow at once: most of it must be there without the worst block
            rest = ev.log_mean_of([tail.evidence(without_worst=True) for tail in tails], weights=weights)
            failing = rest >= REST_SHARE * threshold(alpha)
        worst = tails[evidences.index(max(evidences))]
        shown = worst.counts[ev.strongest_since(worst.counts, tolerance=worst.tolerance) if failing else 0 :]
        figures = count_numbers(total(shown), events="slow")
        figures |= numbers(bound_s=worst.bound_s, evidence=evidence, threshold=threshold(alpha))
        return Finding("tail", Verdict.FAIL if failing else None, figures)

    def _known(self) -> tuple[tuple[int, ...], tuple[Histograms, ...]]:
        """Enough answers of the live release to know its 99th percentile, and the blocks after them."""
        known = self.early
        for index, block in enumerate(self.blocks):
            if sum(known) >= TAIL_REQUESTS_MIN:
                return known, self.blocks[index:]
            known = _add_up([known, block.live])
        return known, ()

    def _tail(self, at: int, blocks: Sequence[Histograms]) -> _Tail:
        """What lies above one bound."""
        counts = [
            (sum(block.canary), sum(block.canary[at + 1 :]), sum(block.live), sum(block.live[at + 1 :]))
            for block in blocks
        ]
        tolerance = max(TAIL_TOLERANCE, self._tail_tolerance(at, blocks))
        return _Tail(self.bounds_s[at], tolerance, counts, ev.split_dispersion(counts))

    def _tail_tolerance(self, at: int, blocks: Sequence[Histograms]) -> float:
        """How many times more slow answers a shift of the tolerated size would make, by the live release's slope."""
        above = sum(sum(block.live[at + 1 :]) for block in blocks)
        within = sum(block.live[at] for block in blocks)
        return (1 + within / max(above, 5)) ** min(1.0, self.tolerance / ev.bucket_width(self.bounds_s))


def _nearest(bounds_s: Sequence[float], value_s: float) -> int:
    """The index of the finite bound nearest to a value, as a ratio."""
    finite = [index for index, bound in enumerate(bounds_s) if 0 < bound < math.inf]
    return min(finite, key=lambda index: abs(math.log(bounds_s[index] / max(value_s, 1e-9))))


def _add_up(histograms: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*histograms, strict=True)))


def _blocks(
    canary: Sequence[Window], live: Sequence[Window], *, bounds_s: tuple[float, ...], warm_s: float, block_s: float
) -> tuple[Histograms, ...]:
    """Cut the time after the warm-up into blocks and leave the last, unfinished one out."""
    arms: list[dict[int, list[tuple[int, ...]]]] = [{}, {}]
    for arm, windows in zip(arms, (canary, live), strict=True):
        for window in windows:
            start_s, buckets = window.start_s, window.buckets
            if start_s >= warm_s and buckets and window.bounds_s == bounds_s:
                index = int(((start_s + window.end_s) / 2 - warm_s) // block_s)
                if index in arm:
                    arm[index].append(buckets)
                else:
                    arm[index] = [buckets]
    newest_s = max((windows[-1].end_s for windows in (canary, live) if windows), default=warm_s)
    finished = int((newest_s - warm_s + 0.25) // block_s)
    nothing = (0,) * len(bounds_s)
    return tuple(
        Histograms(*(_add_up(arm[index]) if index in arm else nothing for arm in arms))
        for index in sorted(set(arms[0]) | set(arms[1]))
        if index < finished
    )
