"""What a size costs in a month by the prices of `capacity.yaml`, for whoever approves a change of it.

Called by `tasks/scaling.py` for what the form of `scale` shows. Without a price there is no cost, never a guess.
"""

from dataclasses import dataclass

from domain.capacity import CapacityPlan, ServiceRule
from domain.catalogue import Language, say
from domain.size import Size
from domain.usage import Metric, Resource

_PARTS = ((Metric.MEMORY, "memory_bytes"), (Metric.CPU, "cpu_share"))


@dataclass(frozen=True, slots=True)
class Cost:
    """A month of a size; `without` names the parts that have a price and no limit, which nobody can count."""

    per_month: float
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Costs:
    """Before and after a change, where prices are set; or why they can't be told."""

    before: Cost | None = None
    after: Cost | None = None
    problem: str = ""


def cost_of(plan: CapacityPlan, *, application: str, environment: str, size: Size, sites: int) -> Cost | None:
    """Add up what has a price, over all instances on all sites; None where nothing of it has one.

    Args:
        size: with what `slipway.toml` says put in.
    """
    rules = [one for one in plan.services if (one.application, one.environment) == (application, environment)]
    each = [price for one in rules if (price := price_of_instance(plan, one)) is not None]
    without: list[str] = []
    for metric, name in _PARTS:
        keys = [one.resource for one in rules if one.resource.startswith(f"{metric}:")]
        resource = Resource.parse(keys[0]) if keys else Resource(metric, environment, application)
        if (price := plan.price_of(resource)) is None:
            continue
        if (limit := getattr(size, name)) is None:
            without.append(name)
        else:
            each.append(limit * price)
    if not each and not without:
        return None
    return Cost(round(sum(each) * (size.instances or 0) * sites, 2), tuple(without))


def price_of_instance(plan: CapacityPlan, rule: ServiceRule) -> float | None:
    """What one instance costs by itself, or by the requests that it carries."""
    if rule.per_month is not None:
        return rule.per_month
    if not rule.resource.startswith(f"{Metric.REQUESTS}:") or rule.requests_per_s is None:
        return None
    price = plan.price_of(Resource.parse(rule.resource))
    return None if price is None else price * rule.requests_per_s


def write_costs(costs: Costs, *, language: Language) -> tuple[str, str] | None:
    """Write both as two cells; None where no price applies."""
    if costs.problem:
        return "–", say("scale.cost_unknown", language=language, problem=costs.problem)
    if costs.before is None and costs.after is None:
        return None
    before, after = (_write(one, language) for one in (costs.before, costs.after))
    if costs.before and costs.after and (change := costs.after.per_month - costs.before.per_month):
        after += f" ({change:+,.2f})"
    return before, after


def _write(cost: Cost | None, language: Language) -> str:
    if cost is None:
        return "–"
    words = [f"{cost.per_month:,.2f}"]
    words += [say(f"scale.cost_without_{name}", language=language) for name in cost.without]
    return ", ".join(words)
