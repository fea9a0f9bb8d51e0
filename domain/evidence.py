"""Evidence that grows while traffic flows: how strongly counts and latencies speak against a release.

Used by `domain/judgement.py`. Each `*_evidence` is the logarithm of an e-process: where nothing is wrong, the chance
that it *ever* passes log(1/alpha) is at most alpha, so one may look after every second. Nothing here decides.

Source: Howard et al. 2021 (time-uniform confidence sequences); Ramdas et al. 2023 (mixtures of e-processes, unknown
onsets); Lai 1976 (mixtures over effects). docs/explanation/how-releases-are-judged.md says what was measured.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from domain.counts import Count

EFFECTS = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""How many times the tolerated rate the bad rate may be: the alternatives that are averaged over."""

OUTAGE_RATIO = 0.5
OUTAGE_RATIO_USUAL = 0.05
OUTAGE_THRESHOLD = math.log(1000)
OUTAGE_FAILURES_MIN = 5

LEVEL_BLOCKS_MIN = 4
LEVEL_EFFECT = 0.15
"""How far beyond the tolerance a worse log latency is expected to lie: the scale of the prior."""

LEVEL_NOISE = 0.02
LEVEL_NOISE_BLOCKS = 4
"""What is believed of the noise between blocks (log latency) before any was seen, and for how many blocks it counts."""


def onset_weight(index: int) -> float:
    """Weight the belief that things got worse at block `index`; all of them together weigh 1.

    Half is on the beginning; the rest reaches as far as anybody watches, without a horizon to be known.
    """
    if index == 0:
        return 0.5
    level = int(math.log2((index + 64) / 64))
    return 0.25 / 64 / 4**level


