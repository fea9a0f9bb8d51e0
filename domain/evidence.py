"""Evidence that grows while traffic flows: how strongly counts and latencies speak against a release.

Used by `domain/judgement.py`. Each `*_evidence` is the logarithm of an e-process: where nothing is wrong, the chance
that it *ever* passes log(1/alpha) is at most alpha, so one may look after every second. Nothing here decides.

Source: Howard et al. 2021 (time-uniform confidence sequences); Ramdas et al. 2023 (mixtures of e-processes, unknown
onsets); Lai 1976 (mixtures over effects). docs/explanation/how-releases-are-judged.md says what was measured.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate, count, pairwise
from operator import mul

from domain.counts import Count, total

EFFECTS: Mapping[float, float] = {1.5: 0.25, 2.0: 0.3, 3.0: 0.2, 5.0: 0.12, 10.0: 0.08, 30.0: 0.05}
"""How many times the tolerated rate the bad rate may be, and how likely: the alternatives that are averaged over."""

OUTAGE_RATIO = 0.5
OUTAGE_RATIO_USUAL = 0.05
OUTAGE_THRESHOLD = math.log(1000)
OUTAGE_FAILURES_MIN = 5

SHARE_ONSET_EVERY = 5

CLUSTERING_GROUP = 5
CLUSTERING_BELIEVED = 6

SPLIT_WEIGHT = 1.0
"""How much a group of stretches must tell (variance of its score) before it is compared with its neighbour."""

DISPERSION_BORNE = 1.3
"""So much unevenness the margins of an e-process bear (measured: benchmarks/judge); only more than that counts."""

DISPERSION_GROUPS_MIN = 5
DISPERSION_BELIEVED = 6
"""For how many groups independence is believed before any was seen."""

LEVEL_BLOCKS_MIN = 4
LEVEL_EFFECTS: Mapping[float, float] = {0.05: 0.7, 0.3: 0.3}
"""How far beyond the tolerance a worse log latency may lie, and how likely: widths of the normal priors."""

LEVEL_GROUPS_MIN = 5
LEVEL_NOISE = 0.02
LEVEL_NOISE_BLOCKS = 4
"""What is believed of the noise between blocks (log latency) before any was seen, and for how many blocks it counts."""


@cache
def onset_weight(index: int) -> float:
    """Weight the belief that things got worse at block `index`; all of them together weigh 1.

    Most is on the beginning; the rest reaches as far as anybody watches, without a horizon to be known.
    """
    if index == 0:
        return 0.8
    level = ((index + 64) // 64).bit_length() - 1
    return 0.1 / 64 / 4**level


@lru_cache(maxsize=2048)
def _onset_log_weights(count: int) -> tuple[tuple[float, ...], float]:
    """The logarithms of the first weights, and of what is left for later onsets."""
    weights = [onset_weight(index) for index in range(count)]
    return tuple(map(math.log, weights)), _log(1.0 - sum(weights))


def rate_evidence(
    counts: Sequence[Count],
    *,
    tolerance: float,
    dispersion: float = 1.0,
    beliefs: Mapping[float, float] = EFFECTS,
    onset_every: int = 5,
) -> float:
    """Weigh whether the canary's rate of events exceeds `tolerance` times the live one's.

    Given how many events both had in a stretch, each is the canary's with a chance that depends on the *ratio* of the
    rates only: a rate that changes for both cancels.

    Args:
        counts: one per stretch of some seconds, oldest first.
        dispersion: how much more the events cluster than independent ones (variance over mean), at least 1.
        beliefs: how many times the tolerated rate a bad rate may be, each with its weight.
        onset_every: things may have got worse at every so many stretches.
    """
    groups = [total(counts[start : start + onset_every]) for start in range(0, len(counts), onset_every)]
    telling = [
        (index, k1, k1 + k0, tolerance * n1, n0)
        for index, (n1, k1, n0, k0) in enumerate(groups)
        if n1 and n0 and (k1 or k0)
    ]
    weights, unspent = _onset_log_weights(len(groups))
    scale = 1.0 / max(1.0, dispersion / DISPERSION_BORNE)
    logs = [unspent]
    for effect, weight in beliefs.items():
        gains = [0.0] * len(groups)
        of_event = math.log(effect)
        for index, k1, k, base, n0 in telling:
            gains[index] = scale * (k1 * of_event + k * math.log((base + n0) / (base * effect + n0)))
        logs.append(math.log(weight) + _any_onset(gains, weights))
    return _log_sum(logs)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -700.0


def _any_onset(gains: Sequence[float], weights: Sequence[float]) -> float:
    """The logarithm of the weighted mean, over all onsets, of the likelihood ratio from that onset on."""
    ahead = accumulate(reversed(gains))
    return _log_sum([weight + gain for weight, gain in zip(reversed(weights), ahead, strict=True)])


def _log_sum(logs: Sequence[float]) -> float:
    """The logarithm of the sum of the numbers whose logarithms these are."""
    top = max(logs, default=-math.inf)
    return top + math.log(sum([math.exp(value - top) for value in logs])) if top > -math.inf else top


def log_mean_of(logs: Sequence[float], *, weights: Sequence[float]) -> float:
    """The logarithm of the weighted mean of the numbers whose logarithms these are: one evidence from several."""
    return _log_sum([value + math.log(weight) for value, weight in zip(logs, weights, strict=True)])


def _rate_gain(n1: int, k1: int, n0: int, k0: int, tolerance: float, effect: float) -> float:
    """The log likelihood ratio of one stretch: rate ratio `tolerance * effect` against `tolerance`, given k0 + k1."""
    base = tolerance * n1
    return k1 * math.log(effect) + (k0 + k1) * math.log((base + n0) / (base * effect + n0))


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
    worst, worst_gain = 0, -math.inf
    for index, (n1, k1, n0, k0) in enumerate(counts):
        gain = _rate_gain(n1, k1, n0, k0, tolerance, 3.0) if k1 and n0 else 0.0
        if gain > worst_gain:
            worst, worst_gain = index, gain
    return [*counts[:worst], *counts[worst + 1 :]]


def split_dispersion(counts: Sequence[Count]) -> float:
    """How much more unevenly events fall to the two arms than independent ones would: variance ratio, at least 1.

    Clusters of events and rates that wander in one arm raise it; what happens to both arms at once does not. From
    differences of neighbouring groups, at several lengths, the largest left out: a lasting change, which is what we
    look for, is not unevenness.
    """
    n1, k1, n0, k0 = total(counts)
    rate_ratio = (k1 + 0.5) * max(n0, 1) / ((k0 + 0.5) * max(n1, 1))
    groups: list[tuple[float, float]] = []
    score = weight = 0.0
    for n1, k1, n0, k0 in counts:
        if n1 and n0:
            share = rate_ratio * n1 / (rate_ratio * n1 + n0)
            score += k1 - share * (k1 + k0)
            weight += share * (1 - share) * (k1 + k0)
            if weight >= SPLIT_WEIGHT:
                groups.append((score, weight))
                score = weight = 0.0
    return _dispersion_of(groups)


def clustering(trials_events: Sequence[tuple[int, int]]) -> float:
    """How many events of one arm come at once, where independent ones would come alone: variance over mean, at least 1.

    Compared within groups of neighbouring stretches, so that a rate that drifts slowly does not count as clustering.

    Args:
        trials_events: requests and events per stretch, oldest first; each with at least one request.
    """
    squares = degrees = float(CLUSTERING_BELIEVED)
    for start in range(0, len(trials_events), CLUSTERING_GROUP):
        group = trials_events[start : start + CLUSTERING_GROUP]
        trials = events = 0
        for n, k in group:
            trials += n
            events += k
        if events:
            share = events / trials
            squares += sum([(k - n * share) ** 2 / (n * share) for n, k in group])
            degrees += len(group) - 1
    return max(1.0, squares / degrees)


def _dispersion_of(groups: Sequence[tuple[float, float]]) -> float:
    """The variance of scores in units of what independence gives, at the group length where it is largest."""
    worst = 1.0
    while len(groups) > DISPERSION_GROUPS_MIN:
        squares = sorted(
            (score / weight - next_score / next_weight) ** 2 / (1 / weight + 1 / next_weight)
            for (score, weight), (next_score, next_weight) in pairwise(groups)
        )[:-1]
        worst = max(worst, (DISPERSION_BELIEVED + sum(squares)) / (DISPERSION_BELIEVED + len(squares)))
        groups = [
            (score + next_score, weight + next_weight)
            for (score, weight), (next_score, next_weight) in zip(groups[::2], groups[1::2], strict=False)
        ]
    return worst


def outage_evidence(counts: Iterable[Count]) -> tuple[float, list[Count]]:
    """Weigh whether half of the canary's answers fail, from the moment on at which that began to look likely.

    What is usual is 5 %, or twice what the live release fails at the same time: an outage of both blames nobody.
    Returns the evidence and the stretches since that moment.
    """
    evidence = 0.0
    since: list[Count] = []
    recent_n0 = recent_k0 = 0.0
    for n1, k1, n0, k0 in counts:
        recent_n0, recent_k0 = recent_n0 * 0.7 + n0, recent_k0 * 0.7 + k0
        if not k1 and not since:
            continue
        live = max(recent_k0 / recent_n0 if recent_n0 else 0.0, k0 / n0 if n0 else 0.0)
        evidence += outage_gain(n1, k1, usual=max(OUTAGE_RATIO_USUAL, 2 * live))
        since.append((n1, k1, n0, k0))
        if evidence <= 0:
            evidence, since = 0.0, []
    return evidence, since


def outage_gain(n: int, k: int, *, usual: float) -> float:
    """The log likelihood ratio of k failures of n: half of them fail, against the usual share."""
    if usual >= OUTAGE_RATIO:
        return -float(n)
    return k * math.log(OUTAGE_RATIO / usual) + (n - k) * math.log((1 - OUTAGE_RATIO) / (1 - usual))


def share_evidence(trials_events: Sequence[tuple[int, int]], *, limit: float, dispersion: float = 1.0) -> float:
    """Weigh whether the share of events exceeds `limit`, where there is nothing to compare with."""
    weights, unspent = _onset_log_weights(-(-len(trials_events) // SHARE_ONSET_EVERY))
    logs = [unspent]
    for effect, weight in EFFECTS.items():
        share = 1 - (1 - limit) / effect if limit * effect >= 1 else limit * effect
        gains = [0.0] * len(weights)
        for index, (n, k) in enumerate(trials_events):
            gains[index // SHARE_ONSET_EVERY] += _share_gain(n, k, limit, share) / dispersion
        logs.append(math.log(weight) + _any_onset(gains, weights))
    return _log_sum(logs)


def _share_gain(n: int, k: int, limit: float, share: float) -> float:
    return k * math.log(share / limit) + (n - k) * math.log((1 - share) / (1 - limit))


@dataclass(frozen=True, slots=True)
class Block:
    """The difference of the arms' mean log latencies in one stretch, and what sampling alone makes of it (variance)."""

    difference: float
    variance: float


