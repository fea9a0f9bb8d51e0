"""Advice follows its formulae, and is given only when it is worth a change and lasts."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.advice import (
    Advice,
    CleanUp,
    Earlier,
    Move,
    advise_storage,
    autoscaler_bounds,
    autoscaler_target,
    cpu_request_cores,
    decayed_percentile,
    follow_load,
    instances_for,
    is_settled,
    judge_waste,
    memory_request_bytes,
    wanted_size,
)
from domain.errors import ConfigError
from domain.series import Remark

NOW = datetime(2026, 3, 2, tzinfo=UTC)
MIB = 1024.0**2


def test_samples_count_half_for_each_day_of_their_age():
    values, ages = np.array([1.0, 9.0]), np.array([0.0, 86_400.0])
    assert decayed_percentile(values, ages, 60) == 1.0  # 2/3 of the weight is young
    assert decayed_percentile(values, ages, 70) == 9.0
    with pytest.raises(ConfigError, match="Collect usage"):
        decayed_percentile(values[:0], ages[:0], 50)


def test_requests_stand_15_percent_above_what_is_used_and_are_lifted_by_what_comes():
    values, ages = np.full(100, 2.0), np.zeros(100)
    assert cpu_request_cores(values, ages) == pytest.approx(2.3)
    assert cpu_request_cores(values, ages, peak_forecast=3.0) == pytest.approx(3.45)
    assert cpu_request_cores(values, ages, peak_forecast=1.0) == pytest.approx(2.3)
    memory = np.full(100, 1000 * MIB)
    assert memory_request_bytes(memory) == pytest.approx(1150 * MIB)
    assert memory_request_bytes(memory, peak_forecast=2000 * MIB) == pytest.approx(2300 * MIB)
    assert memory_request_bytes(memory, killed_at_bytes=1100 * MIB) == pytest.approx(1320 * MIB)
    assert memory_request_bytes(memory / 1000, killed_at_bytes=50 * MIB) == pytest.approx(150 * MIB)


def test_instances_carry_the_load_also_without_a_zone():
    assert instances_for(100, capacity=10, target_ratio=0.5) == 20
    assert instances_for(100, capacity=10, target_ratio=0.5, zones=3) == 30
    load = np.r_[np.full(90, 20.0), np.full(10, 100.0)]
    assert autoscaler_bounds(load, capacity=10, target_ratio=0.5) == (4, 20)
    assert autoscaler_bounds(load * 0, capacity=10, target_ratio=0.5) == (2, 2)
    assert autoscaler_bounds(load, capacity=10, target_ratio=0.5, peak_forecast=200)[1] == 40
    with pytest.raises(ConfigError):
        instances_for(1, capacity=0, target_ratio=0.5)


def test_a_steep_rise_and_a_slow_start_leave_more_room():
    slow, steep = np.linspace(50, 100, 60), np.r_[np.full(30, 50.0), np.full(30, 100.0)]
    assert autoscaler_target(slow, step_s=60, startup_s=30) == 0.8
    assert autoscaler_target(steep, step_s=60, startup_s=30) == pytest.approx(0.75)
    assert autoscaler_target(steep, step_s=60, startup_s=600) == 0.4


@given(
    instances=st.integers(1, 50),
    used=st.floats(0, 3),
    recent=st.lists(st.integers(1, 60), max_size=5),
    least=st.integers(1, 5),
    spread=st.integers(0, 40),
)
def test_following_the_load_keeps_the_bounds(instances: int, used: float, recent: list[int], least: int, spread: int):
    wanted = follow_load(instances, used_ratio=used, target_ratio=0.6, least=least, most=least + spread, recent=recent)
    assert least <= wanted <= least + spread


def test_out_at_once_in_when_it_lasts_and_a_little_is_nothing():
    def follow(used: float, *recent: int) -> int:
        return follow_load(4, used_ratio=used, target_ratio=0.6, least=2, most=10, recent=recent)

    assert follow(0.9) == 6 and follow(0.62) == 4 and follow(0.3, 4, 3) == 4 and follow(0.3, 2, 2) == 2
    assert follow(3.0) == 10 and follow(0.0, 2) == 2


def advise(size: float, upper: float, **changes: object) -> Advice:
    given: dict[str, object] = {"threshold_ratio": 0.8, "days_left": 10.0, "lead_days": 14.0, **changes}
    return advise_storage("disk:db:/var", size=size, upper=np.array([upper / 2, upper]), **given)  # type: ignore[arg-type]


def test_storage_grows_is_cleaned_up_or_shrinks():
    grow = advise(1000, 900, price_per_month=0.1)
    assert (grow.move, grow.wanted, grow.reason.key) == (Move.UP, 1200, "advice.soon")
    assert grow.cost_per_month == pytest.approx(20) and grow.parameters == {"size": 1200}
    assert advise(1000, 900, days_left=60.0).reason.key == "advice.later"
    clean = advise(1000, 900, clean_ups=[CleanUp("closed tickets", 200), CleanUp("logs", 20)])
    assert (clean.move, clean.parameters) == (Move.CLEAN_UP, {"policy": "closed tickets"})
    assert advise(1000, 900, clean_ups=[CleanUp("logs", 20)]).move is Move.UP
    assert advise(1000, 700).move is Move.KEEP
    shrink = advise(10_000, 700, price_per_month=0.1)
    assert (shrink.move, shrink.wanted) == (Move.DOWN, 880) and shrink.cost_per_month is not None
    assert shrink.cost_per_month < 0


def test_every_reason_can_be_said():
    for advice in (advise(1000, 900), advise(1000, 700), advise(10_000, 700), advise(1000, 900, days_left=None)):
        assert advice.reason.text("en") and advice.reason.text("zh")
    for values, limit in ((np.full(10, 1.0), 100.0), (np.full(10, 20.0), 100.0)):
        remark = judge_waste(values, limit=limit)
        assert remark is not None and remark.text("en") and remark.text("zh")
    assert judge_waste(np.full(10, 60.0), limit=100.0) is None


@pytest.mark.parametrize(("upper", "wanted"), [(0.0, 0.0), (80.0, 100.0), (81.0, 110.0), (1e12, 1.3e12)])
def test_sizes_are_round(upper: float, wanted: float):
    assert wanted_size(np.array([upper]), threshold_ratio=0.8) == pytest.approx(wanted)


def advice(move: Move, now: float, wanted: float) -> Advice:
    return Advice("cpu:web:", move, "cpu_request_cores", now, wanted, Remark("advice.enough"))


def test_up_is_believed_when_two_runs_want_it_or_when_it_is_urgent():
    assert not is_settled(advice(Move.UP, 10, 12), [], now=NOW)
    assert is_settled(advice(Move.UP, 10, 12), [Earlier(NOW - timedelta(days=7), 11.5)], now=NOW)
    assert is_settled(advice(Move.UP, 10, 20), [], now=NOW)
    assert not is_settled(advice(Move.UP, 10, 10.5), [Earlier(NOW - timedelta(days=7), 12)], now=NOW)


def test_down_waits_for_three_days_without_a_larger_wish():
    days = [Earlier(NOW - timedelta(days=n), 6.0) for n in (4, 3, 2, 1)]
    assert is_settled(advice(Move.DOWN, 10, 6), days, now=NOW)
    assert not is_settled(advice(Move.DOWN, 10, 6), days[2:], now=NOW)
    assert not is_settled(advice(Move.DOWN, 10, 6), [*days, Earlier(NOW - timedelta(hours=5), 9.8)], now=NOW)
