from datetime import UTC, datetime, timedelta

import pytest
from helpdesk.articles import FOUND_END, FOUND_START
from helpdesk.news import FILE, News, read_news
from helpdesk.pages import make_initials, mark_found, say_age, warm_up

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7199, "1 hour ago"),
        (7200, "2 hours ago"),
        (200_000, "2 days ago"),
    ],
)
def test_age_is_said_as_people_do(seconds: int, words: str):
    assert say_age(NOW - timedelta(seconds=seconds), NOW) == words


def test_found_words_are_marked_and_nothing_else_becomes_markup():
    excerpt = f"<script>{FOUND_START}pay{FOUND_END}</script>"
    assert mark_found(excerpt) == "&lt;script&gt;<mark>pay</mark>&lt;/script&gt;"


@pytest.mark.parametrize(("name", "letters"), [("Ann", "A"), ("mara von Lindqvist", "ML"), ("  ", "?"), ("王芳", "王")])
def test_initials(name: str, letters: str):
    assert make_initials(name) == letters


def test_the_first_entry_is_the_news():
    assert read_news("# News\n\n## New\n\nText.\n\n## Old\n\nOther.\n") == News("New", "Text.")


def test_no_entry_is_no_news():
    assert read_news("# News\n") is None


def test_our_news_can_be_read():
    assert read_news(FILE.read_text(encoding="utf-8")) is not None


def test_every_template_compiles():
    warm_up()