def level_evidence(blocks: Sequence[Block], *, tolerance: float, noise: float) -> float:
    """Weigh whether the canary's mean log latency exceeds the live one's by more than `tolerance` (a logarithm).

    Args:
        noise: variance between blocks beyond sampling, from `long_run_noise`.
    """
    if len(blocks) < LEVEL_BLOCKS_MIN:
        return 0.0
    weights, _ = _onset_log_weights(len(blocks))
    score, information = 0.0, 0.0
    logs: list[float] = [_log(1.0 - sum(map(onset_weight, range(len(blocks) - LEVEL_BLOCKS_MIN + 1))))]
    for left, block, weight in zip(count(1), reversed(blocks), reversed(weights), strict=False):
        certainty = 1.0 / (block.variance + noise)
        score += certainty * (block.difference - tolerance)
        information += certainty
        if left >= LEVEL_BLOCKS_MIN:
            logs.append(weight + _normal_evidence(score, information))
    return _log_sum(logs)


def _normal_evidence(score: float, information: float) -> float:
    """Positive effects against none, for a score with this information: the mean over priors of several widths."""
    logs: list[float] = []
    for effect, belief in LEVEL_EFFECTS.items():
        spread = 1.0 + effect * effect * information
        z = score * effect / math.sqrt(spread)
        tail = math.log(max(math.erfc(-z / math.sqrt(2)), 1e-300))
        logs.append(math.log(belief) - 0.5 * math.log(spread) + 0.5 * z * z + tail)
    return _log_sum(logs)


