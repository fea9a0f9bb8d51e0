"""What a size costs: all that has a price, on all sites; what nobody can count is said, and no price is no cost."""

from typing import Any

import pytest

from domain.capacity import read_plan
from domain.cost import Cost, Costs, cost_of, write_costs
from domain.size import MIB, Size

SERVICE = {"resource": "requests:production:desk", "application": "desk", "environment": "production"}


def cost(size: Size, *, sites: int = 1, **settings: Any) -> Cost | None:
    return cost_of(read_plan(settings), application="desk", environment="production", size=size, sites=sites)


def test_without_a_price_there_is_no_cost():
    assert cost(Size(4, 512 * MIB, 1.0, 1)) is None
    of_others = [{"resources": "memory:test:*", "per_month": 5}, {"resources": "disk:*", "per_month": 5}]
    assert cost(Size(4, 512 * MIB, 1.0, 1), prices=of_others) is None
    assert write_costs(Costs(), language="en") is None


def test_limits_are_paid_for_on_every_instance_of_every_site():
    prices = [
        {"resources": "memory:production:*", "per_month": 4, "per": "1 GiB"},
        {"resources": "cpu:*", "per_month": 20},
    ]
    assert cost(Size(3, 512 * MIB, 0.5, 1), sites=2, prices=prices) == Cost(3 * 2 * (2 + 10))


def test_an_instance_costs_by_itself_or_by_the_requests_that_it_carries():
    assert cost(Size(3), sites=2, services=[{**SERVICE, "per_month": 12.5}]) == Cost(75)
    prices = [{"resources": "requests:*", "per_month": 0.5}]
    assert cost(Size(3), services=[{**SERVICE, "requests_per_s": 50}], prices=prices) == Cost(75)
    both = [{**SERVICE, "requests_per_s": 50, "per_month": 10}]
    assert cost(Size(3), services=both, prices=prices) == Cost(30)


def test_what_has_a_price_and_no_limit_is_said_to_be_uncounted():
    prices = [{"resources": "memory:*", "per_month": 4, "per": "1 GiB"}, {"resources": "cpu:*", "per_month": 20}]
    before, after = (cost(size, prices=prices) for size in (Size(2, None, 0.5), Size(4, 1024 * MIB, 0.5)))
    assert before == Cost(20, ("memory_bytes",)) and after == Cost(56)
    assert write_costs(Costs(before, after), language="en") == (
        "20.00, and memory, which has no limit",
        "56.00 (+36.00)",
    )


@pytest.mark.parametrize(("before", "after", "words"), [(80, 40, "40.00 (-40.00)"), (40, 40, "40.00")])
def test_the_change_stands_beside_what_comes(before: float, after: float, words: str):
    assert write_costs(Costs(Cost(before), Cost(after)), language="en") == (f"{before:.2f}", words)


def test_prices_of_another_name_count_by_the_service_that_names_them():
    services = [{"resource": "memory:shop:web", "application": "desk", "environment": "production"}]
    prices = [{"resources": "memory:shop:web", "per_month": 4, "per": "1 GiB"}]
    assert cost(Size(2, 1024 * MIB), services=services, prices=prices) == Cost(8)
