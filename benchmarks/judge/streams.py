"""Streams of traffic to judge the judge on: 15 minutes of two arms, made from a seed, so that they can be made again.

Arrivals are Poisson with a daily swing and an AR(1) factor that both arms share. Latencies come from a family's
distribution, moved by an AR(1) noise of each arm's own and by a cold start of the canary. Errors come at a base rate
times a slow AR(1) factor that both share and a quick gamma factor of each arm's own, so that they cluster. What a
balancer would have counted per second is drawn directly: requests, failures, and a histogram of 24 buckets.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from domain.traffic import Window

Floats = NDArray[np.float64]

WATCH_S = 900
BOUNDS_S = (*(float(f"{value:.4g}") for value in np.geomspace(0.001, 10.0, 24)), math.inf)

GRID = np.linspace(math.log(1e-5), math.log(1e3), 4001)
"""Logarithms of seconds at which each family's distribution is tabulated."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a stream is made of.

    Attributes:
        rate: requests a second of the live release; the canary gets `canary_share` of that.
        family: of the latencies: `lognormal`, `pareto`, `gamma`, `weibull`, `mixed`, `narrow`.
        error_ratio: base share of failures.
        noise_sd: of the log latency, each arm's own, with `noise_memory` from second to second.
        offset_sd: by how much instances differ for good (log latency).
        storms: how many times a watch something that both need hiccups, and clients retry.
        clusters: mean size of a cluster of failures; 1 means independent ones.
        wander_sd: by how much an arm's error ratio drifts for itself (logarithm), besides what both share.
        badness: of the canary: `none`, `latency`, `tail`, `errors`, `outage`; `size` says how much of it.
        onset_s: when that begins.
    """

    rate: float = 100.0
    canary_share: float = 1.0
    family: str = "lognormal"
    error_ratio: float = 0.01
    noise_sd: float = 0.01
    noise_memory: float = 0.9
    offset_sd: float = 0.0
    storms: int = 0
    clusters: float = 1.0
    wander_sd: float = 0.05
    badness: str = "none"
    size: float = 1.0
    onset_s: float = 0.0
    length_s: int = WATCH_S


@dataclass(frozen=True, slots=True)
class Stream:
    """Both arms' windows of one second each, oldest first."""

    canary: tuple[Window, ...]
    live: tuple[Window, ...]


@cache
def distribution(family: str) -> Floats:
    """A family's cumulative distribution on `GRID`."""
    x = np.exp(GRID)
    lognormal = _normal(np.log(x / 0.1) / 0.6)
    if family == "lognormal":
        return lognormal
    if family == "pareto":  # the slowest 5 % have a heavy tail
        tail = np.where(x > 0.25, 1 - (np.maximum(x, 0.25) / 0.25) ** -1.8, 0.0)
        return 0.95 * lognormal + 0.05 * tail
    if family == "gamma":  # shape 2, scale 50 ms
        return 1 - np.exp(-x / 0.05) * (1 + x / 0.05)
    if family == "weibull":  # shape 0.8: more very quick and very slow answers
        return 1 - np.exp(-((x / 0.06) ** 0.8))
    if family == "mixed":  # a cache answers 60 %, a database the rest
        return 0.6 * _normal(np.log(x / 0.008) / 0.35) + 0.4 * _normal(np.log(x / 0.12) / 0.5)
    if family == "narrow":  # closer together than the buckets are wide
        return _normal(np.log(x / 0.095) / 0.05)
    raise ValueError(f"no family named {family!r}")


def _normal(z: Floats) -> Floats:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])


