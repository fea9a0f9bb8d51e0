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
from domain.triggers import threshold
from domain.verdict import Finding, Verdict, numbers

BLOCK_S_MAX = 10.0
BLOCK_S_MIN = 2.0
TAIL_TOLERANCE = 1.25

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
        evidence = ev.level_evidence(blocks, tolerance=tolerance)
        difference, error = ev.level_difference(blocks)
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
            visible_ratio=math.exp(tolerance + 2.5 * error),
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
                means = [ev.log_moments(arm, self.bounds_s)[0] for arm in (block.canary, block.live)]
                blocks.append(Block(means[0] - means[1], canary_variance / n1 + live_variance / n0))
        return blocks

    def find_tail(self, *, alpha: float) -> Finding:
        """Compare how many answers are slower than two bounds near the live release's 99th percentile."""
        evidences: list[float] = []
        failing = False
        figures: dict[str, float] = {}
        for share in (0.45, 1.0):
            counts, bound_s, tolerance = self._slow_counts(share)
            if not counts:
                continue
            clustering = ev.dispersion([(n0, k0) for _, _, n0, k0 in counts])
            evidence = ev.rate_evidence(counts, tolerance=tolerance, dispersion=clustering, onset_every=1)
            evidences.append(evidence)
            rest = ev.without_worst(counts, tolerance=tolerance)
            if evidence >= threshold(alpha) and not failing:
                failing = ev.rate_evidence(
                    rest, tolerance=tolerance, dispersion=clustering, onset_every=1
                ) >= threshold(alpha)
            if not figures or failing:
                shown = counts[ev.strongest_since(counts, tolerance=tolerance) if failing else 0 :]
                figures = count_numbers(total(shown), events="slow") | numbers(bound_s=bound_s)
        if not evidences:
            return Finding("tail", None, {})
        figures |= numbers(evidence=max(evidences), threshold=threshold(alpha))
        return Finding("tail", Verdict.FAIL if failing else None, figures)

    def _slow_counts(self, share: float) -> tuple[list[Count], float, float]:
        """Requests and slow requests per block; slow is what lies above a bound that earlier blocks suggest."""
        counts: list[Count] = []
        known = self.early
        bound_s, tolerance = 0.0, TAIL_TOLERANCE
        for block in self.blocks:
            if sum(known) >= TAIL_REQUESTS_MIN:
                percentile_s = ev.percentile_bound(known, self.bounds_s, share=0.99)
                at = _nearest(self.bounds_s, percentile_s * share)
                bound_s = self.bounds_s[at]
                counts.append(
                    (sum(block.canary), sum(block.canary[at + 1 :]), sum(block.live), sum(block.live[at + 1 :]))
                )
                tolerance = max(tolerance, self._tail_tolerance(known, at))
            known = _add_up([known, block.live])
        return counts, bound_s, tolerance

    def _tail_tolerance(self, known: Sequence[int], at: int) -> float:
        """How many times more slow answers a shift of the tolerated size would make."""
        above, with_bucket = sum(known[at + 1 :]), sum(known[at:])
        if not above or not with_bucket:
            return TAIL_TOLERANCE
        per_bucket = with_bucket / above
        return per_bucket ** min(1.0, self.tolerance / ev.bucket_width(self.bounds_s))


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
            if window.start_s >= warm_s and window.buckets and window.bounds_s == bounds_s:
                middle_s = (window.start_s + window.end_s) / 2
                arm.setdefault(int((middle_s - warm_s) // block_s), []).append(window.buckets)
    newest_s = max((windows[-1].end_s for windows in (canary, live) if windows), default=warm_s)
    finished = int((newest_s - warm_s + 0.25) // block_s)
    nothing = (0,) * len(bounds_s)
    return tuple(
        Histograms(*(_add_up(arm[index]) if index in arm else nothing for arm in arms))
        for index in sorted(set(arms[0]) | set(arms[1]))
        if index < finished
    )
