"""What visitors saw is counted against the right release, and never forgiven."""

from hypothesis import given
from hypothesis import strategies as st

from deployments.demo.counting import Answer, count_harm, count_sent, failed_outside, percentile

GOOD, BAD = "a" * 64, "b" * 64


def answer(
    at: float, *, release: str = GOOD, status: int = 200, ms: float = 5.0, site: str = "alpha", why: str | None = None
) -> Answer:
    said = why if why is not None else ("" if status == 200 else f"status {status} instead of 200")
    return Answer(at=at, site=site, what="ticket", status=status, ms=ms, release=release, why=said)


def test_a_failure_of_the_bad_release_is_not_outside():
    assert failed_outside([answer(1, release=BAD, status=500)], bad=BAD) == []


def test_a_failure_of_the_good_release_is_outside():
    assert len(failed_outside([answer(1, status=500)], bad=BAD)) == 1


def test_an_answer_that_never_came_is_outside_whoever_is_to_blame():
    lost = answer(1, release="", status=0, why="answer: nothing within 10 s")
    assert failed_outside([lost], bad=BAD) == [lost]


def test_without_a_bad_release_an_answer_without_a_name_is_still_outside():
    assert len(failed_outside([answer(1, release="", status=502)], bad="")) == 1


def test_a_request_that_was_not_sent_is_a_failure_but_no_request():
    skipped = Answer(
        at=1, site="alpha", what="skipped", status=0, ms=0, release="", why="500 requests are running already"
    )
    assert count_sent([skipped, answer(2)]) == 1
    assert failed_outside([skipped], bad=BAD) == [skipped]


def test_harm_is_what_failed_and_what_was_much_slower_than_beside_it():
    answers = [answer(at / 10, ms=10) for at in range(100)]
    answers += [answer(1.0, release=BAD, status=500), answer(2.0, release=BAD, ms=250), answer(3.0, release=BAD, ms=15)]
    harm = count_harm(answers, bad=BAD, primary="alpha")
    assert (harm.requests, harm.failed, harm.slow, harm.harmed) == (3, 1, 1, 2)
    assert (harm.first_at, harm.last_at) == (1.0, 3.0)


def test_the_first_visitor_is_the_first_on_the_primary_and_the_last_is_the_last_anywhere():
    answers = [answer(1.0, release=BAD, site="beta"), answer(2.0, release=BAD), answer(4.0, release=BAD, site="beta")]
    harm = count_harm(answers, bad=BAD, primary="alpha")
    assert (harm.first_at, harm.last_at, harm.on_primary) == (2.0, 4.0, 1)


def test_a_release_that_answered_nobody_harmed_nobody():
    harm = count_harm([answer(1)], bad=BAD, primary="alpha")
    assert (harm.requests, harm.harmed, harm.first_at) == (0, 0, None)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values(values: list[float], share: float):
    assert percentile(values, share) in values


@given(
    st.lists(
        st.builds(
            lambda at, bad, failed: answer(at, release=BAD if bad else GOOD, status=500 if failed else 200),
            st.floats(0, 1e3),
            st.booleans(),
            st.booleans(),
        )
    )
)
def test_every_failure_is_counted_exactly_once(answers: list[Answer]):
    failures = sum(one.is_failed for one in answers)
    outside = len(failed_outside(answers, bad=BAD))
    assert outside + count_harm(answers, bad=BAD, primary="alpha").failed == failures
