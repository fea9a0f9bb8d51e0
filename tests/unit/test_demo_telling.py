"""The timeline tells entries in both languages, and leaves out what a person would not miss."""

from datetime import UTC, datetime
from typing import Any

import pytest

from deployments.demo.telling import tell_entry
from domain.catalogue import LANGUAGES, say
from domain.ledger import Entry, Event, chain_entry

RELEASE = "ab" * 32
JUDGEMENT = {
    "verdict": "FAIL",
    "cause": "judgement.errors",
    "watched_s": 6.0,
    "step": 1,
    "findings": [
        {
            "trigger": "errors",
            "verdict": "FAIL",
            "figures": {"canary_requests": 50, "canary_failures": 7, "canary_ratio": 0.14, "live_ratio": 0.0},
        }
    ],
}


def entry(kind: str, *, environment: str = "production", site: str = "", **data: Any) -> Entry:
    event = Event(
        kind, application="helpdesk", environment=environment, site=site, release=RELEASE, actor="ann", data=data
    )
    return chain_entry(None, datetime(2026, 1, 31, tzinfo=UTC), event)


TOLD = [
    entry("check.ended", environment="", name="unit", layer="unit", result="passed", milliseconds=1200),
    entry("check.ended", environment="", name="integration", layer="integration", result="failed", milliseconds=1200),
    entry("build.ended", environment="", name="build", layer="build", result="passed", milliseconds=10),
    entry("ci.failed", environment="", cause="Check 'unit' failed"),
    entry("release.pinned", manifest={"commit": "c" * 40, "bundle": {"size_bytes": 5_000_000}}),
    entry("proof.given", environment="test", what="acceptance tests", result="passed", milliseconds=6100),
    entry("traffic.shifted", site="alpha", shares={"abababababab": 10, "cdcdcdcdcdcd": 90}),
    entry("verdict.given", **JUDGEMENT),
    entry("rollout.completed"),
    entry("rollout.completed", environment="test"),
    entry("rollout.rolled_back", to="cd" * 32, verified="yes"),
    entry("approval.requested", gate="production-1", deadline="2026-01-31T12:00:00+00:00", url="http://127.0.0.1/x"),
    entry("approval.granted", decision="approve"),
    entry("approval.refused", reason="The code was used before."),
    entry("cd.stopped", outcome="rolled_back", cause="too many\nerrors"),
    entry("digest.blocked", reason="errors"),
    entry("incident.opened", severity="P2", title="production came back", cause="errors"),
    entry("rollback.authorised", reason="night"),
    entry("rollback.completed", verified="yes"),
]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("told", TOLD, ids=lambda one: f"{one.kind} {one.event.environment}")
def test_each_of_these_becomes_a_line(told: Entry, language: Any):
    line = tell_entry(told, language=language)
    assert line is not None
    assert say(f"demo.{line.key}", language=language, **line.values)


def test_shares_name_the_smaller_one_first_and_what_the_demo_calls_it():
    shifted = next(one for one in TOLD if one.kind == "traffic.shifted")
    line = tell_entry(shifted, language="en", names={RELEASE: "good"})
    assert line is not None and line.values["shares"] == "10 % abababababab (good), 90 % cdcdcdcdcdcd"


def test_a_verdict_says_its_figures():
    line = tell_entry(next(one for one in TOLD if one.kind == "verdict.given"), language="en")
    assert line is not None and line.mark == "bad"
    assert "14 % of its requests (7 of 50)" in line.values["report"]


@pytest.mark.parametrize(
    "left_out",
    [
        entry("traffic.begun", site="alpha", shares={}),
        entry("traffic.shifted", environment="staging", site="main", shares={"ab": 100}),
        entry("proof.given", what="health", result="passed", milliseconds=1),
        entry("notification.sent"),
    ],
    ids=lambda one: f"{one.kind} {one.event.environment}",
)
def test_the_rest_is_left_to_the_history(left_out: Entry):
    assert tell_entry(left_out, language="en") is None
