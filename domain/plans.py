"""What is known beforehand: campaigns, migrations, models and documents to come; and what they do to a forecast.

Called by the `capacity` flow and by `what if`. A plan is data: growth that changes from a date on, and amounts that
come or go at a date. It changes the forecast and each bootstrapped future alike, so that dates and bands agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase

import numpy as np

from domain.errors import ConfigError
from domain.forecast import Forecast
from domain.series import DAY_S, Array


@dataclass(frozen=True, slots=True)
class Planned:
    """One thing that will happen.

    Args:
        resources: a resource's key, `*` standing for anything: `disk:db1:*`.
        begin: the day from which it holds.
        load_factor: by what usage, or the growth of what piles up, is multiplied from then on: 1.3 for +30 % users.
        amount: what comes once on that day, in the resource's unit; below 0 for what is freed.
        reason: why, as a person would say it.
    """

    resources: str
    begin: date
    load_factor: float = 1.0
    amount: float = 0.0
    reason: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.load_factor) or not 0 <= self.load_factor <= 1000:
            raise ConfigError(f"'{self.reason}' multiplies load by {self.load_factor:g}. Give a factor from 0 to 1000.")
        if not math.isfinite(self.amount):
            raise ConfigError(f"'{self.reason}' adds {self.amount:g}. Give an amount in the resource's unit.")

    def concerns(self, key: str) -> bool:
        return fnmatchcase(key, self.resources)


def planned_for(key: str, planned: Sequence[Planned]) -> list[Planned]:
    """Choose what concerns a resource, by date."""
    return sorted((one for one in planned if one.concerns(key)), key=lambda one: one.begin)


def load_factors(planned: Sequence[Planned], *, start: np.datetime64, steps: int, step_s: int = DAY_S) -> Array:
    """The factor of each step from `start` on; factors that hold at once multiply; shape (steps,)."""
    factors = np.ones(steps)
    for one in planned:
        factors[_steps_until(one.begin, start=start, step_s=step_s) :] *= one.load_factor
    return factors


def amounts(planned: Sequence[Planned], *, start: np.datetime64, steps: int, step_s: int = DAY_S) -> Array:
    """What comes at each step from `start` on; what began before is in the measured past already; shape (steps,)."""
    found = np.zeros(steps)
    for one in planned:
        step = _steps_until(one.begin, start=start, step_s=step_s, floor=-1)
        if 0 <= step < steps:
            found[step] += one.amount
    return found


def _steps_until(begin: date, *, start: np.datetime64, step_s: int, floor: int = 0) -> int:
    seconds = int((np.datetime64(begin, "s") - start.astype("datetime64[s]")) / np.timedelta64(1, "s"))
    return max(-(-seconds // step_s), floor)


def with_plans(forecast: Forecast, planned: Sequence[Planned]) -> Forecast:
    """The forecast as it would be if these things happen; the same forecast where none concerns it.

    What comes and goes is multiplied; of what piles up, the growth is. Amounts lift or lower everything after them.
    """
    concerned = planned_for(forecast.series.name, planned)
    if not concerned:
        return forecast
    steps, step_s = len(forecast.mean), forecast.series.step_s
    factors = load_factors(concerned, start=forecast.start, steps=steps, step_s=step_s)
    lifted = amounts(concerned, start=forecast.start, steps=steps, step_s=step_s).cumsum()

    def change(row: Array) -> Array:
        if not forecast.piles_up:
            return np.maximum(row * factors + lifted, 0.0)
        last = forecast.history[-1]
        grown = np.diff(row, prepend=last) * factors
        return np.maximum(last + grown.cumsum() + lifted, 0.0)

    mean = change(forecast.mean)
    rows = {name: change(getattr(forecast, name)) for name in ("lo80", "hi80", "lo95", "hi95")}
    return replace(
        forecast,
        mean=mean,
        **{
            name: np.minimum(row, mean) if name.startswith("lo") else np.maximum(row, mean)
            for name, row in rows.items()
        },
    )


VALUE_BYTES = {"vector": 4.0, "halfvec": 2.0, "bit": 0.125}
VECTOR_HEADER_BYTES = 8
ROW_OVERHEAD_BYTES = 36
"""PostgreSQL's tuple header (23, aligned to 24), its item pointer (4), and a bigint key (8)."""
HNSW_LINK_BYTES = 6
PAGE_FILL = 0.9


