"""What the doctor says of a world in memory, whose routes, runs and people are as the test makes them."""

import re
import tomllib
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from blocks.memory_world import MemoryWorld
from blocks.world import use_world
from deployments.commands.doctor import PAGE
from deployments.doctor import delivery, ground
from deployments.doctor.case import Case, Notes
from deployments.doctor.examining import CHECKS, Check, examine
from deployments.stack.settings import read_settings
from domain.anchor import Anchor
from domain.diagnosis import Finding, find_break, first_broken
from domain.ledger import Entry, Event, chain_entry
from domain.ports import Application, Approver, RunRecord
from domain.release import Bundle, Manifest, short
from domain.service import Arm, ServiceSpec

ROOT = Path(__file__).parents[2]
MANIFEST = Manifest(application="desk", commit="a" * 40, bundle=Bundle("a" * 64, 10))


@pytest.fixture
def world() -> Generator[MemoryWorld]:
    world = MemoryWorld()
    world.applications.add(Application("desk", "gitea", "team/desk", "file:///desk"), webhook_secret="x")
    use_world(lambda: world)
    yield world
    use_world(None)


@pytest.fixture
def case(world: MemoryWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setenv("SLIPWAY_STATE", str(tmp_path))
    (tmp_path / "logs").mkdir()
    return Case(read_settings())


def _go_live(world: MemoryWorld) -> None:
    for environment, site in world.sites:
        target = world.target(environment, site)
        target.add(MANIFEST, {"slipway.toml": ""})
        target.prepare(MANIFEST)
        found = target.start(ServiceSpec("desk", MANIFEST.digest, ("serve",), instances=1))
        world.balancer(environment, site).route("desk", [Arm(MANIFEST.digest, 100, (found[0].url,))])
    for environment in world.environments():
        event = Event(
            "rollout.completed", application="desk", environment=environment.name, release=MANIFEST.digest, run="r"
        )
        world.ledger.append(event)


def _notes(check: str, case: Case) -> list[Finding]:
    notes = Notes(check)
    next(one for one in CHECKS if one.name == check).look(case, notes)
    return list(notes)


def test_routes_and_instances_as_the_ledger_says_are_well(world: MemoryWorld, case: Case) -> None:
    _go_live(world)
    assert [one.state for one in (*_notes("routes", case), *_notes("instances", case))] == ["well", "well"]
    assert "4 sites" in _notes("routes", case)[0].found


def test_a_site_without_the_live_release_is_named_with_the_rollback_that_brings_it_back(
    world: MemoryWorld, case: Case
) -> None:
    _go_live(world)
    world.balancer("production", "beta").route("desk", [])
    (found,) = _notes("routes", case)
    assert found.state == "broken" and "production/beta" in found.found and "no route" in found.found
    assert found.command.startswith(
        "slipway rollback desk --environment production --release " + short(MANIFEST.digest)
    )


def test_a_rollout_under_way_is_no_broken_route(world: MemoryWorld, case: Case) -> None:
    _go_live(world)
    event = Event("rollout.begun", application="desk", environment="production", release="b" * 64, run="other")
    world.ledger.append(event)
    world.balancer("production", "alpha").route("desk", [])
    assert [one.state for one in _notes("routes", case)] == ["well"]


def test_a_stopped_instance_of_the_live_release_is_broken(world: MemoryWorld, case: Case) -> None:
    _go_live(world)
    world.target("production", "alpha").stop("desk", MANIFEST.digest)
    world.target("production", "alpha").state_at_start = "failed"
    world.target("production", "alpha").start(ServiceSpec("desk", MANIFEST.digest, ("serve",), instances=1))
    (found,) = _notes("instances", case)
    assert found.state == "broken" and "production/alpha" in found.found and "failed" in found.found


def test_a_run_that_never_began_is_broken(world: MemoryWorld, case: Case) -> None:
    since = datetime.now(UTC) - timedelta(minutes=10)
    world.run_records.records["1"] = RunRecord("1", "ci", "desk 1", "scheduled", since=since)
    (found,) = _notes("runs", case)
    assert found.state == "broken" and "ci/desk 1" in found.found and "flow-run cancel 1" in found.command


def test_refused_deliveries_and_an_empty_list_of_approvers_are_worth_a_look(world: MemoryWorld, case: Case) -> None:
    world.ledger.append(Event("delivery.refused", application="desk", data={"reason": "no body"}))
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    line = f"{now},1 WARNING delivery.forged status=401 ms=1.0 path=/webhooks/gitea/team/desk\n"
    (case.state / "logs" / "door.log").write_text(line * 3)
    found = _notes("webhooks", case)
    assert [one.found for one in found] == [
        "1 deliveries of desk were refused.",
        "3 deliveries to /webhooks/gitea/team/desk were forged.",
    ]
    assert "slipway approver add" in _notes("approvers", case)[0].command
    world.approvers.enrol(Approver("eve", roles=("administrator:*/staging", "approver")))
    assert "administrator for" in _notes("approvers", case)[0].found
    world.approvers.enrol(Approver("ann", roles=("approver", "administrator")))
    assert _notes("approvers", case) == []


def test_a_head_that_was_not_anchored_for_long_is_worth_a_look(world: MemoryWorld, case: Case) -> None:
    assert _notes("anchors", case) == []
    first = world.ledger.append(Event("ci.started"))
    assert _notes("anchors", case) == [], "the first hour is not over"
    world.anchors.write(Anchor(first.seq, first.hash, datetime.now(UTC) - timedelta(hours=3)))
    (found,) = _notes("anchors", case)
    assert found.state == "look" and "last copied" in found.found and "anchor/anchor" in found.command
    world.anchors.write(Anchor(first.seq, first.hash, datetime.now(UTC)))
    assert [one.state for one in _notes("anchors", case)] == ["well"]


def test_deliveries_that_wait_too_long_are_broken(
    world: MemoryWorld, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.inbox.store(forge="gitea", repository="team/desk", delivery_id="1", headers={}, body=b"{}")
    assert _notes("door", case) == []
    monkeypatch.setattr(delivery, "WAITING_S_MAX", -1)
    assert _notes("door", case)[0].state == "broken"


def test_a_secret_that_others_may_read_is_named_with_the_command(case: Case) -> None:
    path = case.state / "credentials.json"
    path.write_text("{}")
    path.chmod(0o644)
    assert [one.command for one in _notes("modes", case)] == [f"chmod go= {path}"]


def test_without_an_installation_the_first_broken_thing_is_that(case: Case) -> None:
    found = first_broken(examine(case))
    assert found is not None and found.check == "installation" and found.command == "slipway up"
    states = {one.check: one.state for one in examine(case)}
    assert states["supervisor"] == states["routes"] == "skipped"


def test_what_is_looked_at_needs_only_what_was_looked_at_before() -> None:
    known: set[str] = set()
    for check in CHECKS:
        assert isinstance(check, Check) and set(check.needs) <= known, check.name
        known.add(check.name)


def test_every_check_has_its_section_in_the_documentation() -> None:
    headings = re.findall(r"^### (\S+)$", (ROOT / PAGE).read_text(), re.MULTILINE)
    assert headings == [check.name for check in CHECKS]


def test_the_pins_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {one.name: str(one.specifier) for one in map(Requirement, project["dependencies"])}
    assert {name: sorted(pin.split(",")) for name, pin in ground.PINS.items()} == {
        name: sorted(wanted[name].split(",")) for name in ground.PINS
    }


def _chain(number: int) -> list[Entry]:
    entries: list[Entry] = []
    for count in range(number):
        last = entries[-1] if entries else None
        entries.append(chain_entry(last, datetime.now(UTC), Event("thing.done", data={"count": count})))
    return entries


def test_a_stretch_of_the_ledger_is_whole_from_anywhere_and_a_change_in_it_is_found() -> None:
    entries = _chain(5)
    assert find_break(entries) == find_break(entries[2:]) == find_break([]) == ""
    changed = Entry(
        entries[3].seq, entries[3].at, Event("thing.undone"), prev_hash=entries[3].prev_hash, hash=entries[3].hash
    )
    assert "entry 4" in find_break([*entries[2:3], changed, entries[4]])
    assert "entry 4 is missing" in find_break([entries[2], entries[4]])
