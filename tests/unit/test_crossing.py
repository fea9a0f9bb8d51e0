"""Crossings: a date where one can honestly be had, else a probability."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.crossing import Crossing, chance_of, find_crossing, scores_above
from domain.forecast import Forecast, forecast_all
from domain.series import Kind, Series

FIRST = np.datetime64("2026-03-02T00:00:00", "s")
DAY = np.timedelta64(86400, "s")
TODAY = FIRST.astype("datetime64[D]")


def forecast(values: np.ndarray, kind: Kind = Kind.GROWTH, step_s: int = 86400, horizon: int = 90) -> Forecast:
    """Forecast a series that ends one step ago."""
    times = FIRST + np.timedelta64(step_s, "s") * np.arange(-len(values), 0)
    answer = forecast_all([Series("x", times, values, "bytes", kind, step_s)], first=FIRST, horizon=horizon)[0]
    assert isinstance(answer, Forecast)
    return answer


def growth(seed: int = 1) -> np.ndarray:
    """A store that grows by ten a day, unevenly."""
    return 10_000 + np.random.default_rng(seed).gamma(2, 5, 365).cumsum()


def days_until(when: np.datetime64 | None) -> float:
    """Days from the start."""
    assert when is not None
    return float((when - TODAY) / np.timedelta64(1, "D"))


def test_a_growing_store_gets_a_date_between_its_bounds() -> None:
    values = growth()
    crossing = find_crossing(forecast(values), limit=float(values[-1]) + 600)
    assert 40 < days_until(crossing.median) < 75
    assert days_until(crossing.lo95) <= days_until(crossing.lo80) <= days_until(crossing.median)
    assert days_until(crossing.median) <= days_until(crossing.hi80)
    assert crossing.probability > 0.9 and crossing.remark.key == "forecast.crosses"
    assert crossing.remark.text("en") and crossing.remark.text("zh")


def test_a_limit_far_beyond_the_growth_has_no_date() -> None:
    values = growth()
    crossing = find_crossing(forecast(values), limit=float(values[-1]) * 3)
    assert crossing.median is None and crossing.probability < 0.1
    assert crossing.remark.key == "forecast.stays_below"


def test_a_store_that_stands_still_never_fills() -> None:
    crossing = find_crossing(forecast(np.full(200, 50.0)), limit=60)
    assert crossing.median is None and crossing.probability < 0.1


def test_a_limit_below_the_usage_is_exceeded_today() -> None:
    crossing = find_crossing(forecast(growth()), limit=5000)
    assert crossing.probability == 1 and crossing.median == TODAY
    assert crossing.remark.key == "forecast.exceeded"


@pytest.mark.parametrize("limit", [0.0, -5.0, float("nan"), float("inf")])
def test_a_limit_that_cannot_be_gives_no_date(limit: float) -> None:
    crossing = find_crossing(forecast(growth()), limit=limit)
    assert crossing.median is None and crossing.remark.key == "forecast.limit_unusable"


def test_a_limit_in_another_unit_is_doubted() -> None:
    crossing = find_crossing(forecast(growth()), limit=1e15)
    assert crossing.median is None and crossing.remark.key == "forecast.limit_far"


def test_load_that_comes_and_goes_gets_a_probability_and_no_date() -> None:
    t = np.arange(672)
    load = 50 + 30 * np.sin(2 * np.pi * t / 24) + np.random.default_rng(1).normal(0, 2, 672)
    answer = forecast(load, Kind.USAGE, 3600, 168)
    near, far = find_crossing(answer, limit=81), find_crossing(answer, limit=150)
    assert near.median is None and far.median is None
    assert near.probability > 0.2 and far.probability < 0.05
    assert near.remark.key == "forecast.may_exceed"


def test_a_gated_outage_does_not_move_the_date_much() -> None:
    values = growth()
    cut = values.copy()
    cut[-2:] = 0
    limit = float(values[-1]) + 600
    clean, gated = find_crossing(forecast(values), limit=limit), find_crossing(forecast(cut), limit=limit)
    assert abs(days_until(clean.median) - days_until(gated.median)) < 10


def test_the_same_input_gives_the_same_date() -> None:
    assert find_crossing(forecast(growth()), limit=15_000) == find_crossing(forecast(growth()), limit=15_000)


def test_an_hourly_store_is_judged_by_its_days() -> None:
    values = 1000 + np.random.default_rng(2).gamma(2, 0.25, 1344).cumsum()
    crossing = find_crossing(forecast(values, Kind.GROWTH, 3600, 336), limit=float(values[-1]) + 12 * 40)
    assert 25 < days_until(crossing.median) < 50


@settings(max_examples=30, deadline=None)
@given(first=st.floats(1.001, 1.5), second=st.floats(1.001, 1.5), seed=st.integers(0, 50))
def test_a_higher_limit_is_never_reached_earlier_or_more_likely(first: float, second: float, seed: int) -> None:
    answer = forecast(growth(seed))
    now = float(answer.history[-1])
    low, high = (find_crossing(answer, limit=now * factor) for factor in sorted((first, second)))
    assert low.probability >= high.probability - 1e-9
    if high.median is not None:
        assert low.median is not None and low.median <= high.median


@settings(max_examples=30, deadline=None)
@given(limit=st.floats(1, 200), seed=st.integers(0, 20))
def test_the_chance_of_exceeding_is_a_probability_that_falls_with_the_limit(limit: float, seed: int) -> None:
    load = 50 + np.random.default_rng(seed).normal(0, 10, 200)
    answer = forecast(np.abs(load), Kind.USAGE)
    here, above = ([chance_of(one) for one in scores_above(answer, value)] for value in (limit, limit * 1.1))
    assert all(0 <= higher <= lower + 1e-9 <= 1 + 2e-9 for lower, higher in zip(here, above, strict=True))


def test_a_crossing_is_a_fact_that_cannot_be_changed() -> None:
    crossing = find_crossing(forecast(growth()), limit=15_000)
    assert isinstance(crossing, Crossing)
    with pytest.raises(dataclasses.FrozenInstanceError):
        crossing.probability = 0.0  # type: ignore[misc]
