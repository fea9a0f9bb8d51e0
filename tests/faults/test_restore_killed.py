"""Every boundary of `restore`, found by running it: killed there, the database is the old or the restored one, whole.

And what an answer, silence, drift or damage does to it; in memory, the same on a real server in `test_restore_real.py`.
"""

from collections.abc import Generator

import pytest
from boundaries_of_restore import NAME, Rescuer, deaths
from plain_engine import PlainEngine, PlainRun
from stage import APPLICATION

from blocks.clock import MemoryClock
from blocks.world import use_world
from domain.errors import ConfigError, InvariantError, RefusedError
from domain.restore import key_of
from tasks.restore import exchange_databases, load_database

pytestmark = pytest.mark.filterwarnings("ignore:Pickle, copy, and deepcopy support:DeprecationWarning")
DAMAGED, RESTORED = ["first", "third", "fourth"], ["first", "second", "third"]


@pytest.fixture(scope="module")
def engine() -> Generator[PlainEngine]:
    with PlainEngine(MemoryClock()).installed() as engine:
        yield engine
    use_world(None)


@pytest.fixture
def rescuer(engine: PlainEngine) -> Rescuer:
    return Rescuer(engine)


def test_rows_come_back_what_was_live_is_kept_and_undo_brings_it_back(rescuer: Rescuer) -> None:
    run = rescuer.new_run()
    ended = rescuer.drive(run)
    assert ended.state == "completed", ended.value
    assert rescuer.rows == RESTORED and rescuer.kept(run) == DAMAGED and rescuer.complaints() == []
    kinds = [entry.kind for entry in rescuer.entries(run=run.id)]
    for kind in ("restore.planned", "restore.granted", "restore.begun", "database.loaded", "exchange.completed"):
        assert kind in kinds
    assert kinds.index("restore.granted") < kinds.index("restore.begun") < kinds.index("database.begun")
    (incident,) = rescuer.entries("incident.opened")
    assert incident.data["severity"] == "P1" and incident.data["cause"] == "a row is gone"
    preview, report = rescuer.theatre.world.screen.reports["restore"]
    assert "1 rows that are there now would be lost" in preview and "slipway restore undo" in report

    rescuer.write("fifth")
    back = rescuer.new_run(act="undo", kept=key_of(run.id))
    assert rescuer.drive(back).state == "completed"
    assert rescuer.rows == DAMAGED and rescuer.kept(back) == [*RESTORED, "fifth"] and rescuer.kept(run) is None

    gone = rescuer.new_run(act="remove", kept=key_of(back.id))
    assert rescuer.drive(gone).state == "completed"
    assert rescuer.kept(back) is None and rescuer.rows == DAMAGED and rescuer.complaints() == []


def test_a_dry_run_shows_and_changes_nothing_and_asks_nobody(rescuer: Rescuer) -> None:
    run = rescuer.new_run(dry_run=True)
    ended = rescuer.drive(run)
    assert ended.state == "completed" and not run.answers
    assert rescuer.rows == DAMAGED and list(rescuer.databases.databases) == [NAME] and rescuer.complaints() == []
    (preview,) = rescuer.theatre.world.screen.reports["restore"]
    assert "dry run" in preview and "| `public.said` | 3 | 3 | **1** | 0 | 1 |" in preview
    assert {entry.kind for entry in rescuer.entries(run=run.id)} == {"restore.planned"}


def test_a_no_changes_nothing(rescuer: Rescuer) -> None:
    run = rescuer.new_run()
    ended = rescuer.drive(run, decision="reject")
    assert ended.value.name == "Rejected" and rescuer.rows == DAMAGED and rescuer.complaints() == []


def test_who_asks_can_not_approve(rescuer: Rescuer) -> None:
    run = rescuer.new_run(requester="ann")
    with pytest.raises(AssertionError, match="asks for ever"):
        rescuer.drive(run, limit=3)
    assert {entry.data["refusal"] for entry in rescuer.entries("restore.refused")} == {"self"}


def test_another_live_database_or_release_is_asked_anew(rescuer: Rescuer) -> None:
    run = rescuer.new_run()
    with pytest.raises(AssertionError):
        rescuer.drive(run, limit=1)
    rescuer.databases.databases[NAME].identity = "another"
    assert rescuer.drive(run).state == "completed"
    (refused,) = rescuer.entries("restore.refused")
    assert refused.data["refusal"] == "drift" and rescuer.rows == RESTORED


def test_what_is_written_while_a_person_reads_is_no_drift_and_is_kept(rescuer: Rescuer) -> None:
    run = rescuer.new_run()
    with pytest.raises(AssertionError):
        rescuer.drive(run, limit=1)
    rescuer.write("fifth")
    assert rescuer.drive(run).state == "completed"
    assert rescuer.rows == RESTORED and rescuer.kept(run) == [*DAMAGED, "fifth"]


