"""Following the load: out at once, in only when it lasts, nothing while it cools down, never beyond the bounds."""

import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ConfigError
from domain.ledger import Entry, Event, chain_entry
from domain.load_chart import draw_load
from domain.load_policy import (
    LoadPolicy,
    Look,
    PolicyShown,
    check_policy,
    decide,
    explain_policy,
    policies,
    say_decision,
    wanted_instances,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
POLICY = LoadPolicy("desk", "production", 2, 8, 0.5, 100.0, window_s=300, cool_down_s=120)


def looks(*wanted: int, every_s: int = 60) -> list[Look]:
    """Looks that ended a minute ago, each with what it called for."""
    count = len(wanted)
    return [Look(NOW - timedelta(seconds=every_s * (count - n)), 1.0, 4, one) for n, one in enumerate(wanted)]


@pytest.mark.parametrize(
    ("load", "wanted"), [(0, 2), (100, 2), (200, 4), (210, 4), (221, 5), (300, 6), (4000, 8), (150, 3)]
)
def test_a_load_calls_for_instances_in_proportion_inside_the_bounds(load: float, wanted: int) -> None:
    assert wanted_instances(POLICY, load=load, instances=4) == wanted


@given(load=st.floats(0, 1e6), instances=st.integers(1, 64))
def test_what_is_wanted_never_leaves_the_bounds(load: float, instances: int) -> None:
    assert 2 <= wanted_instances(POLICY, load=load, instances=instances) <= 8


def decided(
    wanted: int, earlier: list[Look], *, changed_s_ago: float | None = None, instances: int = 4
) -> tuple[int, str]:
    changed_at = None if changed_s_ago is None else NOW - timedelta(seconds=changed_s_ago)
    made = decide(POLICY, instances=instances, wanted=wanted, earlier=earlier, changed_at=changed_at, now=NOW)
    return made.instances, made.word


def test_more_load_is_followed_at_once_even_at_the_first_look() -> None:
    assert decided(6, []) == (6, "out")


def test_less_load_is_followed_when_it_lasted_for_the_window() -> None:
    assert decided(2, []) == (4, "watching"), "nobody knows how it was before"
    assert decided(2, looks(2, 2)) == (4, "watching")
    assert decided(2, looks(2, 2, 2, 2, 2, 2)) == (2, "in")
    assert decided(2, looks(2, 2, 3, 2, 2, 2)) == (3, "in"), "to the most that was wanted meanwhile"
    assert decided(2, looks(2, 2, 2, 2, 2, 4)) == (4, "watching")


def test_after_a_change_nothing_is_changed_until_it_has_cooled_down() -> None:
    assert decided(8, [], changed_s_ago=119) == (4, "cooling")
    assert decided(8, [], changed_s_ago=120) == (8, "out")
    assert decided(2, looks(*[2] * 6), changed_s_ago=10) == (4, "cooling")


@pytest.mark.parametrize("period_min", [2, 3, 5])
@pytest.mark.parametrize("noise", [0.0, 0.08])
def test_a_load_that_swings_within_the_window_makes_it_go_out_once_and_never_flap(
    period_min: int, noise: float
) -> None:
    draw = random.Random(period_min)
    instances, changed_at, earlier, sizes = 2, None, [], []
    for minute in range(240):
        now = NOW + timedelta(minutes=minute)
        load = (400 if minute % period_min == 0 else 150) * (1 + draw.uniform(-noise, noise))
        wanted = wanted_instances(POLICY, load=load, instances=instances)
        made = decide(POLICY, instances=instances, wanted=wanted, earlier=earlier, changed_at=changed_at, now=now)
        earlier.append(Look(now, load, instances, wanted))
        if made.instances != instances:
            instances, changed_at = made.instances, now
        sizes.append(instances)
    changes = sum(before != after for before, after in pairwise(sizes))
    assert (
        changes <= 2
    )  # out, and once more where noise asked for one more; a swing within the window is not followed in
    assert all(2 <= one <= 8 for one in sizes)


def test_a_size_outside_of_the_bounds_comes_back_into_them() -> None:
    assert decided(8, [], instances=12) == (8, "bounds")
    assert decided(2, [], instances=1) == (2, "bounds")


@given(
    wanted=st.integers(2, 8),
    instances=st.integers(2, 8),
    earlier=st.lists(st.integers(2, 8), max_size=10),
    changed=st.none() | st.floats(0, 1000),
)
def test_a_decision_never_leaves_the_bounds_nor_goes_the_wrong_way(
    wanted: int, instances: int, earlier: list[int], changed: float | None
) -> None:
    made, _ = decided(wanted, looks(*earlier), changed_s_ago=changed, instances=instances)
    assert 2 <= made <= 8
    assert min(wanted, instances) <= made <= max(wanted, instances)


@pytest.mark.parametrize(
    "wrong",
    [
        {"least": 0},
        {"most": 65},
        {"least": 5, "most": 4},
        {"target_ratio": 1.5},
        {"capacity": 0},
        {"capacity": math.nan},
        {"measure_s": 600},
        {"window_s": -1},
        {"cool_down_s": -1},
    ],
)
def test_a_policy_that_can_not_be_followed_is_refused_with_what_is_allowed(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"Give "):
        check_policy(replace(POLICY, **wrong))  # pyright: ignore[reportArgumentType]


def granted(*afters: LoadPolicy | None) -> list[Entry]:
    found: list[Entry] = []
    for after in afters:
        data = {"after": after.as_dict() if after else {}}
        event = Event("load_policy.granted", "desk", "production", data=data)
        found.append(chain_entry(found[-1] if found else None, NOW, event))
    return found


def test_the_newest_policy_of_a_place_is_in_force_unless_it_was_taken_back() -> None:
    other = replace(POLICY, most=4)
    assert policies(granted(POLICY)) == [POLICY]
    assert policies(granted(POLICY, other)) == [other]
    assert policies(granted(POLICY, None)) == []
    assert POLICY.hash != other.hash


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_form_shows_both_policies_and_what_each_answer_does(language: str) -> None:
    shown = PolicyShown("desk", "production", None, POLICY, "bob")
    text = explain_policy(shown, deadline="tomorrow", refusal="no", language=language)  # type: ignore[arg-type]
    for needed in ("desk", "2–8", "50 %", "100", "300 s", "bob", "tomorrow", "follow_load"):
        assert needed in text
    assert replace(shown, after=None).hash != shown.hash


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_decision_has_words(language: str) -> None:
    for word in ("steady", "out", "in", "bounds", "cooling", "watching", "busy", "unknown", "failed"):
        assert say_decision(Look(NOW, 1, 2, 2, word, "7"), language=language)  # type: ignore[arg-type]


def test_the_chart_shows_load_capacity_instances_and_changes() -> None:
    seen = [Look(NOW, 90.0, 2, 2), replace(LOOK_OUT, load=math.nan), LOOK_OUT]
    svg = draw_load(seen, POLICY, title="desk <production>", words=("load", "capacity", "instances"), unit="requests/s")
    for needed in ("desk &lt;production&gt;", "requests/s", "→ 5", "03-02 12:00 UTC", 'fill="#ffffff"'):
        assert needed in svg
    assert "nan" not in svg and len(svg) < 20_000


LOOK_OUT = Look(NOW + timedelta(minutes=3), 260.0, 4, 5, "out", "5")
