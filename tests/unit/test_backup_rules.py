"""Backups as decisions: which expire, what is missing in a log, and what counts as protected."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.backup import (
    Backup,
    BackupKind,
    BackupManifest,
    BackupState,
    CopyPlace,
    KeptCopy,
    StoredObject,
    WalState,
    at_lsn,
    at_time,
    read_backup,
    read_manifest,
)
from domain.backup_protection import judge_copy, judge_server
from domain.backup_report import BackupReport, render_report
from domain.backup_retention import Retention, choose_expired, choose_log, read_retention
from domain.backup_schedule import choose_kind
from domain.second_place import choose_gone
from domain.wal import WalGap, find_gaps, missing_histories, next_segment, read_lsn, segment_at, write_lsn

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)
APART = CopyPlace("/far", True)


def made(days_ago: float, **fields: object) -> Backup:
    begun = NOW - days_ago * DAY
    known = Backup(
        id=f"{begun:%Y%m%dT%H%M%S}",
        kind=BackupKind.FULL,
        state=BackupState.DONE,
        engine="memory",
        engine_version="1.0",
        begun_at=begun,
        ended_at=begun + timedelta(seconds=60),
        begin_wal="000000010000000000000002",
        encryption="bucket",
        page_checksums=True,
        manifest_sha256="a" * 64,
        size_bytes=4_000_000_000,
        stored_bytes=1_000_000_000,
        target_lsn="0/3000060",
    )
    return replace(known, **fields)  # pyright: ignore[reportArgumentType]


def test_a_year_of_nights_keeps_the_window_and_fathers_and_grandfathers():
    nights = [made(days) for days in range(400)]
    kept = choose_expired(nights, Retention(), now=NOW).kept
    assert {made(days).id for days in range(15)} <= set(kept)
    months = {made(days).begun_at.strftime("%Y-%m") for days in range(400) if made(days).id in kept}
    assert len(months) == 12 and len(kept) < 40


def test_the_last_full_one_before_the_window_stays_since_its_beginning_is_reached_from_there():
    old, older = made(20), made(40)
    rules = Retention(count=1, window_days=14, daily=0, weekly=0, monthly=0)
    choice = choose_expired([older, old, made(1)], rules, now=NOW)
    assert choice.expired == (older.id,) and choice.kept[old.id] == ("window",)


def test_a_hold_and_the_parent_of_what_stays_never_expire():
    parent = made(90)
    child = made(1, kind=BackupKind.INCREMENTAL, parent=parent.id)
    held = made(200, hold="audit 7")
    rules = Retention(count=1, window_days=3, daily=0, weekly=0, monthly=0)
    choice = choose_expired([held, parent, child, made(0.5)], rules, now=NOW)
    assert choice.expired == () and choice.kept[held.id] == ("hold: audit 7",)


@given(st.lists(st.integers(0, 3000), max_size=40, unique=True), st.integers(1, 5), st.integers(0, 30))
def test_the_newest_always_stay_and_every_one_is_either_kept_or_gone(ages: list[int], count: int, window: int):
    backups = [made(age / 2) for age in ages]
    choice = choose_expired(backups, Retention(count=count, window_days=window), now=NOW)
    assert set(choice.expired) | set(choice.kept) == {one.id for one in backups}
    assert not set(choice.expired) & set(choice.kept)
    newest = sorted(backups, key=lambda one: one.begun_at)[-count:]
    assert {one.id for one in newest} <= set(choice.kept)


def test_what_was_started_and_left_is_swept_and_not_expired():
    choice = choose_expired([made(500, state=BackupState.STARTED), made(1)], Retention(), now=NOW)
    assert choice.expired == ()


def test_old_months_keep_only_the_log_that_makes_each_whole():
    def at(number: int, days: float) -> Backup:
        name = segment_at(1, number * 16 * 1024 * 1024)
        return made(
            days, timeline=1, begin_wal=name, end_wal=name, target_lsn=write_lsn(number * 16 * 1024 * 1024 + 60)
        )

    log = choose_log([at(10, 100), at(50, 20), at(60, 10)], window_begin=NOW - 14 * DAY)
    kept = [n for n in range(80) if log.keeps(segment_at(1, n * 16 * 1024 * 1024))]
    assert kept == [10, 11, *range(50, 80)]
    assert choose_log([at(10, 100), at(60, 10)], window_begin=None).since == at(10, 100).begin_wal
    assert choose_log([], window_begin=NOW).keeps("000000010000000000000001")


def test_rules_that_keep_nothing_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Retention(count=0)


def test_rules_are_read_as_they_were_written_and_what_is_not_named_stays():
    rules = read_retention("count=3, window_days=0 monthly=24 yearly=7")
    assert rules == Retention(count=3, window_days=0, monthly=24, yearly=7)
    assert read_retention(rules.as_text()) == rules and read_retention("") == Retention()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hourly=3", "names no rule. Use count, window_days, daily"),
        ("count=0", "at least 1 full backup"),
        ("dumps=0", "at least 1 dump"),
        ("daily=-1", "Use daily=N"),
        ("weekly=x", "Use weekly=N"),
        ("monthly", "Use monthly=N"),
        ("yearly=99999999", "from 0 to 36500"),
        ("count=1 count=2", "named twice"),
    ],
)
def test_rules_that_mean_nothing_are_refused_by_name(text: str, says: str):
    with pytest.raises(ValueError, match=says):
        read_retention(text)


def test_years_months_weeks_and_days_each_keep_their_newest():
    nights = [made(days) for days in range(1200)]
    rules = Retention(count=1, window_days=0, daily=3, weekly=0, monthly=2, yearly=3)
    kept = choose_expired(nights, rules, now=NOW).kept
    assert sorted(
        made(0).begun_at.year - one for one in {made(d).begun_at.year for d in range(1200) if made(d).id in kept}
    ) == [0, 1, 2]
    assert kept[made(0).id] == ("count", "daily", "monthly", "yearly")
    assert len(kept) == 3 + 1 + 2, "three days (one of them the year's and the month's), a month, two years"


def test_the_last_that_a_drill_proved_stays_though_newer_ones_fill_every_rule():
    proven, newer = made(90), [made(days) for days in range(5)]
    rules = Retention(count=1, window_days=0, daily=0, weekly=0, monthly=0)
    choice = choose_expired([made(100), proven, *newer], rules, now=NOW, proven={proven.id, made(100).id})
    assert choice.kept[proven.id] == ("proven",) and made(100).id in choice.expired


def test_a_full_one_every_week_and_between_them_what_changed_where_the_engine_can():
    able = (BackupKind.FULL, BackupKind.DIFFERENTIAL, BackupKind.INCREMENTAL)

    def chosen(*backups: Backup, kinds: tuple[BackupKind, ...] = able) -> BackupKind:
        return choose_kind(backups, kinds, engine="memory", now=NOW)

    assert chosen() is BackupKind.FULL
    assert chosen(made(6)) is BackupKind.INCREMENTAL
    assert chosen(made(7)) is BackupKind.FULL and chosen(made(6.99)) is BackupKind.FULL
    assert chosen(made(1), kinds=(BackupKind.FULL,)) is BackupKind.FULL
    assert chosen(made(1, engine="other")) is BackupKind.FULL
    assert chosen(made(1, state=BackupState.STARTED)) is BackupKind.FULL


def at_place(*backups: Backup, more: dict[str, float] | None = None) -> dict[str, datetime]:
    files = {f"postgres/main/base/{one.id}/data.tar.lz4": one.begun_at for one in backups}
    files |= {f"postgres/main/slipway/manifests/{one.id}.json": one.begun_at for one in backups}
    return files | {key: NOW - days * DAY for key, days in (more or {}).items()}


ONE = Retention(count=1, window_days=0, daily=0, weekly=0, monthly=0, dumps=1)


def test_at_the_second_place_goes_what_the_rules_let_go_and_nothing_that_is_in_the_bucket():
    old, new = made(40), made(1)
    gone = choose_gone(at_place(old, new), [old, new], present=(), rules=ONE, now=NOW)
    assert gone.backups == (old.id,) and all(old.id in key for key in gone.keys) and len(gone.keys) == 2
    here = list(at_place(old))
    assert choose_gone(at_place(old, new), [old, new], present=here, rules=ONE, now=NOW).keys == ()


def test_at_the_second_place_what_is_held_the_last_one_and_what_nobody_knows_stay():
    held, last, unknown = made(40, hold="audit 7"), made(20), made(60)
    files = at_place(
        held, last, unknown, more={"objects/releases/data/abc": 900, "postgres/main/wals/x.history.zst": 900}
    )
    assert choose_gone(files, [held, last], present=(), rules=ONE, now=NOW).keys == ()
    assert choose_gone(files, [], present=(), rules=ONE, now=NOW).keys == (), "an index of before"


def test_at_the_second_place_left_overs_old_dumps_and_log_that_nobody_needs_go():
    def segment(number: int) -> str:
        return segment_at(1, number * 16 * 1024 * 1024)

    kept = made(
        1, timeline=1, begin_wal=segment(50), end_wal=segment(50), target_lsn=write_lsn(50 * 16 * 1024 * 1024 + 60)
    )
    old_log = f"postgres/main/wals/{segment(10)[:16]}/{segment(10)}.zst"
    other_log = f"pgbackrest/archive/main/18-1/{segment(10)[:16]}/{segment(10)}-abcdef.zst"
    new_log = f"postgres/main/wals/{segment(51)[:16]}/{segment(51)}.zst"
    left_over, fresh = (
        "postgres/main/base/20200101T000000/data.tar.lz4",
        "postgres/main/base/20260630T110000/data.tar.lz4",
    )
    bundle = "pgbackrest/backup/main/20200101-000000F/bundle/1"
    more = {old_log: 30, other_log: 30, new_log: 0.5, left_over: 3, fresh: 0.04, bundle: 3}
    more |= {"dumps/desk/a.dump.age": 9, "dumps/desk/b.dump.age": 2, "dumps/shop/a.dump.age": 30}
    gone = choose_gone(at_place(kept, more=more), [kept], present=(), rules=ONE, now=NOW).keys
    assert set(gone) == {old_log, other_log, left_over, bundle, "dumps/desk/a.dump.age"}


SEGMENTS = [segment_at(1, n * 16 * 1024 * 1024) for n in range(250, 260)]


def test_a_log_is_counted_across_the_end_of_a_file():
    assert SEGMENTS[5] == "0000000100000000000000FF" and SEGMENTS[6] == "000000010000000100000000"
    assert find_gaps(SEGMENTS) == [] and next_segment(SEGMENTS[5]) == SEGMENTS[6]


@given(st.sets(st.integers(1, 8), min_size=1))
def test_every_segment_that_is_missing_is_in_a_gap(lost: set[int]):
    there = [name for place, name in enumerate(SEGMENTS) if place not in lost]
    gaps = find_gaps(there)
    assert sum(gap.count for gap in gaps) == len(lost)
    assert {gap.first for gap in gaps} | {gap.last for gap in gaps} <= {SEGMENTS[place] for place in lost}


def test_the_first_segment_that_is_needed_counts_even_where_the_archive_begins_later():
    assert find_gaps(SEGMENTS[3:], since=SEGMENTS[1]) == [WalGap(SEGMENTS[1], SEGMENTS[2], 2)]
    assert find_gaps([], since=SEGMENTS[1]) == [WalGap(SEGMENTS[1], SEGMENTS[1], 1)]
    assert find_gaps([SEGMENTS[0], *SEGMENTS[3:]], since=SEGMENTS[3]) == []
    assert find_gaps([*SEGMENTS[:2], *SEGMENTS[5:]], since=SEGMENTS[0], until=SEGMENTS[1]) == []


def test_another_timeline_needs_its_history():
    names = [SEGMENTS[0], "000000020000000000000FFF"[:24]]
    assert missing_histories(names) == ["00000002.history"]
    assert missing_histories([*names, "00000002.history"]) == []


@given(st.integers(0, 2**64 - 1))
def test_a_place_in_the_log_is_read_as_it_was_written(number: int):
    assert read_lsn(write_lsn(number)) == number


def test_a_target_without_a_place_or_a_time_zone_is_refused():
    with pytest.raises(ValueError, match="no LSN"):
        at_lsn("latest")
    with pytest.raises(ValueError, match="time zone"):
        at_time(datetime(2026, 1, 1))  # noqa: DTZ001 - that it has none is the point


def test_backups_and_manifests_are_read_as_they_were_written():
    one = made(1, hold="audit")
    assert read_backup(one.as_dict()) == one
    manifest = BackupManifest(one.as_dict(), (StoredObject("a", 1, "0" * 64),), {"rows": 3})
    assert read_manifest(manifest.as_dict()).sha256 == manifest.sha256


LOG = WalState(segments=3, newest="000000010000000000000004")


def judged(*backups: Backup, log: WalState = LOG, place: CopyPlace = APART, copied: datetime | None = NOW):
    return judge_server(backups, log, place, copied_at=copied, now=NOW).weaknesses


def test_protected_takes_all_of_it():
    assert judged(made(0.5)) == ()


@pytest.mark.parametrize(
    ("fields", "lacks"),
    [
        ({"page_checksums": False}, "no_page_checksums"),
        ({"encryption": "none"}, "not_encrypted"),
        ({"manifest_sha256": ""}, "unproven"),
        ({"begun_at": NOW - 3 * DAY}, "old"),
    ],
)
def test_a_backup_that_lacks_one_thing_does_not_protect(fields: dict[str, object], lacks: str):
    assert judged(made(0.5, **fields)) == (lacks,)


def test_a_log_that_is_late_broken_or_failing_does_not_protect():
    gap = WalGap("000000010000000000000003", "000000010000000000000003", 1)
    assert judged(made(0.5), log=replace(LOG, gaps=(gap,))) == ("log_gap",)
    assert judged(made(0.5), log=replace(LOG, failing="000000010000000000000005")) == ("log_failing",)
    assert judged(made(0.5), log=replace(LOG, waiting=9, lag_s=3600)) == ("log_late",)


def test_a_copy_on_the_same_disk_or_from_before_the_backup_does_not_protect():
    assert judged(made(0.5), place=CopyPlace("/here", False, "same disk")) == ("same_disk",)
    assert judged(made(0.5), copied=None) == judged(made(0.5), copied=NOW - 2 * DAY) == ("same_disk",)


def test_only_what_is_done_counts():
    assert judged(made(0.1, state=BackupState.STARTED)) == ("none",)


COPY = KeptCopy("dump of desk", 1, 10, 1, 10, "0" * 64, 0.1, "client")


def test_a_dump_is_judged_like_everything_else():
    def lacks(copy: KeptCopy | None, **more: object) -> tuple[str, ...]:
        facts = {"at": NOW - DAY, "copied_at": NOW, "age_s_max": 8 * 86_400.0, **more}
        return judge_copy("dump of desk", copy, APART, now=NOW, **facts).weaknesses  # pyright: ignore[reportArgumentType]

    assert lacks(COPY) == () and lacks(None) == ("none",)
    assert lacks(replace(COPY, encryption="none")) == ("not_encrypted",)
    assert lacks(COPY, age_s_max=60.0) == ("old",)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_says_in_a_minute_what_is_not_protected(language: str):
    weak = judge_server([made(0.5)], LOG, CopyPlace("", False), copied_at=None, now=NOW)
    backups = tuple(made(days, stored_bytes=1_000_000_000 - days * 10_000_000) for days in range(30, 0, -1))
    kept = choose_expired(backups, Retention(), now=NOW).kept
    place = CopyPlace("", False, "no second place is set")
    report = BackupReport((weak,), backups, LOG, place, rules=Retention().as_text(), kept=kept)
    page = render_report(report, language=language)  # pyright: ignore[reportArgumentType]
    assert len(page) < 60_000 and "data:image/svg+xml;base64," in page and "| PostgreSQL |" in page
    told = {"en": "a copy where another disk fails", "zh": "位于其他磁盘的副本"}
    assert told[language] in page and backups[-1].id in page
    why = {"en": "the newest, window, day, week, month", "zh": "最新若干, 时间窗, 日, 周, 月"}
    assert f"| {why[language]} |" in page and "count=2 window_days=14" in page