@dataclass(frozen=True, slots=True)
class VectorStorage:
    """Vectors to come.

    Args:
        chunks_per_document: pieces that one document is cut into.
        text_bytes_per_chunk: of the words kept beside each vector.
        index: `hnsw`, `ivfflat` or empty.
        links: `m` of an HNSW index.
    """

    documents: int
    chunks_per_document: float
    dimensions: int
    value_type: str = "vector"
    text_bytes_per_chunk: float = 0.0
    index: str = "hnsw"
    links: int = 16

    def __post_init__(self) -> None:
        if self.value_type not in VALUE_BYTES:
            raise ConfigError(f"No vector type '{self.value_type}'. Use one of: {', '.join(VALUE_BYTES)}.")
        if self.index not in ("hnsw", "ivfflat", ""):
            raise ConfigError(f"No vector index '{self.index}'. Use hnsw, ivfflat or nothing.")
        if min(self.documents, self.chunks_per_document, self.dimensions) <= 0:
            raise ConfigError("Documents, chunks per document and dimensions must be above 0.")

    @property
    def rows(self) -> float:
        return self.documents * self.chunks_per_document

    @property
    def vector_bytes(self) -> float:
        """Of one vector, as pgvector stores it."""
        return self.dimensions * VALUE_BYTES[self.value_type] + VECTOR_HEADER_BYTES

    @property
    def table_bytes(self) -> float:
        row = self.vector_bytes + ROW_OVERHEAD_BYTES + self.text_bytes_per_chunk
        return self.rows * row / PAGE_FILL

    @property
    def index_bytes(self) -> float:
        """An index holds each vector again; HNSW also some 2.1 m links of each, an inverted file next to nothing."""
        if not self.index:
            return 0.0
        links = self.links * 2.1 * HNSW_LINK_BYTES if self.index == "hnsw" else 0.0
        return self.rows * (self.vector_bytes + links + ROW_OVERHEAD_BYTES) / PAGE_FILL

    @property
    def total_bytes(self) -> float:
        return self.table_bytes + self.index_bytes


@dataclass(frozen=True, slots=True)
class ModelOnGpu:
    """A model to serve.

    Args:
        memory_bytes: of one replica: weights, activations, cache.
        requests_per_s: what one replica answers at full load.
        requests_per_s_peak: what is asked at the worst.
        target_ratio: the share of full load at which a replica should work.
        gpu_memory_bytes: of one GPU.
    """

    name: str
    memory_bytes: float
    requests_per_s: float
    requests_per_s_peak: float
    gpu_memory_bytes: float
    target_ratio: float = 0.7
    replicas_min: int = 1

    def __post_init__(self) -> None:
        given = (self.memory_bytes, self.requests_per_s, self.gpu_memory_bytes, self.target_ratio)
        if min(given) <= 0 or self.requests_per_s_peak < 0 or self.target_ratio > 1:
            raise ConfigError(
                f"Model '{self.name}': memory, throughput and GPU memory must be above 0, the target a share up to 1."
            )

    @property
    def replicas(self) -> int:
        return max(self.replicas_min, math.ceil(self.requests_per_s_peak / (self.requests_per_s * self.target_ratio)))

    @property
    def gpus_per_replica(self) -> int:
        return math.ceil(self.memory_bytes / self.gpu_memory_bytes)

    @property
    def gpus(self) -> int:
        """GPUs for all replicas: small models share one, large ones take several."""
        if self.gpus_per_replica > 1:
            return self.replicas * self.gpus_per_replica
        return math.ceil(self.replicas / math.floor(self.gpu_memory_bytes / self.memory_bytes))

    @property
    def utilisation_ratio(self) -> float:
        """Of each replica's full load, at the worst."""
        return self.requests_per_s_peak / (self.replicas * self.requests_per_s)