def test_nothing_lets_a_run_exchange_without_its_own_approval(rescuer: Rescuer) -> None:
    use_world(lambda: rescuer.theatre.world)
    for act in (
        lambda: load_database.fn("x", APPLICATION, "production", "d" * 64),
        lambda: exchange_databases.fn("x", APPLICATION, "production", "d" * 64, ""),
    ):
        with pytest.raises(RefusedError, match="Nothing in the ledger lets run x"):
            act()
    assert rescuer.rows == DAMAGED and rescuer.entries("effect.refused")


def test_a_live_database_that_is_gone_comes_back(rescuer: Rescuer) -> None:
    del rescuer.databases.databases[NAME]
    run = rescuer.new_run()
    rescuer.look = lambda name: None  # it was gone before
    assert rescuer.drive(run).state == "completed"
    assert rescuer.rows == RESTORED and rescuer.kept(run) is None
    assert "could not be looked at" in rescuer.theatre.world.screen.reports["restore"][0]


def test_the_live_database_stays_where_what_was_loaded_is_not_what_was_proven(rescuer: Rescuer) -> None:
    rescuer.databases.loses = True
    ended = rescuer.drive(rescuer.new_run())
    assert ended.value.name == "Stopped" and rescuer.rows == DAMAGED and rescuer.complaints() == []


@pytest.mark.parametrize("check", ["pages.checksums", "integrity.objects"])
def test_a_damaged_backup_is_not_taken_over_and_is_an_incident(rescuer: Rescuer, check: str) -> None:
    world = rescuer.theatre.world
    if check == "integrity.objects":
        key = next(key for key in world.backups.objects if key.endswith("/rows"))
        world.backups.objects[key] = b"other bytes"
    else:
        world.scratch.damaged[f"restore-{key_of('1restore')}"] = world.scratch.damaged.get("", "page")  # pyright: ignore[reportArgumentType]
        world.scratch.destroy = lambda name: world.scratch.servers.pop(name, None)  # type: ignore[method-assign]
    ended = rescuer.drive(rescuer.new_run())
    assert isinstance(ended.value, InvariantError) and rescuer.rows == DAMAGED
    (incident,) = rescuer.entries("incident.opened")
    assert incident.data["severity"] == "P1"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"reason": " "}, RefusedError),
        ({"act": "undo"}, RefusedError),
        ({"kept": "abc"}, RefusedError),
        ({"act": "undo", "kept": "abc"}, ConfigError),
        ({"to": "2026-06-01T10:00:00"}, ConfigError),
        ({"application": "nothing"}, ConfigError),
        ({"environment": "nowhere"}, ConfigError),
    ],
    ids=str,
)
def test_what_can_not_be_meant_is_refused_before_anything_is_done(
    rescuer: Rescuer, options: dict[str, str], error: type[Exception]
) -> None:
    before = len(rescuer.entries())
    ended = rescuer.drive(rescuer.new_run(**options))
    assert isinstance(ended.value, error) and len(rescuer.entries()) == before


def test_killed_anywhere_and_started_again_the_restored_rows_are_live(engine: PlainEngine) -> None:
    broken: dict[str, list[str]] = {}
    found = list(deaths(engine))
    names = {name for name, _, _, _ in found}
    assert names >= {"restorations.load", "restorations.exchange", "entry restore.completed production"}
    for name, is_done, rescuer, run in found:
        run.count = 2
        rescuer.theatre.world.clock.sleep(60)  # the lease of who died is over
        ended = rescuer.drive(run)
        problems = rescuer.complaints() + ([] if ended.state == "completed" else [f"{ended.state}: {ended.value!r}"])
        problems += [] if rescuer.rows == RESTORED else [f"rows are {rescuer.rows}"]
        problems += [] if rescuer.kept(run) == DAMAGED else [f"kept is {rescuer.kept(run)}"]
        if problems:
            broken[f"{'after' if is_done else 'before'} {name}"] = problems
    assert not broken


def test_killed_anywhere_and_left_alone_it_is_the_old_database_or_the_new_one_whole(engine: PlainEngine) -> None:
    broken: dict[str, list[str]] = {}
    for name, is_done, rescuer, run in deaths(engine):
        if problems := _left_alone(rescuer, run):
            broken[f"{'after' if is_done else 'before'} {name}"] = problems
    assert not broken


def _left_alone(rescuer: Rescuer, run: PlainRun) -> list[str]:
    rescuer.theatre._tell(run, "crashed")
    ended = rescuer.theatre.reconcile(1)
    found = rescuer.complaints() + ([] if ended.state == "completed" else [f"reconcile: {ended.value!r}"])
    expected = {(tuple(DAMAGED), None), (tuple(RESTORED), tuple(DAMAGED))}
    kept = rescuer.kept(run)
    state = (tuple(rescuer.rows), tuple(kept) if kept is not None else None)
    found += [] if state in expected else [f"rows are {state}"]
    again = rescuer.theatre.reconcile(2).value
    found += [f"reconcile finds something again: {again}"] if again["restores"] else []
    # and a person who starts it again now goes on with nothing from the middle
    was_begun = bool(rescuer.entries("restore.begun", run=run.id))
    before = list(rescuer.rows)
    run.count = 2
    rescuer.drive(run)
    found += ["it changed the database again"] if was_begun and rescuer.rows != before else []
    return found + rescuer.complaints()
