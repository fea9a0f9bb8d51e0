"""A measured series and what is remarked about it: what forecasting takes in.

Collecting fills it from PostgreSQL; `domain.sampling` puts it on a regular grid; `domain.forecast` continues it.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.amounts import write_value
from domain.catalogue import Language, say

Array = NDArray[np.float64]
Times = NDArray[np.datetime64]

HOUR_S = 3600
DAY_S = 86400


class Kind(StrEnum):
    """How a resource moves; decides what a sudden fall means and whether a date can be had."""

    GROWTH = "growth"
    """Piles up: disks, tables, buckets. A clean-up may lower it."""
    USAGE = "usage"
    """Comes and goes with the load: CPU, memory, connections, requests."""
    COUNTER = "counter"
    """Only rises at its source and starts again from nought with the process: a fall is a reset, not a clean-up."""


_AMOUNTS = frozenset({"amount", "frees", "largest", "limit", "mae", "size", "used", "value", "wanted"})


def _write(name: str, value: float, unit: str) -> str:
    written = write_value(value, unit)
    return f"+{written}" if name == "amount" and value > 0 else written


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to tell about a series: a key of the catalogue and its values."""

    key: str
    values: dict[str, Any] = field(default_factory=dict[str, Any])

    def text(self, language: Language = "en") -> str:
        """Say it in words; amounts with the unit that stands among the values."""
        unit = str(self.values.get("unit", ""))
        told = {
            name: _write(name, value, unit) if name in _AMOUNTS and isinstance(value, int | float) else value
            for name, value in self.values.items()
        }
        return say(self.key, language=language, **told)


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one resource, as they were stored.

    Args:
        name: unique among what is forecast together.
        times: UTC, any order and any spacing; shape t.
        values: shape t; NaN is a gap.
        unit: of the values: "bytes", "percent", "ratio", "requests/s", …
        step_s: the grid to forecast on: 3600 for days to weeks ahead, 86400 for weeks to a quarter.
    """

    name: str
    times: Times
    values: Array
    unit: str
    kind: Kind
    step_s: int = DAY_S


def day_of(moment: np.datetime64) -> str:
    """Write a moment's day as people do in reports."""
    return str(moment.astype("datetime64[D]"))
