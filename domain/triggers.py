"""What speaks against a release: an outage, more errors. Each trigger turns counts into one finding.

Called by `domain/judgement.py`. Side by side with the live release where there is one, else against objectives and what
was before.
"""

import math
from collections.abc import Sequence

from domain import evidence as ev
from domain.application import ObjectivesPart
from domain.counts import Count, count_numbers, excess, ratio, slices, total
from domain.traffic import Window
from domain.verdict import Finding, Verdict, numbers

ERROR_TOLERANCE = 1.10

OUTAGE_SHARE_MIN = 0.4
"""Fewer failures than this are errors, not an outage."""

OUTAGE_CLUSTERING_MAX = 8.0
"""Where the live release's failures cluster, so do a good canary's; an outage outgrows any clustering soon."""

WHOLE_SHARE_MIN = 0.9
"""Where nearly everything fails there is no need to wait as long to see that it lasts."""

REST_SHARE = 0.6
"""How much of the evidence must be there without the one stretch that speaks most against the canary."""

SPARED, SPARED_ALONE = 2, 12
"""How many of the worst stretches don't count towards an outage: beside the live release, and without one."""

SPARED_SHARE = 0.2
"""Of a short watch no larger share is left out, or nothing could be found in it."""

LONG_S = 5.0
"""Stretches as long as this hold more than one cluster: no one of them needs to be left out."""

ALONE_RISE = 2.5
"""Before and after can't be compared as strictly as side by side: only a rise clearly beyond this is automatic."""

SLOW_SHARE = 0.015
"""How many answers may be slower than the 99th percentile's objective: 1 %, and a margin."""


def threshold(alpha: float) -> float:
    """The logarithm that evidence must reach for a chance of `alpha` that it errs."""
    return math.log(1.0 / alpha)


def find_outage(counts: Sequence[Count], *, stretch_s: float, spared: int) -> Finding:
    """Unavailability: half of the answers fail, and not those of the live release as well. No warm-up.

    Args:
        stretch_s: how long one stretch of `counts` is.
        spared: so many of the worst stretches don't count: how long an outage has to last to be one.
    """
    evidence, since = ev.outage_evidence(counts)
    evidence /= min(OUTAGE_CLUSTERING_MAX, ev.clustering([(n0, k0) for _, _, n0, k0 in counts if n0]))
    share = ratio(*reversed(total(since)[:2])) or 0.0
    failing = (
        evidence >= ev.OUTAGE_THRESHOLD
        and share >= OUTAGE_SHARE_MIN
        and sum(k1 for _, k1, _, _ in since) >= ev.OUTAGE_FAILURES_MIN
        and (_is_long(stretch_s) or _lasts(since, spared=spared if share < WHOLE_SHARE_MIN else min(spared, 4)))
    )
    figures = count_numbers(total(since or counts)) | numbers(evidence=evidence, threshold=ev.OUTAGE_THRESHOLD)
    return Finding("unavailability", Verdict.FAIL if failing else None, figures)


def spared_alone(watch_s: float) -> int:
    """How many of the worst stretches of a second don't count, with nothing beside the release."""
    return min(SPARED_ALONE, round(SPARED_SHARE * watch_s))


def _is_long(stretch_s: float) -> bool:
    """Whether one stretch is no mere cluster."""
    return stretch_s >= LONG_S


def _lasts(since: Sequence[Count], *, spared: int) -> bool:
    """Whether it also looks like an outage without the worst stretches: a burst of failures is none."""
    gains = sorted(ev.outage_gain(n1, k1, usual=ev.OUTAGE_RATIO_USUAL) for n1, k1, _, _ in since)
    return sum(gains[:-spared]) > ev.OUTAGE_THRESHOLD / 3


def find_errors(counts: Sequence[Count], *, objectives: ObjectivesPart, alpha: float, stretch_s: float) -> Finding:
    """More errors than the live release beside it: by a ratio, by a smallest excess, and not in one cluster only."""
    unevenness = max(ev.split_dispersion(counts), ev.clustering([(n0, k0) for _, _, n0, k0 in counts if n0]))
    evidence = ev.rate_evidence(counts, tolerance=ERROR_TOLERANCE, dispersion=unevenness)
    shown = total(counts)
    failing = False
    if evidence >= threshold(alpha):
        since = counts[ev.strongest_since(counts, tolerance=ERROR_TOLERANCE) :]
        shown = total(since)
        unevenness = max(unevenness, ev.clustering([(n1, k1) for n1, k1, _, _ in since if n1]))
        evidence = ev.rate_evidence(counts, tolerance=ERROR_TOLERANCE, dispersion=unevenness)
        failing = (
            excess(shown) >= objectives.error_ratio_min_excess
            and evidence >= threshold(alpha)
            and (_is_long(stretch_s) or _still_speaks(counts, dispersion=unevenness, alpha=alpha))
        )
    figures = numbers(evidence=evidence, threshold=threshold(alpha), unevenness=unevenness)
    return Finding("errors", Verdict.FAIL if failing else None, count_numbers(shown) | figures)


