"""What is known beforehand moves forecasts and dates by what it is."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.crossing import Crossing, find_crossing
from domain.errors import ConfigError
from domain.forecast import Forecast, forecast_all
from domain.plans import ModelOnGpu, Planned, VectorStorage, with_plans
from domain.series import Kind, Series

FIRST = np.datetime64("2026-03-02T00:00:00", "s")
START = date(2026, 3, 2)
DAY = np.timedelta64(86400, "s")


def forecast(kind: Kind = Kind.GROWTH) -> Forecast:
    """A store that grows by ten a day, or a load around a hundred."""
    draw = np.random.default_rng(7)
    values = 10_000 + draw.gamma(2, 5, 365).cumsum() if kind is Kind.GROWTH else 100 + 10 * draw.standard_normal(365)
    times = FIRST + DAY * np.arange(-365, 0)
    answer = forecast_all([Series("disk:db:/var", times, values, "bytes", kind)], first=FIRST, horizon=90)[0]
    assert isinstance(answer, Forecast)
    return answer


def median_days(crossing: Crossing) -> float:
    assert crossing.median is not None
    return float((crossing.median - FIRST.astype("datetime64[D]")) / np.timedelta64(1, "D"))


def test_what_concerns_others_changes_nothing():
    plain = forecast()
    assert with_plans(plain, [Planned("disk:other:*", START, amount=5.0)]) is plain


def test_twice_the_growth_from_today_halves_the_time():
    plain = forecast()
    limit = float(plain.history[-1]) + 1000
    usual = median_days(find_crossing(plain, limit=limit))
    doubled = median_days(find_crossing(plain, limit=limit, planned=[Planned("disk:*", START, load_factor=2.0)]))
    assert doubled == pytest.approx(usual / 2, rel=0.15)


def test_a_migration_that_frees_room_moves_the_date_back_and_one_that_takes_it_forward():
    plain = forecast()
    limit = float(plain.history[-1]) + 600
    usual = median_days(find_crossing(plain, limit=limit))
    for amount in (300.0, -300.0):
        moved = median_days(
            find_crossing(plain, limit=limit, planned=[Planned("disk:*", START + timedelta(days=10), amount=amount)])
        )
        assert moved == pytest.approx(usual - amount / 10 * 0.87, abs=8)


def test_what_happened_before_the_forecast_is_measured_already():
    plain = forecast()
    past = [Planned("disk:*", START - timedelta(days=3), amount=1e9)]
    assert with_plans(plain, past).mean.tolist() == plain.mean.tolist()


def test_a_load_is_multiplied_from_its_day_on_and_its_chance_rises():
    plain = forecast(Kind.USAGE)
    planned = [Planned("disk:*", START + timedelta(days=30), load_factor=1.5, reason="campaign")]
    changed = with_plans(plain, planned)
    assert changed.mean[:30].tolist() == plain.mean[:30].tolist()
    assert changed.hi95[30:] == pytest.approx(plain.hi95[30:] * 1.5)
    before = find_crossing(plain, limit=140)
    after = find_crossing(plain, limit=140, planned=planned)
    assert before.probability < 0.05 < 0.5 < after.probability and after.median is None


@given(st.floats(0, 3), st.floats(-2000, 2000), st.integers(0, 120))
def test_bands_stay_in_order_and_nothing_falls_below_nought(factor: float, amount: float, days: int):
    changed = with_plans(forecast(), [Planned("*", START + timedelta(days=days), load_factor=factor, amount=amount)])
    for low, high in (("lo80", "mean"), ("mean", "hi80"), ("lo95", "mean"), ("mean", "hi95")):
        assert (getattr(changed, low) <= getattr(changed, high)).all()
    assert (changed.lo95 >= 0).all()


@pytest.mark.parametrize("given", [{"load_factor": -1.0}, {"load_factor": float("nan")}, {"amount": float("inf")}])
def test_nonsense_is_refused(given: dict[str, float]):
    with pytest.raises(ConfigError, match=r"factor from|Give an amount"):
        Planned("disk:*", START, **given)


def test_vectors_take_their_bytes_and_an_index_takes_them_again():
    plain = VectorStorage(documents=1000, chunks_per_document=10, dimensions=1536, index="")
    assert plain.vector_bytes == 1536 * 4 + 8
    assert plain.total_bytes == pytest.approx(10_000 * (6152 + 36) / 0.9)
    indexed = VectorStorage(documents=1000, chunks_per_document=10, dimensions=1536)
    assert 1.9 < indexed.total_bytes / plain.total_bytes < 2.2
    half = VectorStorage(documents=1000, chunks_per_document=10, dimensions=1536, value_type="halfvec")
    assert half.total_bytes < 0.6 * indexed.total_bytes
    with pytest.raises(ConfigError, match="Use one of"):
        VectorStorage(documents=1, chunks_per_document=1, dimensions=1, value_type="float8")
    with pytest.raises(ConfigError, match="above 0"):
        VectorStorage(documents=0, chunks_per_document=1, dimensions=1)


def test_a_model_takes_gpus_by_memory_and_by_throughput():
    small = ModelOnGpu("embed", 6e9, requests_per_s=50, requests_per_s_peak=200, gpu_memory_bytes=24e9)
    assert (small.replicas, small.gpus) == (6, 2) and small.utilisation_ratio == pytest.approx(200 / 300)
    large = ModelOnGpu("chat", 140e9, requests_per_s=2, requests_per_s_peak=5, gpu_memory_bytes=80e9)
    assert (large.gpus_per_replica, large.replicas, large.gpus) == (2, 4, 8)
    idle = ModelOnGpu("idle", 6e9, requests_per_s=50, requests_per_s_peak=0, gpu_memory_bytes=24e9)
    assert (idle.replicas, idle.gpus) == (1, 1)
