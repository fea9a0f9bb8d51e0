"""The demo's people have real seeds, real codes, and never use one twice."""

import stat
import time
from pathlib import Path

import pytest

from blocks.memory_approvers import MemoryApprovers
from deployments.demo.people import LEFT_S_MIN, People
from domain.errors import ConfigError
from domain.ports import Approver


def test_a_code_of_the_demos_approver_counts(tmp_path: Path):
    approvers = MemoryApprovers()
    people = People(tmp_path / "people.json")
    name = people.ensure(approvers, "ann", "approver")
    assert approvers.use_code(name, people.next_code(name, sleep=lambda seconds: None).digits).is_ok


def test_no_code_is_used_twice_even_by_the_next_demo(tmp_path: Path):
    waited: list[float] = []
    People(tmp_path / "people.json").ensure(MemoryApprovers(), "ann", "approver")
    first = People(tmp_path / "people.json").next_code("ann", sleep=waited.append)
    second = People(tmp_path / "people.json").next_code("ann", sleep=waited.append)
    assert second.until - first.until >= 30
    assert waited and waited[-1] > 0


def test_a_code_is_current_for_long_enough_to_be_checked(tmp_path: Path):
    people = People(tmp_path / "people.json")
    people.ensure(MemoryApprovers(), "ann", "approver")
    slept: list[float] = []
    code = people.next_code("ann", sleep=slept.append)
    assert code.until - (time.time() + sum(slept)) >= LEFT_S_MIN - 1


def test_the_same_person_is_found_again(tmp_path: Path):
    approvers = MemoryApprovers()
    assert People(tmp_path / "people.json").ensure(approvers, "ann", "approver") == "ann"
    assert People(tmp_path / "people.json").ensure(approvers, "ann", "approver") == "ann"
    assert [person.name for person in approvers.list()] == ["ann"]


def test_somebody_elses_name_is_never_taken(tmp_path: Path):
    approvers = MemoryApprovers()
    approvers.enrol(Approver("ann", roles=("administrator",)))
    assert People(tmp_path / "people.json").ensure(approvers, "ann", "approver") == "ann-of-the-demo"
    person = approvers.get("ann")
    assert person is not None and person.roles == ("administrator",)


def test_seeds_are_readable_by_their_owner_only(tmp_path: Path):
    People(tmp_path / "people.json").ensure(MemoryApprovers(), "ann", "approver")
    assert stat.S_IMODE((tmp_path / "people.json").stat().st_mode) == 0o600


def test_an_unknown_name_lists_those_there_are(tmp_path: Path):
    people = People(tmp_path / "people.json")
    people.ensure(MemoryApprovers(), "ann", "approver")
    with pytest.raises(ConfigError, match="'bob' is not one of the demo's people: ann"):
        people.shown_code("bob")
