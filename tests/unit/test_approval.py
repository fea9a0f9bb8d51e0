"""Who may decide, what an approval binds, and what its form says."""

import pickle
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.approval import (
    Difference,
    Evidence,
    Shown,
    code,
    compare_configuration,
    escape,
    explain_request,
    judge_person,
)
from domain.catalogue import LANGUAGES, Language
from domain.delivery import Commit
from domain.ports import Approver

SHOWN = Shown(
    application="desk",
    environment="production",
    release="a" * 64,
    commit="b" * 40,
    live="c" * 64,
    requester="bob",
    commits=(Commit("b" * 40, "Bob", "bob@example.org", "Answer faster | `now`"),),
    configuration=(Difference("service.instances", "2", "3"),),
    migrations=("0002_add.sql",),
    evidence=(Evidence("test", "acceptance tests", "passed", 3200),),
)


@pytest.mark.parametrize(
    ("approver", "requesters", "refusal"),
    [
        (None, [], "unknown"),
        (Approver("ann"), ["bob"], None),
        (Approver("ann", roles=()), ["bob"], "role"),
        (Approver("ann", roles=("administrator",)), ["bob"], None),
        (Approver("ann"), ["ANN"], "self"),
        (Approver("ann", logins=("Ann.Lee", "ann@example.org")), ["ann.lee"], "self"),
        (Approver("ann", logins=("ann@example.org",)), ["x", "Ann@Example.org"], "self"),
        (Approver("ann", logins=("",)), [""], None),
    ],
)
def test_who_may_decide(approver: Approver | None, requesters: list[str], refusal: str | None):
    assert judge_person(approver, role="approver", requesters=requesters) == refusal


def test_an_approver_is_no_administrator():
    assert judge_person(Approver("ann"), role="administrator", requesters=[]) == "role"


@pytest.mark.parametrize(
    "change",
    [
        {"release": "d" * 64},
        {"live": "d" * 64},
        {"live": ""},
        {"configuration": ()},
        {"migrations": ()},
        {"evidence": ()},
        {"commits": ()},
        {"requester": "eve"},
        {"image": "sha256:1"},
        {"environment": "staging"},
        {"requesters": ("bob", "eve")},
        {"is_push_signed": True},
        {"configuration_hash": "1"},
        {"settings_version": 1},
        {"secrets": ("KEY@1",)},
    ],
)
def test_any_change_of_what_was_shown_changes_the_hash(change: dict[str, object]):
    assert replace(SHOWN, **change).hash != SHOWN.hash
    assert replace(SHOWN).hash == SHOWN.hash


def test_every_field_of_what_is_shown_has_a_part_in_the_hash():
    """A field that is added later without a part in the hash would be shown and bind nobody."""
    for field in fields(Shown):
        value = getattr(SHOWN, field.name)
        other = not value if isinstance(value, bool) else value + type(value)(1) if isinstance(value, int) else None
        other = other if other is not None else ("x" if isinstance(value, str) else ("x",))
        assert replace(SHOWN, **{field.name: other}).hash != SHOWN.hash, field.name


def test_what_an_earlier_version_kept_is_read_and_is_not_taken_for_what_is_shown_now():
    """A gate waits over an upgrade: the fields of that time, as they were pickled."""
    names = [field.name for field in fields(Shown)]
    old = Shown.__new__(Shown)
    old.__setstate__([getattr(SHOWN, name) for name in names[: names.index("image") + 1]])
    assert old == SHOWN and explain_request(old, deadline="x")
    assert old.hash != replace(SHOWN, configuration_hash="1").hash
    assert pickle.loads(pickle.dumps(SHOWN)) == SHOWN


def test_the_form_answers_on_one_screen():
    text = explain_request(SHOWN, deadline="2026-01-31 12:00:00 UTC")
    for needed in ("desk", "production", "a" * 64, "c" * 12, "bob", "service.instances", "0002_add.sql", "Silence"):
        assert needed in text
    assert "acceptance tests" in text and "3.2" in text
    assert len(text.splitlines()) < 60


def test_a_refusal_stands_at_the_top_when_it_is_asked_again():
    text = explain_request(SHOWN, deadline="later", refusal="The code was wrong.")
    assert text.index("The code was wrong.") < text.index("a" * 12)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_form_speaks_every_language(language: Language):
    assert "desk" in explain_request(replace(SHOWN, live="", commits=()), deadline="x", language=language)


def test_configuration_is_compared_by_dotted_key():
    before = {"service": {"instances": 2, "command": ["a", "b"]}, "check": [{"name": "unit", "limit_s": 1}], "gone": 1}
    after = {"service": {"instances": 3, "command": ["a", "b"]}, "check": [{"name": "unit", "limit_s": 2}], "new": True}
    assert compare_configuration(before, after) == (
        Difference("check.0.limit_s", "1", "2"),
        Difference("gone", "1", ""),
        Difference("new", "", "True"),
        Difference("service.instances", "2", "3"),
    )
    assert compare_configuration(None, {"a": 1}) == (Difference("a", "", "1"),)


@given(st.text(max_size=300))
def test_foreign_text_can_neither_break_a_table_nor_make_a_link(text: str):
    for shown in (escape(text), code(text)):
        assert "\n" not in shown and "<" not in escape(text)
        assert "|" not in shown.replace("\\|", "")
        assert "](" not in shown.replace("\\]", "") or shown.startswith("`")
