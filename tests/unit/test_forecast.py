"""Forecasts: what they say of ordinary series, and what they say instead of a false date."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from domain.bank import yearly_pull
from domain.catalogue import all_texts
from domain.forecast import Forecast, NoForecast, forecast_all
from domain.series import Kind, Series

FIRST = np.datetime64("2026-03-02T00:00:00", "s")
DAY = np.timedelta64(86400, "s")
HOUR = np.timedelta64(3600, "s")


def daily(
    values: list[float] | np.ndarray, *, kind: Kind = Kind.GROWTH, unit: str = "bytes", name: str = "d"
) -> Series:
    """A daily series that ends yesterday."""
    row = np.asarray(values, dtype=float)
    return Series(name, FIRST + DAY * np.arange(-len(row), 0), row, unit, kind)


def hourly(values: np.ndarray, *, kind: Kind = Kind.USAGE, name: str = "h") -> Series:
    """An hourly series that ends an hour ago."""
    return Series(name, FIRST + HOUR * np.arange(-len(values), 0), values, "percent", kind, 3600)


def ask(series: Series, horizon: int = 30) -> Forecast | NoForecast:
    """Forecast one."""
    return forecast_all([series], first=FIRST, horizon=horizon)[0]


def forecast(series: Series, horizon: int = 30) -> Forecast:
    """Forecast one that has to have an answer."""
    answer = ask(series, horizon)
    assert isinstance(answer, Forecast), answer
    return answer


def refusal(series: Series) -> str:
    """The key of the reason of one that must not have a forecast."""
    answer = ask(series)
    assert isinstance(answer, NoForecast), answer
    assert answer.reason.text("en").startswith("No forecast") and answer.reason.text("zh")
    return answer.reason.key


def keys(answer: Forecast) -> set[str]:
    """What was remarked; each can be said in both languages."""
    assert all(remark.text("en") and remark.text("zh") for remark in answer.remarks)
    return {remark.key for remark in answer.remarks}


def office_hours(hours: int, *, seed: int = 1) -> np.ndarray:
    """A load that follows days and weeks, with a little noise."""
    t = np.arange(hours)
    course = 40 + 20 * np.sin(2 * np.pi * t / 24) + 8 * (t // 24 % 7 < 5)
    return course + np.random.default_rng(seed).normal(0, 1, hours)


def test_a_steady_growth_goes_on() -> None:
    answer = forecast(daily(1000 + 5.0 * np.arange(365)), horizon=90)
    assert answer.mean == pytest.approx(1000 + 5.0 * np.arange(365, 455), rel=1e-6)
    assert answer.piles_up
    assert answer.back_test.mae < 0.01 and answer.back_test.relative < 0.01 and answer.back_test.origins > 5


def test_a_daily_and_weekly_course_is_kept() -> None:
    load = office_hours(672 + 168)
    answer = forecast(hourly(load[:672]), horizon=168)
    assert np.abs(answer.mean - load[672:]).mean() < 2
    assert not answer.piles_up


def test_bounds_hold_what_follows_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    walks = 1e4 + generator.normal(5, 20, (60, 455)).cumsum(axis=1)
    answers = forecast_all([daily(walk[:365], kind=Kind.USAGE) for walk in walks], first=FIRST, horizon=90)
    inside = [
        ((a.lo80 <= walk[365:]) & (walk[365:] <= a.hi80)).mean()
        for a, walk in zip(answers, walks, strict=True)
        if isinstance(a, Forecast)
    ]
    assert 0.65 < np.mean(inside) < 0.95


def test_no_data_is_no_forecast_and_a_reason() -> None:
    assert refusal(daily([])) == "forecast.refused_empty"
    assert refusal(daily([float("nan")] * 100)) == "forecast.refused_empty"
    assert refusal(daily([-5.0] * 100)) == "forecast.refused_empty"


def test_a_short_series_is_refused_or_called_short() -> None:
    assert refusal(daily(np.arange(13.0))) == "forecast.refused_short"
    assert "forecast.short" in keys(forecast(daily(np.arange(20.0))))
    assert refusal(hourly(office_hours(47))) == "forecast.refused_short"
    assert "forecast.short" in keys(forecast(hourly(office_hours(60)), horizon=48))


def test_a_constant_series_stays_and_says_so() -> None:
    answer = forecast(daily([7.0] * 200))
    assert keys(answer) == {"forecast.constant"}
    assert (answer.mean == 7).all() and (answer.lo95 == 7).all() and (answer.hi95 == 7).all()
    assert answer.back_test.mae == 0


def test_nought_for_ever_is_a_constant_too() -> None:
    assert (forecast(daily([0.0] * 200)).mean == 0).all()


def test_gaps_are_filled_and_named() -> None:
    load = office_hours(672)
    holed = load.copy()
    holed[100:150] = holed[300:360] = float("nan")
    whole, answer = forecast(hourly(load), 168), forecast(hourly(holed), 168)
    assert "forecast.gaps" in keys(answer)
    assert np.abs(answer.mean - whole.mean).mean() < 2


def test_a_source_that_answers_half_is_still_forecast_with_a_word() -> None:
    load = office_hours(1344)
    load[np.random.default_rng(5).random(1344) < 0.5] = float("nan")
    answer = forecast(hourly(load), 168)
    gaps = next(remark for remark in answer.remarks if remark.key == "forecast.gaps")
    assert 40 < gaps.values["percent"] < 60
    assert np.abs(answer.mean - office_hours(1512)[1344:]).mean() < 5


def test_a_silent_source_is_named_then_refused() -> None:
    growth = 1000 + 5.0 * np.arange(365)
    late = daily(growth)
    recent = Series("d", late.times - 5 * DAY, growth, "bytes", Kind.GROWTH)
    answer = forecast(recent)
    assert "forecast.silent" in keys(answer)
    assert answer.mean[0] == pytest.approx(growth[-1] + 5 * 6, rel=1e-3)
    assert refusal(Series("d", late.times - 40 * DAY, growth, "bytes", Kind.GROWTH)) == "forecast.refused_stale"


@pytest.mark.parametrize("hours", [24, 48, 72])
@pytest.mark.parametrize("left", [0.0, 0.2])
def test_an_outage_at_the_end_is_gated(hours: int, left: float) -> None:
    load = office_hours(672 + 168)
    cut = load[:672].copy()
    cut[-hours:] *= left
    answer = forecast(hourly(cut), horizon=168)
    assert "forecast.outage" in keys(answer)
    clean = np.abs(forecast(hourly(load[:672]), horizon=168).mean - load[672:]).mean()
    assert np.abs(answer.mean - load[672:]).mean() <= 2 * clean


def test_an_outage_of_a_growing_store_is_gated_but_a_clean_up_is_not() -> None:
    growth = 1000 + 5.0 * np.arange(365) + np.random.default_rng(2).random(365)
    gone, cleaned = growth.copy(), growth.copy()
    gone[-2:] = 0
    cleaned[-2:] *= 0.8
    assert "forecast.outage" in keys(forecast(daily(gone)))
    answer = forecast(daily(cleaned))
    assert "forecast.outage" not in keys(answer)
    assert answer.mean[0] == pytest.approx(cleaned[-1], rel=0.02)


def test_a_busy_ending_is_no_outage() -> None:
    load = office_hours(672)
    load[-48:] *= 1.05
    assert "forecast.outage" not in keys(forecast(hourly(load), 168))


def test_a_shifted_level_is_named_and_followed() -> None:
    row = 500 + np.random.default_rng(4).normal(0, 5, 365)
    row[200:] += 300
    answer = forecast(daily(row, kind=Kind.USAGE))
    shifted = next(remark for remark in answer.remarks if remark.key == "forecast.shifted")
    assert shifted.values["amount"] == pytest.approx(300, rel=0.1)
    assert abs((np.datetime64(shifted.values["date"]) - (FIRST - 165 * DAY)) / DAY) <= 7
    assert answer.mean.mean() == pytest.approx(800, rel=0.05)


def test_outliers_are_left_out_and_named() -> None:
    row = 1000 + 5.0 * np.arange(365)
    spoiled = row.copy()
    spoiled[[50, 170, 290]] *= 30
    answer = forecast(daily(spoiled))
    assert "forecast.outliers" in keys(answer)
    assert answer.mean == pytest.approx(forecast(daily(row)).mean, rel=0.01)


def test_an_answer_does_not_depend_on_the_company() -> None:
    mine = daily(1000 + np.random.default_rng(6).random(365).cumsum(), name="mine")
    others = [daily(np.random.default_rng(i).random(365).cumsum() * 10**i, name=str(i)) for i in range(5)]
    crowd = forecast_all([*others, mine, hourly(office_hours(672))], first=FIRST, horizon=30)
    assert isinstance(crowd[5], Forecast) and crowd[5].series.name == "mine"
    assert crowd[5].mean == pytest.approx(forecast(mine).mean, rel=1e-12)
    assert crowd[5].hi95 == pytest.approx(forecast(mine).hi95, rel=1e-9)


def test_each_series_may_start_at_its_own_moment() -> None:
    row = 1000 + 5.0 * np.arange(365)
    early = Series("e", daily(row).times - 100 * DAY, row, "bytes", Kind.GROWTH)
    answers = forecast_all([daily(row), early], first=[FIRST, FIRST - 100 * DAY], horizon=10)
    assert [isinstance(a, Forecast) for a in answers] == [True, True]
    assert answers[0].mean == pytest.approx(answers[1].mean)  # type: ignore[union-attr]


def test_what_is_measured_after_the_start_is_not_looked_at() -> None:
    row = 1000 + 5.0 * np.arange(375)
    series = Series(
        "d", FIRST + DAY * np.arange(-365, 10), np.where(np.arange(375) >= 365, 1e9, row), "bytes", Kind.GROWTH
    )
    assert forecast(series).mean[0] == pytest.approx(row[365], rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    values=arrays(
        float,
        st.integers(0, 120),
        elements=st.one_of(st.floats(-1e15, 1e15), st.sampled_from([0.0, 1.0, float("nan"), float("inf")])),
    ),
    kind=st.sampled_from(list(Kind)),
    step_s=st.sampled_from([3600, 86400]),
)
@example(
    values=np.where(np.arange(14) == 6, 1.0, 2.225e-311), kind=Kind.GROWTH, step_s=86400
)  # a value infinitely many times what was expected
def test_whatever_comes_the_answer_is_a_reason_or_finite_ordered_lines(
    values: np.ndarray, kind: Kind, step_s: int
) -> None:
    times = FIRST + np.timedelta64(step_s, "s") * np.arange(-len(values), 0)
    answer = ask(Series("x", times, values, "bytes", kind, step_s), horizon=20)
    if isinstance(answer, NoForecast):
        assert answer.reason.text("en") and answer.reason.text("zh")
        return
    lines = np.stack([answer.lo95, answer.lo80, answer.mean, answer.hi80, answer.hi95])
    assert lines.shape == (5, 20) and np.isfinite(lines).all()
    assert (np.diff(lines, axis=0) >= -1e-6 * np.abs(lines[1:])).all()
    assert (lines >= 0).all()


def test_every_text_of_a_forecast_is_in_both_languages() -> None:
    mine = {key: text for key, text in all_texts().items() if key.startswith("forecast.")}
    assert len(mine) > 20 and all(english and chinese for english, chinese in mine.values())


def test_last_years_course_counts_without_what_the_year_grew():
    days = np.arange(378.0)
    course = 20 * np.sin(days * 2 * np.pi / 364)
    steady, swinging = yearly_pull(np.stack([100 + days, 100 + days + course]), steps=90)
    assert np.abs(steady).max() < 1.5
    ahead = course[14:104]  # 364 days before the first day to come
    assert swinging == pytest.approx(0.3 * (ahead - ahead[0]), abs=2.0)
