"""A chart is well-formed, small, and shows what it was given."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.chart import Band, Labels, Mark, draw, ticks, write_value

LABELS = Labels("disk <db1> & /var", "measured", "forecast, 80 % and 95 %", "limit", "threshold")
START = np.datetime64("2026-01-01", "s")
DAY = np.timedelta64(86_400, "s")


def band(values: np.ndarray, *, steps: int = 90) -> Band:
    mean = values[-1] + np.arange(steps) * 1.0
    width = np.sqrt(np.arange(steps))
    times = START + DAY * (len(values) + np.arange(steps))
    return Band(times, mean, mean - width, mean + width, mean - 2 * width, mean + 2 * width)


def chart(values: np.ndarray, **changes: object) -> ET.Element:
    times = START + DAY * np.arange(len(values))
    text = draw(times, values, unit="bytes", labels=LABELS, **changes)  # type: ignore[arg-type]
    assert len(text.encode()) < 40_000
    return ET.fromstring(text)


def words(root: ET.Element) -> str:
    return " ".join(text for text in root.itertext())


def test_it_shows_title_units_limit_and_the_day():
    values = 1e9 + np.arange(200) * 1e7
    root = chart(
        values,
        band=band(values),
        limit=4e9,
        threshold=3.2e9,
        crossing=Mark(START + DAY * 250, "2026-09-08 (80 %: Aug 20 to Oct 2)"),
    )
    shown = words(root)
    for part in ("disk <db1> & /var", "GiB", "limit 3.73 GiB", "threshold 2.98 GiB", "2026-09-08", "forecast"):
        assert part in shown
    assert root[0].get("fill") == "#ffffff"


def test_a_limit_far_above_is_said_and_does_not_flatten_the_curve():
    values = 1e6 + np.arange(200.0)
    assert "limit 1 TiB ↑" in words(chart(values, limit=1024.0**4))


def test_gaps_break_the_line_and_many_points_are_thinned_without_losing_the_peak():
    values = np.ones(20_000)
    values[777], values[5000:6000] = 50.0, np.nan
    path = next(one.get("d") for one in chart(values).iter() if one.get("stroke-width") == "1.8")
    assert path is not None and path.count("M") == 2 and path.count("L") < 800
    assert min(float(point.split()[1]) for point in path.replace("M", "L").split("L")[1:]) < 70


@settings(max_examples=60)
@given(
    st.lists(st.one_of(st.floats(0, 1e18), st.just(float("nan"))), max_size=50),
    st.one_of(st.none(), st.floats(1e-3, 1e18)),
)
def test_anything_can_be_drawn(values: list[float], limit: float | None):
    array = np.array(values, dtype=float)
    root = chart(array, limit=limit, band=band(np.r_[array[np.isfinite(array)], 1.0]) if values else None)
    for element in root.iter():
        for value in element.attrib.values():
            assert "nan" not in value and "inf" not in value


@pytest.mark.parametrize("top", [1e-4, 0.7, 1.0, 5.0, 999.0, 1e6, 3e12])
@pytest.mark.parametrize("unit", ["bytes", "cores"])
def test_axes_have_three_to_six_round_ticks(top: float, unit: str):
    found = ticks(top, unit=unit)
    assert 3 <= len(found) <= 7 and found[0] == 0 and found[-1] <= top * 1.001


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "bytes", "0 B"),
        (1536, "bytes", "1.5 KiB"),
        (0.84, "ratio", "84 %"),
        (0.412, "cores", "0.412 cores"),
        (123456, "requests/s", "123,456 requests/s"),
    ],
)
def test_values_read_as_people_write_them(value: float, unit: str, text: str):
    assert write_value(value, unit) == text


def test_a_day_beyond_the_page_is_named_at_its_edge():
    times = START + np.arange(30) * DAY
    drawn = draw(times, np.arange(30.0), unit="bytes", labels=LABELS, crossing=Mark(START + DAY * 400, "2027-02-05"))
    assert "2027-02-05 →" in drawn
    drawn = draw(times, np.arange(30.0), unit="bytes", labels=LABELS, crossing=Mark(START - DAY, "2025-12-31"))
    assert "2025-12-31" not in drawn
