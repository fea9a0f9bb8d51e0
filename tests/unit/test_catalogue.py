"""Every text exists in both languages and names the same values."""

import string

import pytest

from domain.catalogue import LANGUAGES, all_texts, say

TEXTS = all_texts()


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", sorted(TEXTS))
def test_both_languages_say_the_same_values(key: str):
    english, chinese = TEXTS[key]
    assert english.strip() and chinese.strip()
    assert fields(english) == fields(chinese)


@pytest.mark.parametrize("key", sorted(TEXTS))
def test_a_key_begins_with_its_noun(key: str):
    assert "." in key and key == key.lower()


def test_an_unknown_key_is_an_error():
    with pytest.raises(KeyError):
        say("nothing.here", language=LANGUAGES[0])


def test_every_language_can_be_chosen():
    assert say("approval.release", language="en") == "Release"
    assert say("approval.release", language="zh") == "版本"