def rate_evidence(counts: Sequence[Count], *, tolerance: float, dispersion: float = 1.0, onset_every: int = 5) -> float:
    """Weigh whether the canary's rate of events exceeds `tolerance` times the live one's.

    Given how many events both had in a stretch, each is the canary's with a chance that depends on the *ratio* of the
    rates only: a rate that changes for both cancels.

    Args:
        counts: one per stretch of some seconds, oldest first.
        dispersion: how much more the events cluster than independent ones (variance over mean), at least 1.
        onset_every: things may have got worse at every so many stretches.
    """
    sums = [0.0] * len(EFFECTS)
    believed = 0.0
    rescale = 0.0
    for index, (n1, k1, n0, k0) in enumerate(counts):
        if index % onset_every == 0:
            weight = onset_weight(index // onset_every) / len(EFFECTS) * math.exp(-rescale)
            sums = [value + weight for value in sums]
            believed += weight * len(EFFECTS) * math.exp(rescale)
        if n1 and n0 and (k1 or k0):
            sums = [
                value * math.exp(_rate_gain(n1, k1, n0, k0, tolerance, effect) / dispersion)
                for value, effect in zip(sums, EFFECTS, strict=True)
            ]
            rescale, sums = _rescaled(rescale, sums)
    return rescale + math.log(sum(sums) + max(0.0, 1.0 - believed) * math.exp(-rescale))


def _rate_gain(n1: int, k1: int, n0: int, k0: int, tolerance: float, effect: float) -> float:
    """The log likelihood ratio of one stretch: rate ratio `tolerance * effect` against `tolerance`, given k0 + k1."""
    base = tolerance * n1
    return k1 * math.log(effect) + (k0 + k1) * math.log((base + n0) / (base * effect + n0))


def _rescaled(scale: float, values: list[float]) -> tuple[float, list[float]]:
    """Keep the numbers within what a float holds; `scale` is the logarithm that was taken out."""
    top = max(values)
    if top < 1e100:
        return scale, values
    return scale + math.log(top), [value / top for value in values]


def strongest_since(counts: Sequence[Count], *, tolerance: float) -> int:
    """The index from which on the counts speak most against the canary: where the harm seems to have begun."""
    best, best_at, total = 0.0, 0, 0.0
    for index in range(len(counts) - 1, -1, -1):
        n1, k1, n0, k0 = counts[index]
        if n1 and n0 and (k1 or k0):
            total += _rate_gain(n1, k1, n0, k0, tolerance, 2.0)
            if total > best:
                best, best_at = total, index
    return best_at


def without_worst(counts: Sequence[Count], *, tolerance: float) -> list[Count]:
    """Leave the one stretch out that speaks most against the canary: one cluster of failures must not decide."""
    gains = [_rate_gain(*count, tolerance, 3.0) if count[0] and count[2] else 0.0 for count in counts]
    worst = max(range(len(counts)), key=gains.__getitem__, default=-1)
    return [count for index, count in enumerate(counts) if index != worst]


def dispersion(trials_events: Sequence[tuple[int, int]], *, group: int = 5, believed: int = 10) -> float:
    """How much more events cluster than independent ones would, from one arm alone: variance over mean, at least 1.

    Compared within groups of neighbouring stretches, so that a rate that drifts slowly does not count as clustering.

    Args:
        trials_events: requests and events per stretch, oldest first.
        believed: for how many stretches a dispersion of 1 is believed before any was seen.
    """
    squares, degrees = float(believed), float(believed)
    for start in range(0, len(trials_events) - group + 1, group):
        part = trials_events[start : start + group]
        trials = sum(n for n, _ in part)
        events = sum(k for _, k in part)
        if events:
            squares += sum((k - n * events / trials) ** 2 / (n * events / trials) for n, k in part if n)
            degrees += sum(1 for n, _ in part if n) - 1
    return max(1.0, squares / degrees)


def outage_evidence(counts: Iterable[Count]) -> tuple[float, Count]:
    """Weigh whether half of the canary's answers fail, from the moment on at which that began to look likely.

    What is usual is 5 %, or twice what the live release fails at the same time: an outage of both blames nobody.
    Returns the evidence and the counts since that moment.
    """
    evidence, since = 0.0, (0, 0, 0, 0)
    recent_n0 = recent_k0 = 0.0
    for n1, k1, n0, k0 in counts:
        recent_n0, recent_k0 = recent_n0 * 0.7 + n0, recent_k0 * 0.7 + k0
        live = max(recent_k0 / recent_n0 if recent_n0 else 0.0, k0 / n0 if n0 else 0.0)
        usual = max(OUTAGE_RATIO_USUAL, 2 * live)
        gain = -1.0 * n1
        if usual < OUTAGE_RATIO:
            gain = k1 * math.log(OUTAGE_RATIO / usual) + (n1 - k1) * math.log((1 - OUTAGE_RATIO) / (1 - usual))
        evidence += gain
        since = (since[0] + n1, since[1] + k1, since[2] + n0, since[3] + k0)
        if evidence <= 0:
            evidence, since = 0.0, (0, 0, 0, 0)
    return evidence, since


def share_evidence(trials_events: Sequence[tuple[int, int]], *, limit: float, dispersion: float = 1.0) -> float:
    """Weigh whether the share of events exceeds `limit`, where there is nothing to compare with."""
    effects = [effect for effect in (1.5, 2.0, 3.0, 5.0, 10.0) if limit * effect < 1] or [0.5 / limit + 0.5]
    sums = [1.0 / len(effects)] * len(effects)
    rescale = 0.0
    for n, k in trials_events:
        sums = [
            value * math.exp(_share_gain(n, k, limit, min(0.99, limit * effect)) / dispersion)
            for value, effect in zip(sums, effects, strict=True)
        ]
        rescale, sums = _rescaled(rescale, sums)
    return rescale + math.log(max(sum(sums), 1e-300))


def _share_gain(n: int, k: int, limit: float, share: float) -> float:
    return k * math.log(share / limit) + (n - k) * math.log((1 - share) / (1 - limit))


@dataclass(frozen=True, slots=True)
class Block:
    """The difference of the arms' mean log latencies in one stretch, and what sampling alone makes of it (variance)."""

    difference: float
    variance: float


def level_evidence(blocks: Sequence[Block], *, tolerance: float) -> float:
    """Weigh whether the canary's mean log latency exceeds the live one's by more than `tolerance` (a logarithm).

    The noise between blocks that sampling does not explain is estimated from the blocks themselves.
    """
    if len(blocks) < LEVEL_BLOCKS_MIN:
        return 0.0
    noise = long_run_noise(blocks)
    total, score, information = 0.0, 0.0, 0.0
    for index in range(len(blocks) - 1, -1, -1):
        block = blocks[index]
        weight = 1.0 / (block.variance + noise)
        score += weight * (block.difference - tolerance)
        information += weight
        log_e = _normal_evidence(score, information) if len(blocks) - index >= LEVEL_BLOCKS_MIN else 0.0
        total += onset_weight(index) * math.exp(min(log_e, 600.0))
    return math.log(total + max(0.0, 1.0 - sum(onset_weight(index) for index in range(len(blocks)))))


def _normal_evidence(score: float, information: float) -> float:
    """A normal prior over positive effects against none, for a score with this information."""
    prior = LEVEL_EFFECT**2
    spread = 1.0 + prior * information
    z = score * LEVEL_EFFECT / math.sqrt(spread)
    return -0.5 * math.log(spread) + 0.5 * z * z + math.log(max(math.erfc(-z / math.sqrt(2)), 1e-300))


def level_difference(blocks: Sequence[Block]) -> tuple[float, float]:
    """The mean difference of log latencies over all blocks, and its standard error. At least one block."""
    noise = long_run_noise(blocks)
    weights = [1.0 / (block.variance + noise) for block in blocks]
    total = sum(weights)
    mean = sum(weight * block.difference for weight, block in zip(weights, blocks, strict=True)) / total
    return mean, math.sqrt(1.0 / total)


def long_run_noise(blocks: Sequence[Block]) -> float:
    """Estimate the variance between blocks beyond sampling, counted up for noise that lasts over several blocks.

    From differences of neighbours, the largest left out: a lasting shift, which is what we look for, is not noise.
    """
    believed = LEVEL_NOISE_BLOCKS * LEVEL_NOISE**2
    worst, size = 0.0, 1
    while len(blocks) // size >= (3 if size == 1 else 6):
        means = [_mean_block(blocks[start : start + size]) for start in range(0, len(blocks) - size + 1, size)]
        squares = sorted(
            (later.difference - earlier.difference) ** 2 / 2 - (later.variance + earlier.variance) / 2
            for earlier, later in itertools.pairwise(means)
        )[:-1]
        excess = size * sum(squares)
        worst = max(worst, (believed + max(0.0, excess)) / (LEVEL_NOISE_BLOCKS + len(squares)))
        size *= 2
    return worst or LEVEL_NOISE**2


def _mean_block(blocks: Sequence[Block]) -> Block:
    count = len(blocks)
    return Block(
        sum(block.difference for block in blocks) / count, sum(block.variance for block in blocks) / count / count
    )


@cache
def log_middles(bounds_s: tuple[float, ...]) -> tuple[float, ...]:
    """The logarithm of each bucket's middle (geometric); the outermost are taken as wide as their neighbours."""
    logs = [math.log(bound) for bound in bounds_s if 0 < bound < math.inf]
    if not logs:
        return (0.0,) * len(bounds_s)
    steps = [later - earlier for earlier, later in itertools.pairwise(logs)] or [math.log(2)]
    middles = [logs[0] - steps[0] / 2]
    middles += [(earlier + later) / 2 for earlier, later in itertools.pairwise(logs)]
    middles += [logs[-1] + steps[-1] / 2] * (len(bounds_s) - len(logs))
    return tuple(middles)


def bucket_width(bounds_s: tuple[float, ...]) -> float:
    """The mean width of the buckets, as a logarithm: what a histogram can't see below."""
    logs = [math.log(bound) for bound in bounds_s if 0 < bound < math.inf]
    return (logs[-1] - logs[0]) / (len(logs) - 1) if len(logs) > 1 else math.log(10)


def log_moments(buckets: Sequence[int], bounds_s: tuple[float, ...]) -> tuple[float, float]:
    """Mean and variance of the log latency, from bucket middles. At least one answer."""
    middles = log_middles(bounds_s)
    count = sum(buckets)
    mean = sum(number * middle for number, middle in zip(buckets, middles, strict=True)) / count
    square = sum(number * (middle - mean) ** 2 for number, middle in zip(buckets, middles, strict=True)) / count
    return mean, square


def resolved_tolerance(tolerance: float, *, variance: float, width: float) -> float:
    """Widen a tolerance (logarithm) where latencies lie closer together than the buckets are wide.

    Then a small shift can carry many answers over a bound at once and look like a whole bucket. The first harmonic of
    the rounding error says by how much a shift can be exaggerated.
    """
    spread = max(0.0, variance - width * width / 12)
    exaggeration = 1.0 + 2.0 * math.exp(-2.0 * math.pi**2 * spread / (width * width))
    return width if exaggeration > 2.0 else max(tolerance, min(width, tolerance * exaggeration))


def percentile_bound(buckets: Sequence[int], bounds_s: tuple[float, ...], *, share: float) -> float:
    """The bound below which at least this share of the answers lie: never lower than the true percentile."""
    needed = share * sum(buckets)
    seen = 0
    finite = [bound for bound in bounds_s if bound < math.inf]
    for number, bound in zip(buckets, bounds_s, strict=True):
        seen += number
        if seen >= needed:
            return min(bound, finite[-1] if finite else bound)
    return finite[-1] if finite else 0.0
