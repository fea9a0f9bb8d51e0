"""Restores in an emergency: which moment, from which backup, what an approval binds, what lets a run do it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.backup import Backup, BackupKind, BackupState
from domain.drill import failed, passed
from domain.errors import ConfigError, RefusedError
from domain.ledger import Entry, Event
from domain.restore import (
    Comparison,
    Course,
    Prepared,
    Reach,
    RestoreShown,
    Wanted,
    choose_course,
    compare_tables,
    database_name,
    find_restore_authority,
    judge_fitness,
    kept_name,
    open_restores,
    read_prepared,
    read_wanted,
)
from domain.restore_report import explain_preview, explain_request, explain_restored

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
REACH = Reach("0/9000000", NOW, "here")


def backup(
    id: str, hours: float, *, state: BackupState = BackupState.DONE, kind: BackupKind = BackupKind.FULL
) -> Backup:
    ended = NOW - timedelta(hours=hours)
    lsn = f"0/{int(80 - hours):x}00000".upper()
    return Backup(id, kind, state, "memory", "1", ended - timedelta(minutes=1), ended, end_lsn=lsn, target_lsn=lsn)


BACKUPS = [
    backup("old", 48),
    backup("mid", 24),
    backup("new", 2),
    backup("killed", 1, state=BackupState.STARTED),
    backup("dump", 1, kind=BackupKind.DUMP),
]


def choose(to: str, **options: Any) -> Course:
    return choose_course(read_wanted(to, now=NOW), BACKUPS, reach=options.pop("reach", REACH), asked=to, **options)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("latest", Wanted("latest")),
        ("backup:new", Wanted("backup", "new")),
        ("0/5000028", Wanted("lsn", "0/5000028")),
        ("2026-06-01T10:00:00Z", Wanted("time", "2026-06-01T10:00:00+00:00")),
        ("2026-06-01 12:00:00+02:00", Wanted("time", "2026-06-01T10:00:00+00:00")),
    ],
)
def test_a_moment_is_a_time_with_its_zone_a_place_a_backup_or_latest(text: str, wanted: Wanted):
    assert read_wanted(text, now=NOW) == wanted


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("2026-06-01T10:00:00", ConfigError, "no time zone. If you mean UTC, write 2026-06-01T10:00:00\\+00:00"),
        ("2026-06-01T12:05:00Z", RefusedError, "5 min in the future|300 s in the future"),
        ("yesterday", ConfigError, "says no moment"),
        ("", ConfigError, "says no moment"),
        ("backup:", ConfigError, "says no moment"),
        ("zz/5", ConfigError, "is no LSN"),
    ],
)
def test_what_is_no_moment_is_refused_with_what_to_write(text: str, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        read_wanted(text, now=NOW)


def test_the_newest_finished_backup_from_before_the_moment_is_taken():
    assert choose("2026-06-01T11:59:00Z").backup == "new"
    assert choose("2026-06-01T09:00:00Z").backup == "mid"
    assert choose("latest").words == "name here"
    assert choose("backup:mid").target is None
    assert choose("2026-06-01T11:59:00Z", only="old").backup == "old"


@pytest.mark.parametrize(
    ("to", "nearest"),
    [
        ("2026-05-30T11:00:00Z", r"nearest place is to=2026-05-30T12:00:00\+00:00"),
        ("0/100", "nearest place is to=0/20"),
        ("0/9900000", "nearest place is to=0/9000000"),
    ],
)
def test_a_place_that_can_not_be_reached_is_refused_with_the_nearest_one(to: str, nearest: str):
    with pytest.raises(RefusedError, match=nearest):
        choose(to)


def test_a_moment_behind_the_archived_log_is_refused_with_its_end():
    reach = Reach("0/9000000", NOW - timedelta(hours=1))
    with pytest.raises(RefusedError, match=r"nearest place is to=2026-06-01T11:00:00\+00:00"):
        choose("2026-06-01T11:30:00Z", reach=reach)
    with pytest.raises(RefusedError, match="nearest moment"):
        choose("latest", reach=reach)


def test_an_unknown_backup_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match="old, mid, new"):
        choose("backup:killed")
    with pytest.raises(ConfigError, match="old, mid, new"):
        choose("latest", only="nothing")
    with pytest.raises(RefusedError, match="no finished backup"):
        choose_course(Wanted("latest"), [], reach=REACH, asked="latest")


def test_rows_are_lost_come_back_or_change_by_their_keys():
    found = compare_tables("t", (3, "a", ""), (3, "b", ""), rows=({1: 1, 2: 2, 3: 3}, {2: 2, 3: 9, 4: 4}))
    assert (found.lost, found.changed, found.back) == (1, 1, 1)
    same = compare_tables("t", (3, "a", ""), (3, "a", "x"))
    assert same.is_same and same.lost == same.changed == same.back == 0
    unknown = compare_tables("t", (3, "a", ""), (4, "b", ""))
    assert unknown.lost is None and not Comparison((unknown,)).is_counted
    gone = compare_tables("t", None, (4, "b", ""))
    assert (gone.lost, gone.back) == (0, 4)
    unreadable = compare_tables("t", None, (4, "b", ""), problem="invalid page")
    assert unreadable.lost is None


def prepared(**changes: Any) -> Prepared:
    table = compare_tables("public.article", (7, "a", ""), (10, "b", ""), rows=({1: 1}, {1: 2, 2: 2, 3: 3, 4: 4}))
    checks = (passed("restore.files", "restored", seconds=1.2, backup="new"),)
    course = choose("2026-06-01T11:59:00Z")
    facts = {"digest": "d" * 64, "reached": "0/5000000", "moment": NOW.isoformat(), "rows": 10}
    return replace(Prepared(course, checks, comparison=Comparison((table,), 100, 200)), **{**facts, **changes})


def shown(**changes: Any) -> RestoreShown:
    first = RestoreShown("restore", "desk", "production", prepared(), "f" * 64, "16384", "DELETE without WHERE", "bob")
    return replace(first, **changes)


def test_what_was_prepared_is_read_back_as_it_was_written():
    assert read_prepared(prepared().as_dict()) == prepared()


def test_an_approval_binds_what_comes_and_what_goes_but_not_what_people_write_meanwhile():
    first = shown()
    others: list[dict[str, Any]] = [
        {"live": "e" * 64},
        {"identity": "16385"},
        {"reason": "x"},
        {"requester": "eve"},
        {"migrations": ("1",)},
        {"prepared": prepared(digest="c" * 64)},
        {"act": "undo", "kept": "abc"},
    ]
    assert len({first.hash, *(shown(**change).hash for change in others)}) == len(others) + 1
    assert shown(prepared=prepared(comparison=Comparison()), log_bytes=9).hash == first.hash


def test_damage_forbids_to_take_over_and_old_data_do_not():
    assert prepared().is_usable
    old = failed("expectations.desk.fresh", "expectations_failed", count=1, failed="too old")
    assert prepared(checks=(old,)).is_usable
    assert not prepared(checks=(failed("pages.checksums", "tool_found", tool="t", found="1"),)).is_usable
    assert not prepared(digest="").is_usable


def entry(seq: int, kind: str, run: str, at: datetime = NOW, **data: Any) -> Entry:
    return Entry(
        seq=seq, at=at, event=Event(kind, "desk", "production", run=run, actor="ann", data=data), hash="", prev_hash=""
    )


def test_only_an_approval_of_this_run_for_this_content_lets_it_exchange():
    entries = [entry(1, "restore.granted", "r1", digest="d")]
    assert "ann" in find_restore_authority(entries, run="r1", digest="d")
    assert not find_restore_authority(entries, run="r2", digest="d")
    assert not find_restore_authority(entries, run="r1", digest="e")


def test_a_restore_is_open_until_it_is_completed_or_stopped():
    begun = [entry(1, "restore.begun", "r1", act="restore"), entry(2, "restore.begun", "r2", act="undo", kept="abc")]
    assert [(one.run, one.act, one.kept) for one in open_restores(begun)] == [
        ("r1", "restore", ""),
        ("r2", "undo", "abc"),
    ]
    ended = [entry(3, "restore.completed", "r1"), entry(4, "restore.stopped", "r2")]
    assert open_restores([*begun, *ended]) == []


def test_a_release_is_told_which_of_its_migrations_the_moment_lacks_and_which_it_does_not_know():
    entries = [
        entry(1, "migration.ended", "r0", NOW - timedelta(days=2), result="applied", migrations=["1"], needs=None),
        entry(2, "migration.ended", "r1", NOW, result="applied", migrations=["1", "2"], needs=["1"], about=["2"]),
    ]
    moment = NOW - timedelta(hours=1)
    assert judge_fitness(["1", "2"], entries, moment=moment) == (("2",), "")
    assert judge_fitness(["1", "2"], entries, moment=NOW) == ((), "")
    lacking, unfit = judge_fitness(["3"], entries, moment=moment)
    assert lacking == ("3",) and "migration 1" in unfit
    assert judge_fitness(["1"], entries, moment=None) == ((), "")


def test_names_beside_are_short_enough_or_refused():
    assert kept_name("a" * 31, "production", "12345678").startswith(database_name("a" * 31, "production"))
    with pytest.raises(ConfigError, match="too long"):
        kept_name("a" * 31, "b" * 20, "12345678")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("act", ["restore", "undo", "remove"])
def test_pages_say_what_is_lost_and_comes_back_and_fit_their_place(act: Any, language: Any):
    one = shown(act=act, kept="" if act == "restore" else "abc", migrations=("0002.sql",), unfit="it has | a pipe")
    form = explain_request(one, deadline="2026-06-02", refusal="The code was wrong.", language=language)
    assert "2026-06-02" in form and "The code was wrong." in form and "public.article" in form
    assert len(form.splitlines()) < 60
    assert "**" in explain_preview(one, dry_run=True, language=language)
    ended = {"outcome": "completed", "health": "", "exchange_s": 0.1, "seconds": 60.0, "incident": 7}
    report = explain_restored(one, ended, kept={}, key="k", now=NOW, language=language)
    assert "#7" in report and "0.1 s" in report


def test_a_table_that_is_empty_now_has_no_newest_row():
    table = compare_tables("public.article", (0, "", ""), (10, "b", "2026-01-31 02:55:00"))
    form = explain_request(shown(prepared=prepared(comparison=Comparison((table,), 0, 200))), deadline="x")
    assert "newest row: none → 2026-01-31 02:55:00 UTC" in form


def test_a_live_database_that_is_gone_is_shown_as_such():
    table = compare_tables("public.article", None, (10, "b", ""))
    gone = prepared(comparison=Comparison((table,), 0, 200, "there is no such database"))
    form = explain_request(shown(prepared=gone, identity=""), deadline="x")
    assert "there is no such database" in form and "not known" in form
