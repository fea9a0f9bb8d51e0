"""What approvers read, to the letter. After a deliberate change: `SLIPWAY_GOLDEN=write pytest tests/golden`; look."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from domain.approval import Difference, Evidence, Shown, explain_request
from domain.catalogue import LANGUAGES, Language
from domain.cost import Cost, Costs
from domain.delivery import Commit
from domain.scaling import SizeShown, explain_size
from domain.size import MIB, Size
from flows.asking import explain_course

FOLDER = Path(__file__).parent

SHOWN = Shown(
    application="helpdesk",
    environment="production",
    release="3f2a9c41d07e" + "5" * 52,
    commit="9b1d3c7e" + "0" * 32,
    live="a41be09c5d22" + "7" * 52,
    requester="bob",
    commits=(
        Commit("9b1d3c7e" + "0" * 32, "Bob Doe", "bob@example.org", "Search articles by title too"),
        Commit("77aa0c12" + "0" * 32, "Eve | Roe", "eve@example.org", "[x](http://example.org) <b>bold</b>\nmore"),
    ),
    configuration=(Difference("service.environment.PAGE_SIZE", "20", "50"),),
    migrations=("0004_article_title_index.sql",),
    evidence=(
        Evidence("test", "acceptance tests", "passed", 4120),
        Evidence("staging", "health and smoke test, main", "passed", 930),
    ),
    is_push_signed=True,
    settings_version=3,
    secrets=("MAIL_KEY@2",),
)


def compare(name: str, text: str) -> None:
    path = FOLDER / name
    if os.environ.get("SLIPWAY_GOLDEN") == "write":
        path.write_text(text + "\n")
    assert path.read_text() == text + "\n"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_approval_form(language: Language):
    text = explain_request(SHOWN, deadline="2026-01-31 18:00:00 UTC", language=language)
    compare(f"approval.{language}.md", text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_form_of_a_change_of_size(language: Language):
    now, then = Size(2, None, None, 1), Size(4, 512 * MIB, None, 1)
    sites = ("alpha", "beta")
    shown = SizeShown("helpdesk", "production", SHOWN.live, sites, Size(), then, now, then, "sale on Friday", "bob")
    shown = replace(shown, costs=Costs(Cost(80, ("memory_bytes",)), Cost(172.8)))
    compare(f"scale.{language}.md", explain_size(shown, deadline="2026-01-31 18:00:00 UTC", language=language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_question_after_an_unclear_watch(language: Language):
    text = explain_course(
        SHOWN, deadline="2026-01-31 18:00:00 UTC", refusal="The code was wrong.", language=language, report="(verdict)"
    )
    compare(f"course.{language}.md", text)
