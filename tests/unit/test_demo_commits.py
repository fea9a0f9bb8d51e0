"""The demo's commits are real changes of the helpdesk: they fit, they are new each time, and the bad one is bad."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.forge_local import LocalForge
from deployments.demo import commits

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.fixture
def forge(tmp_path: Path) -> LocalForge:
    forge = LocalForge(bare=tmp_path / "helpdesk.git", work=tmp_path / "work")
    forge.ensure()
    return forge


def test_the_baseline_is_the_helpdesk_of_this_repository(forge: LocalForge):
    commits.push_baseline(forge)
    for name in ("slipway.toml", "helpdesk/app.py", "migrations/0001_desk.sql"):
        assert (forge.work / name).read_bytes() == (commits.HELPDESK / name).read_bytes()
    assert not list(forge.work.rglob("*.pyc"))


def test_each_demo_pushes_new_commits_with_new_migrations(forge: LocalForge):
    shas = [commits.push_baseline(forge).sha]
    for _ in range(2):
        shas += [commits.push_good(forge, now=NOW).sha, commits.push_bad(forge).sha]
        forge.ensure()
    assert len(set(shas)) == 5
    numbers = [int(path.name[:4]) for path in sorted((forge.work / "migrations").glob("*.sql"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_next_good_commit_takes_the_bad_change_back(forge: LocalForge):
    commits.push_baseline(forge)
    commits.push_bad(forge)
    assert "list_similar" in (forge.work / "helpdesk/tickets.py").read_text()
    commits.push_good(forge, now=NOW)
    assert "list_similar" not in (forge.work / "helpdesk/tickets.py").read_text()


def test_the_news_of_a_good_commit_stand_first(forge: LocalForge):
    commits.push_baseline(forge)
    title = commits.push_good(forge, now=NOW).title.removeprefix("news: ")
    first = re.findall(r"^## (.*)$", (forge.work / "NEWS.md").read_text(), flags=re.MULTILINE)[0]
    assert first.lower() == title


def test_the_bad_change_is_slow_and_fails_only_beyond_ascii(forge: LocalForge):
    commits.push_baseline(forge)
    commits.push_bad(forge)
    code = (forge.work / "helpdesk/tickets.py").read_text()
    assert "pg_sleep(0.2)" in code and '.encode("ascii")' in code
    smoke_paths = (commits.HELPDESK / "slipway.toml").read_text().partition("[smoke]")[2].partition("\n\n")[0]
    assert not re.search(r"tickets/\d", smoke_paths)


def test_texts_of_notices_need_no_quoting_in_sql():
    assert not [text for notice in commits._NOTICES for text in notice if "'" in text]  # pyright: ignore[reportPrivateUsage]