def level_difference(blocks: Sequence[Block], *, noise: float) -> tuple[float, float]:
    """The mean difference of log latencies over all blocks, and its standard error. At least one block."""
    weights = [1.0 / (block.variance + noise) for block in blocks]
    mean = sum(weight * block.difference for weight, block in zip(weights, blocks, strict=True)) / sum(weights)
    return mean, math.sqrt(1.0 / sum(weights))


def long_run_noise(blocks: Sequence[Block]) -> float:
    """Estimate the variance between blocks beyond sampling, counted up for noise that lasts over several blocks.

    From means over longer and longer groups, around the best single step: a lasting shift, which is what we look for,
    is not noise.
    """
    believed = LEVEL_NOISE_BLOCKS * LEVEL_NOISE**2
    worst, size = 0.0, 1
    means = [block.difference for block in blocks]
    sampling = sum([block.variance for block in blocks]) / max(1, len(blocks))
    while len(means) >= LEVEL_GROUPS_MIN:
        degrees = len(means) - 3
        # chance alone makes the largest of several estimates too large: one standard error less
        chance = sampling * (degrees + math.sqrt(2 * degrees))
        excess = max(0.0, size * _spread_around_step(means) - chance)
        worst = max(worst, (believed + excess) / (LEVEL_NOISE_BLOCKS + degrees))
        means = [(earlier + later) / 2 for earlier, later in zip(means[::2], means[1::2], strict=False)]
        size *= 2
    return worst or LEVEL_NOISE**2


