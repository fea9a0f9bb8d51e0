"""The rules of clean-up: policies as people write them, pace, what is needed, holds."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.memory_ledger import MemoryLedger
from domain.application import parse_application
from domain.archive import check_prefix, find_unfinished
from domain.cleanup import PAUSE_S_MAX, Caps, Course, Load, Plan, Preview, judge_plan, next_pause, read_plan
from domain.cleanup_policy import CleanupPart, parse_policies
from domain.errors import ConfigError
from domain.ledger import Event
from domain.needed import explain_bundles, explain_needed

SMALLEST = """
[application]
name = "shop"
[[check]]
name = "unit"
command = ["true"]
[service]
command = ["serve"]
[database]
migrate = ["migrate"]
[[cleanup]]
name = "old"
table = "orders"
age_column = "at"
older_than_days = 30
"""


def test_the_smallest_policy_is_read_with_careful_defaults():
    (policy,) = parse_application(SMALLEST).cleanup
    assert (policy.archive, policy.batch_rows, policy.lock_timeout_s, policy.share_percent_max) == (False, 1000, 2, 10)


RUBBISH = [
    ("older_than_days = 0", "older_than_days"),
    ("older_than_days = 30\nbatch = 5", "unknown key 'cleanup.0.batch'"),
    ("older_than_days = 30\nshare_percent_max = 120", "share_percent_max"),
    ("older_than_days = 30\nrows_max = 0", "rows_max"),
    ('older_than_days = 30\nchildren = ["orders"]', "named twice"),
    ('older_than_days = 30\nholds = [{column = "x", values = [1]}]', "reason"),
    ('older_than_days = 30\nonly = [{column = "x", values = []}]', "values"),
    ('older_than_days = 30\nonly = [{column = "a\\"b", values = [1]}]', "column"),
    ('older_than_days = "soon"', "older_than_days"),
]


@pytest.mark.parametrize("text, told", RUBBISH)
def test_rubbish_is_refused_with_its_key(text: str, told: str):
    with pytest.raises(ConfigError, match=r"slipway\.toml") as found:
        parse_application(SMALLEST.replace("older_than_days = 30", text))
    assert told in str(found.value)


def test_two_of_one_name_and_one_without_a_database_are_refused():
    twice = SMALLEST + SMALLEST[SMALLEST.index("[[cleanup]]") :]
    with pytest.raises(ConfigError, match="same name"):
        parse_application(twice)
    with pytest.raises(ConfigError, match="needs a"):
        parse_application(SMALLEST.replace('[database]\nmigrate = ["migrate"]\n', ""))


@pytest.mark.parametrize(
    "text", ["cleanup: [{name: x}]", "- a", "cleanup: [", "other: []", "things: [{name: a, kind: b}]"]
)
def test_a_bad_file_of_slipway_s_own_is_refused_by_name(text: str):
    with pytest.raises(ConfigError, match=r"cleanup\.yaml"):
        parse_policies(text, file="cleanup.yaml")


def test_every_word_of_a_policy_is_in_its_hash():
    (policy,) = parse_application(SMALLEST).cleanup
    changes: list[dict[str, Any]] = [
        {"older_than_days": 29},
        {"rows_max": 5},
        {"holds": [{"column": "a", "values": ["1"], "reason": "court"}]},
        {"archive": True},
        {"children": ["lines"]},
    ]
    hashes = {CleanupPart.model_validate({**policy.model_dump(), **change}).hash for change in changes}
    assert len(hashes) == len(changes) and policy.hash not in hashes


@given(st.lists(st.floats(0, 2), max_size=60), st.floats(0, 0.2))
def test_rests_stay_within_their_bounds_and_come_back(latencies: list[float], least_s: float):
    pause_s = least_s
    limits = {"baseline_s": 0.01, "least_s": least_s, "latency_ratio_max": 2.0, "replica_lag_s_max": 10.0}
    for latency_s in latencies:
        pause_s = next_pause(pause_s, Load(latency_s), **limits)
        assert least_s <= pause_s <= PAUSE_S_MAX
    for _ in range(40):
        pause_s = next_pause(pause_s, Load(0.01), **limits)
    assert pause_s == pytest.approx(least_s, abs=1e-3)


def test_a_replica_that_is_behind_makes_the_rests_longer():
    limits = {"baseline_s": 0.01, "least_s": 0.1, "latency_ratio_max": 2.0, "replica_lag_s_max": 10.0}
    assert next_pause(0.1, Load(0.01, 11.0), **limits) == 0.2
    assert next_pause(0.1, Load(0.01, 9.0), **limits) == 0.1


def test_a_plan_survives_the_ledger_and_keeps_its_hash():
    preview = Preview("batches", 3, 100, 10, "a", "b", ("id=1",), (("public.x", 2),), 1)
    plan = Plan("desk", "production", "old", "p", "h", "2026-01-01T00:00:00+00:00", preview)
    entry = MemoryLedger().append(Event("cleanup.planned", data=plan.as_dict()))
    assert read_plan(entry.data) == plan and read_plan(entry.data).hash == entry.data["hash"]


def test_nothing_is_done_where_nothing_expired_and_asked_where_nobody_approved():
    now, caps = datetime.now(UTC), Caps(10, 50, 1000)
    empty = Plan("desk", "production", "old", "p", "h", "c", Preview("batches", 0, 0, 10))
    some = Plan("desk", "production", "old", "p", "h", "c", Preview("batches", 1, 10, 10))
    assert judge_plan(empty, caps, [], now=now).course is Course.NOTHING
    assert judge_plan(some, caps, [], now=now).reasons == (("cleanup.reason_unapproved", {}),)


def test_what_was_live_runs_or_is_on_its_way_is_needed_and_nothing_else():
    ledger = MemoryLedger()
    digests = {name: name * 64 for name in "abcde"}
    for name, digest in digests.items():
        manifest = {"bundle": {"sha256": name * 64}}
        ledger.append(Event("release.pinned", application="desk", release=digest, data={"manifest": manifest}))
    place = {"application": "desk", "environment": "production"}
    ledger.append(Event("rollout.completed", **place, release=digests["a"], run="r1"))
    ledger.append(Event("rollout.begun", **place, release=digests["b"], run="r2"))
    ledger.append(Event("rollout.begun", **place, release=digests["c"], run="r3"))
    needed = explain_needed(ledger.entries(), running={digests["d"]: "staging/main"}, ended={"r1", "r3"})
    kept = explain_bundles(ledger.entries(kinds=["release.pinned"]), needed)
    assert sorted(key.removeprefix("bundles/desk/")[0] for key in kept) == ["a", "b", "d"]


def test_an_archive_is_unfinished_until_its_rows_are_deleted():
    ledger = MemoryLedger()
    for kind, prefix in (("archive.begun", "x/"), ("archive.written", "x/"), ("archive.begun", "y/")):
        ledger.append(Event(kind, data={"policy": "old", "prefix": prefix}))
    ledger.append(Event("deletion.completed", data={"policy": "old", "prefix": "x/"}))
    ledger.append(Event("archive.begun", data={"policy": "other", "prefix": "z/"}))
    assert find_unfinished(ledger.entries(), policy="old") == ["y/"]


@pytest.mark.parametrize("given_", ["", "desk/production/p", "shop/production/p/r/00001", "desk/production/../r/00001"])
def test_an_archive_of_another_place_is_refused(given_: str):
    with pytest.raises(ConfigError, match="no archive of desk"):
        check_prefix(given_, application="desk", environment="production")
