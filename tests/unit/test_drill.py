"""What a drill decides: which backups it takes, what proves something, and what does not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.backup import Backup, BackupKind, BackupState, Evidence, WalState, at_lsn
from domain.catalogue import LANGUAGES, Language
from domain.drill import (
    STEPS,
    Check,
    Drill,
    Objectives,
    Outcome,
    check_archive,
    check_choice,
    check_objects,
    check_target,
    choose_backups,
    failed,
    fill_steps,
    is_overdue,
    judge_drill,
    named_target,
    passed,
    read_drill,
    step_outcome,
    unavailable,
)
from domain.drill_records import Recorded, check_records
from domain.drill_report import BYTES_MAX, explain_drill
from domain.errors import ConfigError, TransientError
from domain.expectations import read_suite
from domain.fingerprint import Fingerprint, compare_fingerprints, read_fingerprint
from domain.verdict import Verdict
from domain.wal import WalGap
from flows.rehearsing import look_side_by_side, looked

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
GOLDEN = Path(__file__).parents[1] / "golden"


def backup(
    id: str, *, days: float, state: BackupState = BackupState.DONE, kind: BackupKind = BackupKind.FULL
) -> Backup:
    at = NOW - timedelta(days=days)
    return Backup(id, kind, state, "barman-cloud", "3.19.1", at, at, system_id="7", target_lsn="0/5000000")


def names(checks: list[Check], outcome: Outcome) -> set[str]:
    return {check.name for check in checks if check.outcome is outcome}


ALL = [passed(f"{step}.x", "destroyed") for step in STEPS]


def test_the_newest_finished_one_is_taken_and_an_older_one_of_the_window_by_its_seed():
    known = [backup(f"b{n}", days=n) for n in range(1, 30)]
    known += [backup("dump", days=0.1, kind=BackupKind.DUMP), backup("half", days=0.2, state=BackupState.STARTED)]
    chosen = choose_backups(known, seed="s", now=NOW, window_days=14)
    assert chosen.newest and chosen.newest.id == "b1"
    assert chosen.older and chosen.older.begun_at >= NOW - timedelta(days=14)
    assert choose_backups(known, seed="s", now=NOW, window_days=14) == chosen
    older = {choose_backups(known, seed=str(n), now=NOW, window_days=14).older for n in range(40)}
    assert len(older) > 3


def test_nothing_finished_fails():
    chosen = choose_backups([backup("half", days=0, state=BackupState.STARTED)], seed="", now=NOW, window_days=14)
    assert names(check_choice([], chosen, now=NOW, objectives=Objectives()), Outcome.FAIL) == {"choice.newest"}


@pytest.mark.parametrize(("days", "is_bad"), [(1.4, False), (1.6, True), (-0.001, False), (-0.1, True)])
def test_a_backup_that_is_too_old_or_from_the_future_fails(days: float, is_bad: bool):
    known = [backup("b", days=days)]
    chosen = choose_backups(known, seed="", now=NOW, window_days=14)
    checks = check_choice(known, chosen, now=NOW, objectives=Objectives(), system_id="7")
    assert ("choice.age" in names(checks, Outcome.FAIL)) is is_bad


@pytest.mark.parametrize(("hours", "outcome"), [(0.5, Outcome.UNAVAILABLE), (2, Outcome.FAIL)])
def test_a_newest_backup_that_was_started_is_looked_at_again_and_later_fails(hours: float, outcome: Outcome):
    known = [backup("b", days=0.5), backup("half", days=hours / 24, state=BackupState.STARTED)]
    chosen = choose_backups(known, seed="", now=NOW, window_days=14)
    checks = check_choice(known, chosen, now=NOW, objectives=Objectives(), system_id="7")
    assert "choice.newest" in names(checks, outcome)


def test_a_backup_of_another_cluster_fails():
    known = [backup("b", days=0.5)]
    chosen = choose_backups(known, seed="", now=NOW, window_days=14)
    checks = check_choice(known, chosen, now=NOW, objectives=Objectives(), system_id="8")
    assert names(checks, Outcome.FAIL) == {"choice.cluster"}


def test_gaps_missing_histories_and_age_of_the_log_fail_by_name():
    whole = WalState(5, newest="00000001000000000000000A", archived_at=NOW - timedelta(seconds=60))
    objectives = Objectives(rpo_s=900)
    assert not names(check_archive(whole, now=NOW, objectives=objectives), Outcome.FAIL)
    gap = replace(whole, gaps=(WalGap("a", "b", 2),), missing_histories=("00000002.history",))
    found = check_archive(gap, now=NOW + timedelta(hours=1), objectives=objectives)
    assert names(found, Outcome.FAIL) == {"archive.gaps", "archive.histories", "archive.age"}
    assert names(check_archive(WalState(0), now=NOW, objectives=objectives), Outcome.FAIL) == {"archive.gaps"}


def test_nothing_compared_is_unavailable_and_damage_fails():
    assert check_objects(Evidence("b")).outcome is Outcome.UNAVAILABLE
    assert check_objects(Evidence("b", 1, 1, ("x differs",))).outcome is Outcome.FAIL
    assert check_objects(Evidence("b", 1, 1)).outcome is Outcome.PASS


def test_a_target_that_was_not_reached_fails():
    target = at_lsn("0/5000000")
    assert check_target(target, "0/5000000", "0/4FFF000").outcome is Outcome.FAIL
    assert check_target(target, "0/5000000", "0/5000028").outcome is Outcome.PASS
    assert check_target(target, "0/5000000", "").outcome is Outcome.UNAVAILABLE


def test_the_restore_point_of_the_fingerprint_is_the_target_else_the_noted_place_else_none():
    known = Fingerprint("7", "slipway-x", "0/4000000", tables={"d.p.t": (1, "5")})
    target, found = named_target(backup("b", days=1), {"fingerprint": known.as_dict()})
    assert target and (target.kind, target.value) == ("name", "slipway-x") and found == known
    target, found = named_target(backup("b", days=1), {})
    assert target and target.kind == "lsn" and found is None
    assert named_target(replace(backup("b", days=1), target_lsn=""), {}) == (None, None)


def test_the_same_number_of_other_rows_differs_and_sequences_may_only_be_ahead():
    known = Fingerprint("7", tables={"d.p.t": (1000, "5")}, sequences={"d.p.s": (10, 1), "d.p.down": (-10, -1)})
    assert read_fingerprint(known.as_dict()) == known
    assert not compare_fingerprints(known, replace(known, sequences={"d.p.s": (42, 1), "d.p.down": (-42, -1)}))
    (row,) = compare_fingerprints(known, replace(known, tables={"d.p.t": (1000, "6")}))
    assert row.kind == "content"
    behind = compare_fingerprints(known, replace(known, sequences={"d.p.s": (9, 1), "d.p.down": (-9, -1)}))
    assert {one.kind for one in behind} == {"sequence"} and len(behind) == 2
    assert [one.kind for one in compare_fingerprints(known, Fingerprint("8"))] == [
        "cluster",
        "table",
        *["sequence"] * 2,
    ]


def test_one_failed_check_fails_and_a_needed_one_that_is_unavailable_never_passes():
    assert judge_drill(ALL) is Verdict.PASS
    assert judge_drill([*ALL, failed("pages.checksums@older", "destroyed")]) is Verdict.FAIL
    assert judge_drill([*ALL, unavailable("pages.checksums", "crashes")]) is Verdict.UNCLEAR
    assert judge_drill([*ALL, unavailable("pages.indexes@older", "missing")]) is Verdict.PASS
    assert judge_drill(ALL[:-1]) is Verdict.UNCLEAR
    assert judge_drill([]) is Verdict.UNCLEAR


def test_a_step_that_was_not_reached_says_so_and_is_not_passed():
    checks = fill_steps([failed("restore.files", "destroyed")])
    assert [check.step for check in checks] == list(STEPS)
    assert step_outcome(checks, "pages") is Outcome.UNAVAILABLE
    assert step_outcome(fill_steps([unavailable("pages.indexes", "x"), passed("pages.checksums", "x")]), "pages") is (
        Outcome.PASS
    )


def test_a_drill_that_did_not_run_is_overdue():
    since = NOW - timedelta(days=5)
    assert is_overdue(None, since=since, now=NOW, interval_s=86_400)
    assert is_overdue(NOW - timedelta(hours=37), since=since, now=NOW, interval_s=86_400)
    assert not is_overdue(NOW - timedelta(hours=35), since=since, now=NOW, interval_s=86_400)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("{}", "is no list"),
        ('[{"type": "ExpectX", "table": "a", "query": "b"}]', "either a 'table' or a 'query'"),
        ('[{"type": "x", "table": "a"}]', "'type' must name"),
        ('[{"type": "ExpectX", "table": "a", "argument": {}}]', "unknown key 'argument'"),
    ],
)
def test_a_suite_that_is_none_is_refused_with_its_place(text: str, said: str):
    with pytest.raises(ConfigError, match=said):
        read_suite(text, file="x.json")


def test_the_suites_of_the_example_can_be_read():
    for path in (Path(__file__).parents[2] / "examples/helpdesk/expectations").glob("*.json"):
        assert read_suite(path.read_text(), file=path.name)


def drill() -> Drill:
    checks = [check for check in ALL if check.step not in ("pages", "expectations", "integrity")]
    checks += [
        passed("integrity.objects", "objects_whole", count=4, size="1.2 GB", seconds=3.21),
        unavailable("integrity.postgres", "this engine keeps no manifest of PostgreSQL"),
        passed("pages.checksums", "pages_good", detail="files scanned 900", seconds=1.5),
        failed("pages.indexes", "tool_found", tool="pg_amcheck", found="index a|b lacks <row>"),
        failed("expectations.desk.content", "expectations_failed", count=7, failed="every ticket has a customer"),
    ]
    figures = {
        "size_bytes": 1.2e9,
        "restore_s": 41.0,
        "recovery_s": 7.5,
        "checks_s": 21.0,
        "rto_s": 49.1,
        "rpo_s": 62.0,
    }
    findings = ("desk.content: ✓ status (public.tickets): found 3", "desk.content: ✗ customer (query): found 2")
    backups = ("20261128T021500", "20261120T021500")
    return Drill("r", NOW, 95.2, "barman-cloud", backups, fill_steps(checks), Objectives(), figures, findings)


def test_a_drill_survives_being_written_down():
    assert read_drill(drill().as_dict()) == drill()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_is_as_agreed(language: Language):
    trend = [(NOW - timedelta(days=n), 40.0 + n % 5) for n in range(30, -1, -1)]
    lost = [(at, 200.0) for at, _ in trend]
    report = explain_drill(drill(), trend=trend, lost=lost, digest="f" * 64, language=language)
    assert len(report.encode()) < BYTES_MAX and report.count("data:image/svg+xml;base64,") == 2
    told = report.partition("](data:image")[0]
    path = GOLDEN / f"drill.{language}.md"
    assert told == path.read_text(), f"read it, then write it to {path.name}"


def recorded(id: str, *, days: float, sha256: str = "a") -> dict[str, Recorded]:
    return {id: Recorded(NOW - timedelta(days=days), sha256)}


def checked(
    stored: list[Backup], known: dict[str, Recorded], expired: frozenset[str] = frozenset()
) -> dict[str, Outcome]:
    chosen = choose_backups(stored, seed="s", now=NOW, window_days=14)
    found = check_records(chosen, stored, known, expired, now=NOW, objectives=Objectives())
    return {check.name: check.outcome for check in found}


def test_a_backup_is_believed_only_where_the_ledger_has_the_hash_of_its_manifest():
    one = replace(backup("b", days=1), manifest_sha256="a")
    good = {"choice.recorded": Outcome.PASS, "choice.kept": Outcome.PASS}
    assert checked([one], recorded("b", days=1)) == good
    assert checked([one], recorded("b", days=1, sha256="c"))["choice.recorded"] is Outcome.FAIL
    assert checked([one], recorded("b", days=1, sha256=""))["choice.recorded"] is Outcome.UNAVAILABLE
    assert checked([one], recorded("other", days=1))["choice.recorded"] is Outcome.FAIL
    # it ended a moment ago: the entry may be on its way
    fresh = replace(one, ended_at=NOW - timedelta(minutes=1))
    assert checked([fresh], recorded("other", days=1))["choice.recorded"] is Outcome.UNAVAILABLE
    assert checked([one], {}) == {"choice.ledger": Outcome.UNAVAILABLE}


def test_a_backup_that_vanished_is_missed_unless_it_was_removed_on_purpose_or_long_ago():
    one = replace(backup("b", days=1), manifest_sha256="a")
    known = recorded("b", days=1) | recorded("gone", days=3)
    assert checked([one], known)["choice.kept"] is Outcome.FAIL
    assert checked([one], known, frozenset({"gone"}))["choice.kept"] is Outcome.PASS
    assert checked([one], recorded("b", days=1) | recorded("gone", days=20))["choice.kept"] is Outcome.PASS
    half = replace(backup("gone", days=3), state=BackupState.STARTED)
    assert checked([one, half], known)["choice.kept"] is Outcome.FAIL


def test_a_step_that_falls_over_is_a_failed_check_and_one_without_an_answer_unavailable():
    def fall() -> Check:
        raise KeyError("kind")

    def wait() -> Check:
        raise TransientError("The store is away.")

    (fallen,), (waiting,) = looked("choice.newest", fall), looked("choice.newest", wait)
    assert (fallen.outcome, fallen.text) == (Outcome.FAIL, "step_broke") and "KeyError" in fallen.values["error"]
    assert waiting.outcome is Outcome.UNAVAILABLE


def test_looks_side_by_side_are_all_taken_and_told_in_their_own_order():
    good = passed("pages.indexes", "indexes_good", detail="x")
    found = look_side_by_side({"a": lambda: good, "b": lambda: 1 / 0, "c": lambda: [good, good]})  # pyright: ignore[reportArgumentType, reportReturnType]
    assert [one.outcome for one in found] == [Outcome.PASS, Outcome.FAIL, Outcome.PASS, Outcome.PASS]
