"""The page of a clean-up answers on one screen: what would go, what went, why somebody is asked, what became free."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.cleanup import Plan, Preview
from domain.cleanup_report import explain_cleanup, waiting_lines, write_bytes

PREVIEW = Preview(
    "batches", 1200, 3_000_000, 10_000, "2024-01-01", "2024-06-30", ("id=1|x",), (("public.comments", 7),), 3
)
PLAN = Plan("desk", "production", "old-tickets", "a" * 64, "h", "2025-07-01T00:00:00+00:00", PREVIEW).as_dict()
ASKS = [["cleanup.reason_rows", {"rows": 1200, "most": 1000}], ["cleanup.reason_unapproved", {}]]


def outcome(**changes: Any) -> dict[str, Any]:
    told = {"application": "desk", "environment": "production", "policy": "old-tickets", "problem": "", "plan": PLAN}
    return {**told, "course": "ask", "reasons": ASKS, "done": None, **changes}


def test_what_waits_shows_figures_reasons_range_sample_and_both_hashes():
    page = explain_cleanup([outcome()])
    assert "| desk/production | old-tickets | 1200 | 12.0 % | 2.861 MiB | waits for an approval:" in page
    assert "1,200 rows, the cap is 1,000." in page and "Nobody has approved" in page
    assert "2024-01-01 to 2024-06-30" in page and "Kept by holds: 3" in page and "public.comments 7" in page
    assert "`id=1\\|x`" in page and "a" * 16 in page and PLAN["hash"][:16] in page and "data:image" not in page
    (line,) = waiting_lines([outcome(), outcome(course="nothing"), outcome(problem="lost")])
    assert "old-tickets of desk: 1200 rows" in line and PLAN["hash"][:16] in line


def test_what_went_and_what_failed_say_so_and_a_pipe_breaks_no_table():
    done = {"rows": 1200, "size_bytes": 2048, "left_rows": 2}
    page = explain_cleanup([outcome(done=done), outcome(plan=None, problem="no table 'a|b'\nat all")])
    assert "| 1200 | 12.0 % | 2 KiB | deleted and proven; 2 rows left |" in page
    assert "**Failed:** no table 'a\\|b' at all |" in page


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_plot_is_small_and_comes_with_the_second_run(language: Any):
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    freed = [(begun + timedelta(days=day), 1e6 * day) for day in range(400)]
    assert "data:image" not in explain_cleanup([outcome()], freed[:1], language=language)
    page = explain_cleanup([outcome()], freed, language=language)
    assert "![" in page and "data:image/svg+xml;base64," in page and len(page) < 200_000


def test_no_policies_is_said_in_words():
    assert "Nothing has a clean-up policy" in explain_cleanup([])


def test_bytes_are_written_as_people_read_them():
    assert [write_bytes(size) for size in (0, 1023, 2048, 5 * 1024**4)] == ["0 B", "1023 B", "2 KiB", "5 TiB"]
