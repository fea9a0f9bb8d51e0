"""What the judge says, by example and by property: bad is found soon, good is left alone, silence is not health."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.application import ObjectivesPart
from domain.catalogue import LANGUAGES, Language
from domain.judgement import (
    Judgement,
    Verdict,
    explain_judgement,
    judge_alone,
    judge_canary,
    read_judgement,
)
from domain.traffic import Window

BOUNDS_S = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, math.inf)
OBJECTIVES = ObjectivesPart(warm_up_s=5, requests_min=50, latency_ratio_tolerance=1.5)


def window(second: int, requests: int, *, failures: int = 0, at: int = 3) -> Window:
    """One second of answers that lie around bucket `at`, half of them, and a quarter on each side."""
    buckets = [0] * len(BOUNDS_S)
    quarter = requests // 4
    buckets[at], buckets[at - 1], buckets[at + 1] = requests - 2 * quarter, quarter, quarter
    return Window(float(second), float(second + 1), requests, failures, BOUNDS_S, tuple(buckets))


def arm(seconds: int, requests: int, *, fails_every: int = 0, at: int = 3, from_s: int = 0) -> list[Window]:
    return [
        window(
            second,
            requests,
            failures=requests // fails_every if fails_every and second >= from_s else 0,
            at=at if second >= from_s else 3,
        )
        for second in range(seconds)
    ]


def judge(canary: list[Window], live: list[Window], *, watch_s: float = 60, **changes: object) -> Judgement:
    return judge_canary(canary, live, objectives=OBJECTIVES, watch_s=watch_s, elapsed_s=float(len(canary)), **changes)


def first_failure(canary: list[Window], live: list[Window], *, watch_s: float = 60) -> int | None:
    for end in range(1, len(canary) + 1):
        if judge(canary[:end], live[:end], watch_s=watch_s).verdict is Verdict.FAIL:
            return end
    return None


def test_nothing_is_decided_before_the_watch_is_over():
    judgement = judge(arm(30, 40), arm(30, 40))
    assert (judgement.verdict, judgement.cause) == (None, "judgement.watching")


def test_a_release_like_the_live_one_passes_at_the_end_of_the_watch():
    assert judge(arm(60, 40), arm(60, 40)).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("bad", "triggers", "within_s"),
    [
        (lambda: arm(60, 10, fails_every=1), {"unavailability", "errors"}, 10),
        (lambda: arm(60, 10, fails_every=3), {"errors"}, 20),
        (lambda: arm(60, 10, at=7), {"latency", "tail"}, 40),
    ],
)
def test_what_is_bad_is_found_while_it_is_watched(bad: Callable[[], list[Window]], triggers: set[str], within_s: int):
    canary, live = bad(), arm(60, 90)
    end = first_failure(canary, live)
    assert end is not None and end <= within_s
    judgement = judge(canary[:end], live[:end])
    failed = {finding.trigger for finding in judgement.findings if finding.verdict is Verdict.FAIL}
    assert failed & triggers


def test_harm_that_begins_in_the_middle_is_found():
    assert first_failure(arm(120, 20, fails_every=2, from_s=60), arm(120, 80), watch_s=120) in range(61, 90)


def test_an_outage_of_both_does_not_blame_the_canary():
    assert first_failure(arm(60, 20, fails_every=1), arm(60, 80, fails_every=1)) is None


@pytest.mark.parametrize("requests", [0, 1])
def test_too_little_traffic_is_unclear_even_when_all_of_it_is_healthy(requests: int):
    judgement = judge(arm(30, requests), arm(30, 40), watch_s=30)
    assert judgement.verdict is Verdict.UNCLEAR


def test_a_canary_that_answers_nothing_never_passes():
    assert judge(arm(60, 0), arm(60, 100)).verdict is Verdict.UNCLEAR


def test_no_windows_at_all_are_unclear():
    assert judge_canary([], [], objectives=OBJECTIVES, watch_s=0, elapsed_s=10).verdict is Verdict.UNCLEAR


def test_slowness_of_the_first_seconds_is_a_cold_start():
    canary = arm(5, 40, at=7) + [window(second, 40) for second in range(5, 60)]
    assert first_failure(canary, arm(60, 40)) is None


def test_alone_an_outage_fails_and_good_traffic_passes():
    def alone(windows: list[Window]) -> Judgement:
        return judge_alone(windows, objectives=OBJECTIVES, watch_s=30, elapsed_s=float(len(windows)))

    assert alone(arm(30, 40)).verdict is Verdict.PASS
    assert alone(arm(30, 40, fails_every=1)).verdict is Verdict.FAIL
    assert alone(arm(30, 0)).verdict is Verdict.UNCLEAR
    assert alone(arm(10, 40)).verdict is None


def test_alone_errors_that_were_there_before_are_not_blamed_on_the_release():
    before, after = arm(60, 40, fails_every=8), arm(30, 40, fails_every=8)
    judgement = judge_alone(after, objectives=OBJECTIVES, watch_s=30, elapsed_s=30, before=before)
    assert judgement.verdict is not Verdict.FAIL


@pytest.mark.parametrize(
    ("length_s", "failures", "verdict"), [(9, 28, None), (30, 28, Verdict.FAIL), (3, 40, None), (10, 40, Verdict.FAIL)]
)
def test_alone_a_hiccup_is_forgiven_and_an_outage_is_not(length_s: int, failures: int, verdict: Verdict | None):
    bad = [window(20 + second, 40, failures=failures) for second in range(length_s)]
    after = arm(20, 40) + bad
    judgement = judge_alone(after, objectives=OBJECTIVES, watch_s=60, elapsed_s=float(len(after)), before=arm(60, 40))
    assert judgement.verdict is verdict


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 200)), min_size=1, max_size=60))
def test_two_arms_that_answer_the_same_never_fail(rates: list[tuple[int, int]]):
    def same(place: int) -> list[Window]:
        return [window(second, rate[place]) for second, rate in enumerate(rates)]

    assert judge(same(0), same(1), watch_s=len(rates)).verdict is not Verdict.FAIL


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 200), st.integers(1, 60))
def test_too_few_requests_never_pass(seconds: int, spread: int):
    canary = [window(second, 1 if second % spread == 0 else 0) for second in range(seconds)]
    if sum(w.requests for w in canary) < OBJECTIVES.requests_min:
        assert judge(canary, arm(seconds, 50), watch_s=seconds).verdict is not Verdict.PASS


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("fails_every", [0, 1, 3])
def test_every_verdict_explains_itself_and_survives_the_ledger(language: Language, fails_every: int):
    judgement = judge(arm(60, 20, fails_every=fails_every), arm(60, 80))
    text = explain_judgement(judgement, language=language)
    assert str(judgement.verdict) in text and "|" in text and "?" not in text.splitlines()[0]
    assert read_judgement(judgement.as_dict()) == judgement
