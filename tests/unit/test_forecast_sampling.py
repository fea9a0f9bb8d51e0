"""Bad input: each kind of nonsense gets a clear word, and no false date."""

import numpy as np
import pytest

from domain.sampling import Grid, lay_on_grid
from domain.series import Kind, Remark, Series

NOW = np.datetime64("2026-03-02T00:00:00", "s")
DAY = np.timedelta64(86400, "s")
GROWTH = 1000.0 + 5 * np.arange(100)
TIMES = NOW + DAY * np.arange(-100, 0)


def lay(times: np.ndarray, values: np.ndarray, kind: Kind = Kind.GROWTH, unit: str = "bytes") -> Grid | Remark:
    """Clean one daily series."""
    return lay_on_grid(Series("x", times, values, unit, kind), now=NOW)


def grid(times: np.ndarray, values: np.ndarray, kind: Kind = Kind.GROWTH) -> Grid:
    """Clean one that must be usable."""
    laid = lay(times, values, kind)
    assert isinstance(laid, Grid), laid.text()
    return laid


def remarked(laid: Grid) -> dict[str, Remark]:
    """Remarks by key."""
    return {remark.key: remark for remark in laid.remarks}


def test_clean_samples_pass_without_a_word() -> None:
    laid = grid(TIMES, GROWTH)
    assert laid.values.tolist() == GROWTH.tolist() and laid.end == NOW and not laid.remarks


@pytest.mark.parametrize("factor", [1000.0, 1024.0, 1024.0**2, 1e9, 100.0, 1 / 1024])
def test_a_changed_unit_is_refused_with_its_factor_and_day(factor: float) -> None:
    values = GROWTH.copy()
    values[60:] *= factor
    refused = lay(TIMES, values)
    assert isinstance(refused, Remark) and refused.key == "forecast.refused_units"
    assert refused.values["factor"] == pytest.approx(max(factor, 1 / factor), rel=0.05)
    assert refused.values["date"] == str(TIMES[60].astype("datetime64[D]"))


def test_a_store_that_really_grows_hundredfold_over_weeks_is_no_changed_unit() -> None:
    assert isinstance(lay(TIMES, np.geomspace(1e3, 1e6, 100)), Grid)


def test_a_card_that_works_by_turns_is_no_changed_unit() -> None:
    turns = np.where(np.arange(100) // 6 % 2 == 1, 90.0, 0.9)
    assert isinstance(lay(TIMES, turns, Kind.USAGE, unit="percent"), Grid)


def test_a_ratio_of_forty_is_refused() -> None:
    refused = lay(TIMES, np.full(100, 40.0), Kind.USAGE, unit="ratio")
    assert isinstance(refused, Remark) and refused.key == "forecast.refused_ratio"


def test_a_counter_goes_on_after_its_resets() -> None:
    counted = np.concatenate([np.arange(0, 600, 10.0), np.arange(0, 400, 10.0)])
    laid = grid(TIMES, counted, Kind.COUNTER)
    assert remarked(laid)["forecast.resets"].values["count"] == 1
    assert (np.diff(laid.values) >= 0).all() and laid.values[-1] == 590 + 390


def test_a_clock_that_jumps_back_is_sorted_and_told() -> None:
    order = np.concatenate([np.arange(50), np.arange(70, 100), np.arange(50, 70)])
    laid = grid(TIMES[order], GROWTH[order])
    assert laid.values.tolist() == GROWTH.tolist()
    assert remarked(laid)["forecast.unordered"].values["count"] == 1


def test_samples_from_the_future_are_left_out_and_told() -> None:
    times = np.concatenate([TIMES, [NOW + 400 * DAY]])
    laid = grid(times, np.append(GROWTH, 1e12))
    assert laid.end == NOW and remarked(laid)["forecast.future"].values["count"] == 1


def test_one_sample_of_1970_does_not_stretch_the_grid() -> None:
    times = np.concatenate([[np.datetime64(0, "s")], TIMES])
    assert len(grid(times, np.append(1.0, GROWTH)).values) <= 392


def test_duplicates_count_once() -> None:
    times, values = np.repeat(TIMES, 3), np.repeat(GROWTH, 3)
    values[1::3] += 1e6
    laid = grid(times, values)
    assert laid.values.tolist() == GROWTH.tolist()
    assert remarked(laid)["forecast.duplicates"].values["count"] == 200


def test_negative_sizes_become_gaps_and_are_told() -> None:
    values = GROWTH.copy()
    values[[10, 20]] = -1
    laid = grid(TIMES, values)
    assert np.isnan(laid.values[[10, 20]]).all() and remarked(laid)["forecast.negative"].values["count"] == 2


def test_unequal_lengths_are_refused() -> None:
    refused = lay(TIMES, GROWTH[:-1])
    assert isinstance(refused, Remark) and refused.key == "forecast.refused_lengths"


def test_what_piles_up_takes_the_newest_sample_of_a_day_and_load_its_mean() -> None:
    times = np.sort(np.concatenate([TIMES, TIMES + DAY // 2]))
    values = np.arange(200.0)
    assert grid(times, values).values[0] == 1
    assert grid(times, values, Kind.USAGE).values[0] == 0.5
