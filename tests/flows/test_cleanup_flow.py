"""Clean-up as a whole: a dry run first, an approval by hash, caps, the explicit word, holds, archives, and proof."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Scheduled
from stage import APPLICATION, FILE, Stage
from test_settling import Person
from typer.testing import CliRunner

from blocks.expirables_prefect import RunExpirables
from blocks.memory_cleaning import MemoryExpirables, MemoryRows
from deployments.commands.cleanup import app
from domain.advice import CleanUp
from domain.cleanup import Load
from domain.errors import InvariantError, RefusedError
from domain.ledger import Event
from domain.ports_cleanup import Expirable
from flows.cleanup import cleanup
from flows.cleanup_approval import cleanup_approval
from flows.legal_hold import legal_hold
from flows.restore_archive import restore_archive
from tasks.cleanup import what_would_go
from tasks.instances import find_manifest

POLICY = """
[[cleanup]]
name = "old-tickets"
table = "tickets"
age_column = "closed_at"
older_than_days = 365
children = ["comments"]
batch_rows = 4
rows_max = 50
share_percent_max = 25
"""


def settle(
    stage: Stage, *, old: int = 10, new: int = 90, file: str = FILE + POLICY, letter: str = "a", **more: Any
) -> MemoryRows:
    """Make a release live whose file has a policy, on a database with tickets of two years and of today."""
    digest = stage.pin(letter, file=file, **more)
    stage.world.ledger.append(
        Event("rollout.completed", application=APPLICATION, environment="production", release=digest)
    )
    stage.world.target("production", "alpha").prepare(find_manifest(APPLICATION, digest))
    rows = stage.world.cleaning.rows(APPLICATION, "production")
    now = stage.world.clock.now()
    ages = [now - timedelta(days=730)] * old + [now] * new
    rows.tables = {
        "public.tickets": [{"id": n, "closed_at": at, "customer": n % 5} for n, at in enumerate(ages, start=1)],
        "public.comments": [{"id": n, "ticket_id": n} for n in range(1, len(ages) + 1)],
    }
    rows.references = {"public.comments": ("ticket_id", "public.tickets")}
    return rows


def approve(stage: Stage, hash: str, name: str = "ann", **more: Any) -> dict[str, Any]:
    person = Person(stage, name, "administrator")
    given = {"application": APPLICATION, "policy": "old-tickets", "reason": "two years are enough", "hash": hash}
    return cleanup_approval(**{**given, "administrator": person.name, "code": person.code, **more})


def plan_of(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    (plan,) = [one["plan"] for one in outcomes if one["plan"]]
    return plan


def test_without_an_approval_a_run_only_counts_and_tells_who_is_asked(stage: Stage):
    rows = settle(stage)
    (outcome,) = cleanup(dry_run=False)
    assert outcome["course"] == "ask" and outcome["plan"]["preview"]["rows"] == 10 and outcome["done"] is None
    assert len(rows.tables["public.tickets"]) == 100
    (told,) = stage.world.notifier.messages
    assert "1 policies wait" in told.subject and outcome["plan"]["hash"][:16] in told.body
    (report,) = stage.world.screen.reports["cleanup"]
    assert "| desk/production | old-tickets | 10 | 10.0 % |" in report and outcome["plan"]["policy_hash"][:16] in report


def test_approved_once_scheduled_runs_within_the_caps_need_nobody(stage: Stage):
    rows = settle(stage)
    approve(stage, plan_of(cleanup())["policy_hash"][:12])
    (outcome,) = cleanup(dry_run=False)
    assert outcome["done"]["verdict"] == "PASS" and (outcome["done"]["rows"], outcome["done"]["related"]) == (10, 10)
    assert [row["id"] for row in rows.tables["public.tickets"]] == list(range(11, 101))
    assert rows.vacuumed == 1
    (begun,) = stage.world.ledger.entries(kinds=["cleanup.begun"])
    (approved,) = stage.world.ledger.entries(kinds=["cleanup.approved"])
    assert (begun.event.actor, begun.data["approved_seq"]) == ("ann", approved.seq)
    (again,) = cleanup(dry_run=False)
    assert again["course"] == "nothing"


def test_a_dry_run_deletes_nothing_whatever_is_approved(stage: Stage):
    rows = settle(stage)
    approve(stage, plan_of(cleanup())["policy_hash"])
    (outcome,) = cleanup()
    assert outcome["course"] == "apply" and outcome["done"] is None and len(rows.tables["public.tickets"]) == 100


@pytest.mark.parametrize("old, new, text", [(60, 940, "cap is 50"), (28, 72, "cap is 25")])
def test_what_passes_a_cap_asks_and_goes_once_that_plan_is_approved(stage: Stage, old: int, new: int, text: str):
    rows = settle(stage, old=old, new=new)
    plan = plan_of(cleanup())
    approve(stage, plan["policy_hash"])
    (outcome,) = cleanup(dry_run=False)
    assert outcome["course"] == "ask" and len(rows.tables["public.tickets"]) == old + new
    assert text in stage.world.notifier.messages[-1].body
    stage.world.clock.sleep(3600)  # the approved plan keeps its cut-off
    approve(stage, outcome["plan"]["hash"][:16], "ben")
    (done,) = cleanup(dry_run=False)
    assert done["plan"]["hash"] == outcome["plan"]["hash"] and done["done"]["rows"] == old
    assert cleanup(dry_run=False)[0]["course"] == "nothing"


def test_more_than_thirty_percent_takes_the_explicit_word_whatever_the_caps_are(stage: Stage):
    file = FILE + POLICY.replace("share_percent_max = 25", "share_percent_max = 100")
    rows = settle(stage, old=40, new=60, file=file)
    plan = plan_of(cleanup())
    approve(stage, plan["policy_hash"])
    (asked,) = cleanup(dry_run=False)
    assert asked["course"] == "ask" and "above 30 %" in stage.world.notifier.messages[-1].body
    with pytest.raises(RefusedError, match=r"share_percent = 40\.0"):
        approve(stage, asked["plan"]["hash"], "ben")
    approve(stage, asked["plan"]["hash"], "cem", share_percent=40)
    assert cleanup(dry_run=False)[0]["done"]["rows"] == 40 and len(rows.tables["public.tickets"]) == 60


def test_more_rows_than_the_approved_plan_showed_make_a_new_plan(stage: Stage):
    rows = settle(stage, old=28, new=72)
    plan = plan_of(cleanup())
    approve(stage, plan["hash"])
    old = stage.world.clock.now() - timedelta(days=900)
    rows.tables["public.tickets"].append({"id": 1000, "closed_at": old, "customer": 1})
    (outcome,) = cleanup(dry_run=False)
    assert outcome["course"] == "ask" and outcome["plan"]["hash"] != plan["hash"]
    assert len(rows.tables["public.tickets"]) == 101


def test_a_changed_policy_has_to_be_approved_anew(stage: Stage):
    settle(stage)
    approve(stage, plan_of(cleanup())["policy_hash"])
    rows = settle(stage, file=FILE + POLICY.replace("older_than_days = 365", "older_than_days = 300"), letter="b")
    (outcome,) = cleanup(dry_run=False)
    assert outcome["course"] == "ask" and outcome["reasons"][0][0] == "cleanup.reason_changed"
    assert len(rows.tables["public.tickets"]) == 100


def test_an_approval_takes_an_administrator_a_fresh_code_and_the_hash_that_was_shown(stage: Stage):
    settle(stage)
    plan = plan_of(cleanup())
    with pytest.raises(RefusedError, match="No plan of 'old-tickets' begins with"):
        approve(stage, "f" * 16)
    with pytest.raises(RefusedError, match="at least 8 digits"):
        approve(stage, plan["hash"][:4], "bea")
    approver = Person(stage, "carl", "approver")
    with pytest.raises(RefusedError, match="administrator"):
        cleanup_approval(APPLICATION, "old-tickets", "x", "carl", approver.code, plan["policy_hash"])
    with pytest.raises(RefusedError, match="code"):
        cleanup_approval(APPLICATION, "old-tickets", "x", "carl", "000000", plan["policy_hash"])
    assert stage.world.ledger.entries(kinds=["cleanup.approved"]) == []


def test_an_approval_is_taken_back(stage: Stage):
    rows = settle(stage)
    approve(stage, plan_of(cleanup())["policy_hash"])
    approve(stage, "", "ben", withdraw=True)
    (outcome,) = cleanup(dry_run=False)
    assert outcome["course"] == "ask" and len(rows.tables["public.tickets"]) == 100


def test_a_hold_counts_at_once_and_until_it_is_lifted(stage: Stage):
    rows = settle(stage)
    approve(stage, plan_of(cleanup())["policy_hash"])
    ben, cem = Person(stage, "ben", "administrator"), Person(stage, "cem", "administrator")
    legal_hold(APPLICATION, "file-7", "dispute", "ben", ben.code, table="tickets", column="customer", values=["2"])
    (outcome,) = cleanup(dry_run=False)
    assert outcome["done"]["rows"] == 8 and outcome["done"]["held_rows"] == 2
    assert [row["id"] for row in rows.tables["public.tickets"]][:2] == [2, 7]
    legal_hold(APPLICATION, "file-7", "it is settled", "cem", cem.code, lift=True)
    assert cleanup(dry_run=False)[0]["done"]["rows"] == 2


def test_a_hold_on_a_related_table_stops_the_policy_instead_of_being_passed_over(stage: Stage):
    rows = settle(stage)
    ben = Person(stage, "ben", "administrator")
    legal_hold(APPLICATION, "file-7", "dispute", "ben", ben.code, table="comments", column="id", values=["2"])
    with pytest.raises(InvariantError, match="Hold 'file-7' is on comments"):
        cleanup(dry_run=False)
    assert len(rows.tables["public.tickets"]) == 100


def test_archived_rows_are_deleted_by_the_archive_and_come_back(stage: Stage):
    rows = settle(stage, file=FILE + POLICY + "archive = true\n")
    before = {name: list(part) for name, part in rows.tables.items()}
    approve(stage, plan_of(cleanup())["policy_hash"])
    (outcome,) = cleanup(dry_run=False)
    assert outcome["done"]["verdict"] == "PASS" and len(rows.tables["public.tickets"]) == 90
    (written,) = stage.world.ledger.entries(kinds=["archive.written"])
    (deleted,) = stage.world.ledger.entries(kinds=["deletion.completed"])
    assert written.data["rows"] == deleted.data["archived"] == deleted.data["rows"] == 10
    ben = Person(stage, "ben", "administrator")
    back = restore_archive(APPLICATION, written.data["prefix"], "a customer asks", "ben", ben.code)
    assert back == {"public.tickets": 10, "public.comments": 10}
    for name, part in before.items():
        assert sorted(rows.tables[name], key=lambda row: row["id"]) == part


def test_a_damaged_archive_deletes_nothing(stage: Stage):
    rows = settle(stage, file=FILE + POLICY + "archive = true\n")
    approve(stage, plan_of(cleanup())["policy_hash"])
    archives = stage.world.cleaning.archives
    keep = archives.keep

    def damage(key: str, content: bytes) -> None:
        keep(key, content)
        for name in [name for name in archives.blobs if name.endswith(".parquet")]:
            archives.blobs[name] = archives.blobs[name][:-2] + b"!\n"

    archives.keep = damage  # type: ignore[method-assign]
    with pytest.raises(InvariantError, match="SHA-256"):
        cleanup(dry_run=False)
    assert len(rows.tables["public.tickets"]) == 100
    assert stage.kinds(application=APPLICATION).count("deletion.failed") == 1


def test_rests_grow_while_the_database_has_other_work(stage: Stage):
    rows = settle(stage, old=20, new=180)
    rows.loads = [Load(0.001), *[Load(0.05)] * 3, Load(0.001, 60.0), Load(0.001)]
    approve(stage, plan_of(cleanup())["policy_hash"])
    cleanup(dry_run=False)
    (stretch,) = stage.world.ledger.entries(kinds=["stretch.deleted"])
    assert stretch.data["pause_s"] == pytest.approx(0.05 * 2**4) and stretch.data["batches"] == 5


def test_one_policy_that_does_not_fit_holds_up_no_other_and_fails_the_run(stage: Stage):
    second = POLICY.replace("old-tickets", "aa-wrong").replace('table = "tickets"', 'table = "nothing"')
    rows = settle(stage, file=FILE + second + POLICY)
    with pytest.raises(InvariantError, match="No table 'nothing'"):
        cleanup(dry_run=False)
    assert len(stage.world.ledger.entries(kinds=["cleanup.planned"])) == 1
    assert len(rows.tables["public.tickets"]) == 100


def test_slipway_s_own_tables_have_policies_that_the_desk_understands(stage: Stage):
    stage.world.cleaning.own_policies = (
        "cleanup: [{name: deliveries, table: desk.delivery, age_column: received_at, older_than_days: 90}]"
    )
    rows = stage.world.cleaning.rows("slipway", "")
    rows.tables = {"desk.delivery": [{"id": 1, "received_at": datetime(2020, 1, 1, tzinfo=UTC)}]}
    (outcome,) = cleanup(application="slipway")
    assert outcome["plan"]["preview"]["rows"] == 1 and outcome["course"] == "ask"


def status_lines(*words: str) -> tuple[int, list[dict[str, Any]]]:
    done = CliRunner().invoke(app, ["status", "--json", *words])
    return done.exit_code, [json.loads(line) for line in done.output.splitlines()]


def test_the_command_says_where_each_policy_stands_and_which_archive_is_encrypted(stage: Stage):
    settle(stage, file=FILE + POLICY + "archive = true\n")
    code, (one,) = status_lines("--application", APPLICATION)
    assert (code, one["policy"], one["approved_by"], one["course"], one["plan"]) == (0, "old-tickets", "", "", None)
    cleanup()
    code, (one,) = status_lines("--application", APPLICATION)
    assert (code, one["course"], one["plan"]["preview"]["rows"], one["archive"]) == (1, "ask", 10, True)
    approve(stage, one["policy_hash"])
    cleanup(dry_run=False)
    code, (one,) = status_lines("--application", APPLICATION)
    assert (code, one["approved_by"], one["last"]["rows"], one["last"]["verdict"]) == (0, "ann", 10, "PASS")
    shown = CliRunner().invoke(app, ["status"])
    assert shown.exit_code == 0 and "old-tickets" in shown.output and "ann 20" in shown.output
    listed = CliRunner().invoke(app, ["archives"])
    (written,) = stage.world.ledger.entries(kinds=["archive.written"])
    assert written.data["encryption"] == "none" and written.data["prefix"] in listed.output and " no " in listed.output


SUITE = '[{"type": "ExpectTableRowCountToBeBetween", "table": "tickets", "arguments": {"min_value": 1}}]'


def test_expectations_are_judged_before_and_after_and_unmet_ones_keep_every_row(stage: Stage):
    file = FILE + POLICY + '[data]\nexpectations = ["suites/desk.json"]\n'
    rows = settle(stage, file=file, files={"suites/desk.json": SUITE})
    approve(stage, plan_of(cleanup())["policy_hash"])
    stage.world.cleaning.unmet = {"ExpectTableRowCountToBeBetween"}
    with pytest.raises(InvariantError, match=r"Nothing was deleted: the data is not as expected .expectations\.desk"):
        cleanup(dry_run=False)
    assert len(rows.tables["public.tickets"]) == 100 and stage.kinds().count("cleanup.begun") == 0
    stage.world.cleaning.unmet = set()
    (outcome,) = cleanup(dry_run=False)
    assert outcome["done"]["verdict"] == "PASS" and len(rows.tables["public.tickets"]) == 90
    judged = stage.world.ledger.entries(kinds=["cleanup.judged"])
    assert [(one.data["when"], bool(one.data["unmet"])) for one in judged] == [
        ("before", True),
        ("before", False),
        ("after", False),
    ]


def test_capacity_is_told_what_a_policy_would_free(stage: Stage):
    settle(stage)
    assert what_would_go(APPLICATION, "production") == [CleanUp("old-tickets", 2000.0)]
    assert stage.world.ledger.entries(kinds=["cleanup.planned"]) == []


THINGS = "things: [{name: logs, kind: logs, older_than_days: 30, keep_newest: 1, rows_max: 3}]"


def old_logs(stage: Stage, *, count: int) -> MemoryExpirables:
    begun = stage.world.clock.now() - timedelta(days=400)
    items = [Expirable(f"{n}.log.1", 100, begun + timedelta(days=n), "in use" if n == 0 else "") for n in range(count)]
    stage.world.cleaning.own_policies = THINGS
    stage.world.cleaning.kinds["logs"] = things = MemoryExpirables(items)
    return things


def test_things_go_by_the_same_plan_approval_and_proof(stage: Stage):
    things = old_logs(stage, count=5)
    (asked,) = cleanup(application="slipway", dry_run=False)
    assert asked["course"] == "ask" and asked["plan"]["preview"]["rows"] == 3 and len(things.items) == 5
    approve(stage, asked["plan"]["policy_hash"], application="slipway", policy="logs")
    (done,) = cleanup(application="slipway", dry_run=False)
    assert (done["done"]["verdict"], done["done"]["rows"], done["done"]["size_bytes"]) == ("PASS", 3, 300)
    assert sorted(things.items) == ["0.log.1", "4.log.1"]  # what is in use, and the newest


def test_more_things_than_the_cap_ask(stage: Stage):
    things = old_logs(stage, count=9)
    (asked,) = cleanup(application="slipway")
    approve(stage, asked["plan"]["policy_hash"], application="slipway", policy="logs")
    (outcome,) = cleanup(application="slipway", dry_run=False)
    assert outcome["course"] == "ask" and len(things.items) == 9
    approve(stage, outcome["plan"]["hash"], "ben", application="slipway", policy="logs")
    assert cleanup(application="slipway", dry_run=False)[0]["done"]["rows"] == 7 and len(things.items) == 2


def test_prefect_s_own_runs_expire_through_its_api_and_those_that_have_not_ended_stay(stage: Stage):
    cleanup(application="slipway")
    runs = RunExpirables()
    found = runs.read()
    (mine,) = [one for one in found if one.at == max(other.at for other in found if not other.protected)]
    with get_client(sync_client=True) as client:
        waiting = client.create_flow_run(cleanup, state=Scheduled())
    known = {one.key: one.protected for one in runs.read()}
    assert "not ended" in known[str(waiting.id)] and known[mine.key] == ""
    removed = runs.remove([mine.key, str(waiting.id), mine.key])
    assert removed.count == 1 and [key for key, _ in removed.failed] == [str(waiting.id)]
    left = {one.key for one in runs.read()}
    assert mine.key not in left and str(waiting.id) in left