def make_stream(scene: Scene, *, seed: int) -> Stream:
    """Draw one stream; the same scene and seed give the same stream."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(scene.length_s)
    swing = 1 + 0.3 * np.sin(2 * np.pi * (seconds / 3600 + rng.random()))
    shared = swing * np.exp(_ar1(rng, scene.length_s, sd=0.15, memory=0.98))
    storm = _storms(rng, scene)
    errors = np.exp(_ar1(rng, scene.length_s, sd=0.3, memory=0.99))
    arms: list[tuple[Window, ...]] = []
    for is_canary in (True, False):
        rate = scene.rate * (scene.canary_share if is_canary else 1.0) * shared * (1 + 2 * storm)
        bad = is_canary & (seconds >= scene.onset_s)
        histogram = rng.poisson(rate[:, None] * _bucket_shares(rng, scene, bad=bad, is_canary=is_canary))
        failures = _failures(rng, scene, histogram.sum(axis=1), errors=errors, storm=storm, bad=bad)
        arms.append(_windows(histogram, failures))
    return Stream(*arms)


def _ar1(rng: np.random.Generator, length: int, *, sd: float, memory: float) -> Floats:
    steps = rng.normal(0.0, sd * math.sqrt(1 - memory**2), length)
    values = np.empty(length)
    value = rng.normal(0.0, sd)
    for index in range(length):
        value = memory * value + steps[index]
        values[index] = value
    return values


def _storms(rng: np.random.Generator, scene: Scene) -> Floats:
    """How hard something that both arms need hiccups, 0..1, per second."""
    storm = np.zeros(scene.length_s)
    for begin in rng.integers(0, scene.length_s, scene.storms):
        storm[begin : begin + rng.integers(3, 12)] = rng.uniform(0.2, 0.7)
    return storm


def _bucket_shares(rng: np.random.Generator, scene: Scene, *, bad: NDArray[np.bool_], is_canary: bool) -> Floats:
    """Each second's share of answers per bucket."""
    length = scene.length_s
    shift = _ar1(rng, length, sd=scene.noise_sd, memory=scene.noise_memory) + rng.normal(0.0, scene.offset_sd or 1e-12)
    if is_canary:
        shift = shift + math.log(1.5) * np.exp(-np.arange(length) / 20)
    if scene.badness == "latency":
        shift = shift + math.log(scene.size) * bad
    shares = _shares_at(scene.family, shift)
    if scene.badness == "tail":
        slow = _shares_at(scene.family, shift + math.log(4.0))
        shares = shares + (scene.size * bad)[:, None] * (slow - shares)
    return shares


def _shares_at(family: str, shift: Floats) -> Floats:
    """The shares of the buckets where all log latencies are moved by `shift`, one row per second."""
    edges = np.log(np.array(BOUNDS_S[:-1]))
    below = np.interp(edges[None, :] - shift[:, None], GRID, distribution(family))
    edged = np.concatenate([np.zeros((len(shift), 1)), below, np.ones((len(shift), 1))], axis=1)
    return np.maximum(0.0, np.diff(edged, axis=1))


def _failures(
    rng: np.random.Generator,
    scene: Scene,
    requests: NDArray[np.int64],
    *,
    errors: Floats,
    storm: Floats,
    bad: NDArray[np.bool_],
) -> NDArray[np.int64]:
    wander = np.exp(_ar1(rng, scene.length_s, sd=scene.wander_sd, memory=0.99))
    quick = rng.gamma(4.0, 0.25, scene.length_s)
    share = scene.error_ratio * errors * wander * quick
    if scene.badness == "errors":
        share = np.where(bad, share * scene.size, share)
    share = np.minimum(1.0, share + storm)
    if scene.badness == "outage":
        share = np.where(bad, scene.size, share)
    if scene.clusters <= 1:
        return rng.binomial(requests, share)
    clusters = rng.poisson(requests * share / scene.clusters)
    sizes = np.array([rng.geometric(1 / scene.clusters, number).sum() for number in clusters], dtype=np.int64)
    return np.minimum(requests, sizes)


def _windows(histogram: NDArray[np.int64], failures: NDArray[np.int64]) -> tuple[Window, ...]:
    return tuple(
        Window(float(second), float(second + 1), sum(row), failed, BOUNDS_S, tuple(row))
        for second, (row, failed) in enumerate(zip(histogram.tolist(), failures.tolist(), strict=True))
    )


def with_badness(scene: Scene, badness: str, size: float, *, onset_s: float = 0.0) -> Scene:
    """The same scene with a bad canary."""
    return replace(scene, badness=badness, size=size, onset_s=onset_s)