def _still_speaks(counts: Sequence[Count], *, dispersion: float, alpha: float) -> bool:
    """Whether most of the evidence is there without the worst stretch: one cluster must not decide."""
    rest = ev.without_worst(counts, tolerance=ERROR_TOLERANCE)
    return ev.rate_evidence(rest, tolerance=ERROR_TOLERANCE, dispersion=dispersion) >= REST_SHARE * threshold(alpha)


def find_error_rise(
    counts: Sequence[Count],
    before: Sequence[Count],
    *,
    objectives: ObjectivesPart,
    alpha: float,
    stretch_s: float,
    spared: int,
) -> Finding:
    """More errors than the objective allows, or than a strong rise from before: nothing runs beside it."""
    before_n, before_k, _, _ = total(before)
    arm = [(n, k) for n, k, _, _ in counts if n]
    limit = _error_limit(before_n, before_k, objectives=objectives)
    unevenness = ev.clustering(arm)
    evidence = ev.share_evidence(_spare(arm, 1 if _is_long(stretch_s) else spared), limit=limit, dispersion=unevenness)
    failing = evidence >= threshold(alpha)
    n, k, _, _ = total(counts)
    figures = numbers(
        canary_requests=n,
        canary_failures=k,
        canary_ratio=ratio(k, n),
        before_ratio=ratio(before_k, before_n),
        limit=limit,
        evidence=evidence,
        threshold=threshold(alpha),
        unevenness=unevenness,
    )
    return Finding("errors", Verdict.FAIL if failing else None, figures)


def _error_limit(before_n: int, before_k: int, *, objectives: ObjectivesPart) -> float:
    """The share of failures that is still no reason to go back: what was bad before is not this release's fault."""
    if not before_n:
        return objectives.error_ratio_max
    usual = _upper_share(before_k, before_n)
    risen = ALONE_RISE * usual + objectives.error_ratio_min_excess
    if usual >= objectives.error_ratio_max:
        return min(0.9, risen)
    return min(objectives.error_ratio_max, risen)


def _upper_share(events: int, trials: int) -> float:
    """A share that the true one hardly exceeds: three standard errors and three events more."""
    return min(1.0, (events + 3 + 3 * math.sqrt(events)) / max(1, trials))


def _spare(arm: Sequence[tuple[int, int]], number: int) -> list[tuple[int, int]]:
    """Leave the worst stretches out: alone, a hiccup of what all releases need can't be told from a bad release."""
    worst = sorted(range(len(arm)), key=lambda index: arm[index][1], reverse=True)
    spared = set(worst[:number])
    return [one for index, one in enumerate(arm) if index not in spared]


def find_slow(
    windows: Sequence[Window],
    before: Sequence[Window],
    *,
    objectives: ObjectivesPart,
    alpha: float,
    stretch_s: float,
    spared: int,
) -> Finding:
    """More answers beyond the 99th percentile's objective than may be, or than there were before."""
    bound_s = objectives.latency_p99_s_max
    begun_s = next((window.start_s for window in windows if window.requests), 0.0)
    warm_s = begun_s if before else begun_s + objectives.warm_up_s
    counts = slices([_slow(window, bound_s) for window in windows if window.start_s >= warm_s], ())
    arm = [(n, k) for n, k, _, _ in counts if n]
    before_n, before_k, _, _ = total(slices([_slow(window, bound_s) for window in before], ()))
    limit = min(0.5, max(SLOW_SHARE, ALONE_RISE * (ratio(before_k, before_n) or 0.0)))
    unevenness = ev.clustering(arm)
    evidence = ev.share_evidence(_spare(arm, 1 if _is_long(stretch_s) else spared), limit=limit, dispersion=unevenness)
    n, k, _, _ = total(counts)
    failing = evidence >= threshold(alpha)
    figures = numbers(
        canary_requests=n,
        canary_slow=k,
        canary_ratio=ratio(k, n),
        before_ratio=ratio(before_k, before_n),
        bound_s=bound_s,
        limit=limit,
        evidence=evidence,
        threshold=threshold(alpha),
        unevenness=unevenness,
    )
    return Finding("latency", Verdict.FAIL if failing else None, figures)


def _slow(window: Window, bound_s: float) -> Window:
    """The same window, counting as failures the answers surely slower than the bound: in buckets that begin there."""
    lower_s = (0.0, *window.bounds_s)
    slow = sum(number for number, low_s in zip(window.buckets, lower_s, strict=False) if low_s >= bound_s)
    return Window(window.start_s, window.end_s, sum(window.buckets), slow)
