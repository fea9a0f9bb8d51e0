"""Limits as data: how much there is, where that is known from, and how soon somebody has to act.

Read by sources together with usage, or set by a team; judged by the `capacity` flow. What has no limit says so.
"""

import math
from dataclasses import dataclass

from domain.errors import ConfigError
from domain.series import Remark
from domain.usage import Resource

THRESHOLD_RATIO = 0.8
LEAD_DAYS = 14


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of a resource there is.

    Args:
        value: in the resource's unit.
        source: where it was read, or who set it, as a person would look it up.
        threshold_ratio: the share of it that matters; above it there is no room for a bad day.
        lead_days: how long it takes to get more.
    """

    resource: Resource
    value: float
    source: str
    threshold_ratio: float = THRESHOLD_RATIO
    lead_days: float = LEAD_DAYS

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) or self.value <= 0:
            raise ConfigError(
                f"The limit of {self.resource.key} is {self.value:g} {self.resource.unit} ({self.source}). "
                "It must be a number above 0; take the limit away where there is none."
            )
        if not 0 < self.threshold_ratio <= 1:
            raise ConfigError(
                f"The threshold of {self.resource.key} is {self.threshold_ratio:g}. Give a share above 0, at most 1."
            )
        if not 0 <= self.lead_days <= 365:
            raise ConfigError(f"The lead time of {self.resource.key} is {self.lead_days:g} days. Give 0 to 365.")

    @property
    def threshold(self) -> float:
        """The value that matters, in the resource's unit."""
        return self.value * self.threshold_ratio


def choose_limit(resource: Resource, *, found: Limit | None, given: Limit | None) -> Limit | Remark:
    """Choose what counts: what a team set before what a source found; neither is a remark, never a guess."""
    return given or found or Remark("usage.no_limit", {"resource": resource.key})


def doubt_limit(limit: Limit, *, used: float) -> Remark | None:
    """Tell a limit that usage has passed already: a full resource, or a limit in another unit."""
    if used <= limit.value:
        return None
    values = {"resource": limit.resource.key, "used": used, "limit": limit.value, "unit": limit.resource.unit}
    return Remark("usage.above_limit", values | {"source": limit.source})