def _spread_around_step(values: Sequence[float]) -> float:
    """The sum of squares around the two means of the best single step."""
    total_value = sum(values)
    ahead, best = 0.0, total_value**2 / len(values)
    for index, value in enumerate(values[:-1], start=1):
        ahead += value
        best = max(best, ahead**2 / index + (total_value - ahead) ** 2 / (len(values) - index))
    return sum([value * value for value in values]) - best


@cache
def log_middles(bounds_s: tuple[float, ...]) -> tuple[float, ...]:
    """The logarithm of each bucket's middle (geometric); the outermost are taken as wide as their neighbours."""
    logs = [math.log(bound) for bound in bounds_s if 0 < bound < math.inf]
    if not logs:
        return (0.0,) * len(bounds_s)
    steps = [later - earlier for earlier, later in pairwise(logs)] or [math.log(2)]
    middles = [logs[0] - steps[0] / 2]
    middles += [(earlier + later) / 2 for earlier, later in pairwise(logs)]
    middles += [logs[-1] + steps[-1] / 2] * (len(bounds_s) - len(logs))
    return tuple(middles)


@cache
def bucket_width(bounds_s: tuple[float, ...]) -> float:
    """The mean width of the buckets, as a logarithm: what a histogram can't see below."""
    logs = [math.log(bound) for bound in bounds_s if 0 < bound < math.inf]
    return (logs[-1] - logs[0]) / (len(logs) - 1) if len(logs) > 1 else math.log(10)


def log_mean(buckets: Sequence[int], bounds_s: tuple[float, ...]) -> float:
    """The mean log latency, from bucket middles. At least one answer."""
    return sum(map(mul, buckets, log_middles(bounds_s))) / sum(buckets)


def log_moments(buckets: Sequence[int], bounds_s: tuple[float, ...]) -> tuple[float, float]:
    """Mean and variance of the log latency, from bucket middles. At least one answer."""
    middles = log_middles(bounds_s)
    mean = log_mean(buckets, bounds_s)
    square = sum(number * (middle - mean) ** 2 for number, middle in zip(buckets, middles, strict=True)) / sum(buckets)
    return mean, square


def resolved_tolerance(tolerance: float, *, variance: float, width: float) -> float:
    """Widen a tolerance (logarithm) where latencies lie closer together than the buckets are wide.

    Then a small shift can carry many answers over a bound at once and look like a whole bucket. The first harmonic of
    the rounding error says by how much a shift can be exaggerated.
    """
    spread = max(0.0, variance - width * width / 12)
    exaggeration = 1.0 + 2.0 * math.exp(-2.0 * math.pi**2 * spread / (width * width))
    return width if exaggeration > 2.0 else max(tolerance, min(width, tolerance * exaggeration))


def percentile_s(buckets: Sequence[int], bounds_s: tuple[float, ...], *, share: float) -> float:
    """The latency that this share of the answers do not exceed, placed within its bucket by log proportion."""
    needed = share * sum(buckets)
    seen = 0
    for number, middle in zip(buckets, log_middles(bounds_s), strict=True):
        if number and seen + number >= needed:
            return math.exp(middle + ((needed - seen) / number - 0.5) * bucket_width(bounds_s))
        seen += number
    return 0.0
