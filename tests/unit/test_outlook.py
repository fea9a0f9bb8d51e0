"""Looking ahead: which view counts, in which order, and what is said where nothing can be."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from domain.capacity import read_plan
from domain.capacity_page import Page, choose_rows, has_crossing, render_html, render_markdown
from domain.crossing import grows_by_ratio
from domain.limits import Limit
from domain.outlook import Outlook, Surroundings, look_ahead
from domain.series import DAY_S, HOUR_S, Array, Remark, Series
from domain.usage import Interval, Metric, Resource, as_time, doubt_clock, plan_intervals

NOW = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
CPU, DISK = Resource(Metric.CPU, "web1"), Resource(Metric.DISK, "db1", "/")


def series(resource: Resource, values: Array, step_s: int) -> Series:
    end = as_time(NOW).astype("datetime64[D]" if step_s == DAY_S else "datetime64[h]").astype("datetime64[s]")
    times = end - np.arange(len(values), 0, -1) * np.timedelta64(step_s, "s")
    return Series(resource.key, times, values, resource.unit, resource.kind, step_s)


def hourly(days: int = 40) -> Array:
    return 4 + 2 * np.sin(np.arange(24 * days) * 2 * np.pi / 24)


def look(daily: list[Series], by_hours: list[Series], **limits: float) -> list[Outlook]:
    given = {Resource.parse(key.replace("__", ":")): value for key, value in limits.items()}
    around = Surroundings(limits={one: Limit(one, value, "df") for one, value in given.items()})
    return look_ahead(daily, by_hours, now=NOW, around=around)


def test_peaks_count_which_a_days_mean_hides():
    by_hours = hourly()
    days = by_hours.reshape(-1, 24).mean(axis=1)
    (one,) = look([series(CPU, days, DAY_S)], [series(CPU, by_hours, HOUR_S)], cpu__web1__=7.0)
    assert one.step_s == HOUR_S and (one.probability or 0) > 0.5  # 6 at noon, 4 in the mean, 5.6 matter


def test_today_is_not_over_and_is_not_looked_at():
    values = np.arange(100.0) * 1e9
    values[-1] = 0.0
    end = as_time(NOW).astype("datetime64[D]").astype("datetime64[s]")
    times = end - np.arange(99, -1, -1) * np.timedelta64(DAY_S, "s")  # the last one is today
    (one,) = look([Series(DISK.key, times, values, "bytes", DISK.kind, DAY_S)], [], disk__db1__=1e12)
    assert one.band is not None and one.band[0, 0] > 9e10


def test_order_is_full_then_by_date_then_by_probability_then_without_a_limit():
    def grow(owner: str, per_day: float) -> Series:
        resource = Resource(Metric.DISK, owner, "/")
        noise = np.random.default_rng(2).normal(0, per_day / 5, 200)
        return series(resource, 100 + per_day * np.arange(200) + noise, DAY_S)

    made = [grow("slow", 0.01), grow("soon", 2), grow("over", 1), grow("later", 1), grow("free", 1)]
    limits = {"disk__slow__/": 1000.0, "disk__soon__/": 640.0, "disk__over__/": 200.0, "disk__later__/": 450.0}
    found = look(made, [], **limits)
    assert [one.resource.owner for one in found] == ["over", "soon", "later", "slow", "free"]
    assert [has_crossing(one) for one in found] == [True, True, True, False, False]
    assert [one.resource.owner for one in choose_rows(found)] == ["over", "soon", "later", "slow"]


def test_what_was_collected_within_this_hour_is_young_and_not_away():
    times = np.array([as_time(NOW).astype("datetime64[h]").astype("datetime64[s]")])
    (one,) = look([], [Series(CPU.key, times, np.array([2.0]), "cores", CPU.kind, HOUR_S)], cpu__web1__=8.0)
    assert one.answer.key == "forecast.refused_short" and one.used == 2.0


def test_after_midnight_too_two_days_of_hours_are_asked_for_and_not_a_fortnight():
    midnight, steps = NOW.replace(hour=0, minute=30), (DAY_S, HOUR_S)
    times = np.array([as_time(midnight).astype("datetime64[D]").astype("datetime64[s]")])
    day, hour = (Series(CPU.key, times, np.array([2.0]), "cores", CPU.kind, step_s) for step_s in steps)
    (one,) = look_ahead([day], [hour], now=midnight, around=Surroundings())
    assert one.answer.values == {"count": 0, "minimum": 48}


def test_limits_of_a_team_come_before_those_that_sources_know():
    plan = read_plan({"limits": [{"resources": "disk:*", "value": 500, "threshold_percent": 50}]})
    around = Surroundings(plan, {DISK: Limit(DISK, 9e9, "df")})
    (one,) = look_ahead([series(DISK, np.arange(200.0), DAY_S)], [], now=NOW, around=around)
    assert one.limit and (one.limit.value, one.limit.threshold) == (500, 250)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_can_be_shown_in_both_languages_whatever_a_resource_is_called(language: str):
    odd = Resource(Metric.DISK, "db1", "/a|b`c<script>")
    found = look_ahead(
        [series(odd, 100 + np.arange(200.0), DAY_S)],
        [],
        now=NOW,
        around=Surroundings(limits={odd: Limit(odd, 400.0, "df")}),
    )
    page = Page(NOW, found, {odd.key: "<svg/>"}, language=language)  # pyright: ignore[reportArgumentType]
    (markdown,) = render_markdown(page)
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert all(row.replace("\\|", "").count("|") == 8 for row in rows)
    assert "<script>" not in render_html(page)


def test_a_curve_that_doubles_is_taken_to_grow_by_ratio_and_a_line_is_not():
    days = np.arange(180.0)
    noise = np.random.default_rng(1).normal(0, 1, 180)
    assert grows_by_ratio(50 * np.exp(days / 60) + noise)
    assert not grows_by_ratio(50 + 5 * days + noise)
    assert not grows_by_ratio(50 * np.exp(days / 2000))
    assert not grows_by_ratio(np.zeros(180)) and not grows_by_ratio(days[:30] + 1)


def test_exponential_growth_reaches_its_limit_when_it_does():
    values = 50 * np.exp(np.arange(300) / 90)
    (one,) = look([series(DISK, values, DAY_S)], [], **{"disk__db1__/": float(values[-1]) * np.exp(80 / 90) / 0.8})
    assert one.days_left is not None and 60 <= one.days_left <= 100


def test_after_an_absence_the_last_piece_is_fresh():
    pieces = plan_intervals(NOW - timedelta(hours=8), now=NOW, reach_back=timedelta(days=2), longest=timedelta(hours=6))
    assert [piece.seconds for piece in pieces] == [21600, pytest.approx(6600, abs=60), 600]
    assert pieces[-1].end == NOW.replace(second=0)


def test_a_clock_that_jumped_back_is_told_and_the_last_minutes_are_asked_for():
    ahead = NOW + timedelta(days=1)
    assert plan_intervals(ahead, now=NOW, reach_back=timedelta(days=2), longest=timedelta(hours=6)) == (
        Interval(NOW.replace(second=0) - timedelta(minutes=10), NOW.replace(second=0)),
    )
    doubt = doubt_clock("machine:a", ahead, now=NOW)
    assert isinstance(doubt, Remark) and "2026-03-03" in doubt.text()
    assert doubt_clock("machine:a", NOW, now=NOW) is None and doubt_clock("machine:a", None, now=NOW) is None


def advised(resource: Resource, values: Array, *, limit: float, settings: dict[str, object] | None = None) -> Outlook:
    around = Surroundings(read_plan(settings), {resource: Limit(resource, limit, "there")})
    (one,) = look_ahead([], [series(resource, values, HOUR_S)], now=NOW, around=around)
    return one


def test_of_a_gpu_that_gets_too_busy_more_are_advised_and_no_larger_share_of_one():
    gpu = Resource(Metric.GPU, "gpu1", "0/A100")
    busy = advised(gpu, 0.6 + 0.3 * np.sin(np.arange(960) * 2 * np.pi / 24), limit=1.0)
    assert busy.advice and (busy.advice.move, busy.advice.what, busy.advice.wanted) == ("up", "gpus", 2)
    assert "spread its work over 2 times as many GPUs" in busy.advice.reason.text()
    idle = advised(gpu, 0.01 + 0.005 * np.sin(np.arange(960) * 2 * np.pi / 24), limit=1.0)
    assert idle.advice and (idle.advice.move, idle.advice.what) == ("down", "share")
    assert "Idle" in idle.advice.reason.text()
    memory = Resource(Metric.GPU_MEMORY, "gpu1", "0/A100")
    full = advised(memory, 2.0**30 * (33 + np.sin(np.arange(960) * 2 * np.pi / 24)), limit=40 * 2.0**30)
    assert full.advice and "move it to a GPU of that size, or spread it over 2" in full.advice.reason.text()


@pytest.mark.parametrize(("metric", "part"), [(Metric.CPU, "cpu_share"), (Metric.MEMORY, "memory_bytes")])
def test_the_size_of_an_instance_is_its_part_of_what_all_take(metric: Metric, part: str):
    resource = Resource(metric, "shop", "web")
    unit = 1.0 if metric is Metric.CPU else 2.0**30
    values = unit * (4 + 2 * np.sin(np.arange(960) * 2 * np.pi / 24))
    service = {"resource": resource.key, "application": "web", "environment": "production"}
    prices = [{"resources": resource.key, "per_month": 10, "per": unit}]
    alone, of_four = (
        advised(
            resource, values, limit=4 * unit, settings={"services": [{**service, "instances": n}], "prices": prices}
        )
        for n in (1, 4)
    )
    assert alone.advice and of_four.advice
    assert alone.advice.parameters[part] == pytest.approx(4 * of_four.advice.parameters[part], rel=0.02)
    assert of_four.advice.now == unit and 1.5 * unit < of_four.advice.wanted < 2.2 * unit
    assert alone.advice.cost_per_month == pytest.approx(of_four.advice.cost_per_month, rel=0.05)  # of all instances


def test_the_page_says_where_limits_are_from_what_has_none_and_each_reason_once():
    def disk(owner: str) -> Series:
        return series(Resource(Metric.DISK, owner, "/"), 100.0 + np.arange(200) + np.tile([0.0, 0.3], 100), DAY_S)

    young = [series(Resource(Metric.DISK, f"young{n}", "/"), np.arange(3.0) + 1, DAY_S) for n in range(15)]
    plan = read_plan({"limits": [{"resources": "disk:young*", "value": 1000}]})
    around = Surroundings(plan, {Resource(Metric.DISK, "a", "/"): Limit(Resource(Metric.DISK, "a", "/"), 900, "df")})
    found = look_ahead([disk("a"), disk("free"), *young], [], now=NOW, around=around)
    for text in (render_markdown(Page(NOW, found))[0], render_html(Page(NOW, found))):
        plain = text.replace("**", "")
        assert "disk:a:/: 900 B (df); matters from 720 B on, getting more takes 14 days" in plain
        assert "disk:young3:/: 1,000 B (capacity.yaml); matters from 800 B on" in plain
        assert "No limit is known of 1: disk:free:/. Set one" in plain
        assert plain.count("No forecast: only 3 steps are known") == 1 and "and 3 more: No forecast" in plain
