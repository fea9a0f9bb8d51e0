"""Limits of an instance: planned for what the machine has, put on at the start, read back and never believed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blocks import launch
from blocks.resource_limits import (
    CPU_PRIORITY,
    MEMORY_EACH,
    Groups,
    find_groups,
    forget_all_groups,
    forget_groups,
    limits_in_force,
    niceness_for,
    plan_holds,
)
from domain.service import Limits

WANTED = Limits(200_000_000, 0.5)
SEEN = (
    "import json, os, resource; "
    "print(json.dumps([resource.getrlimit(resource.RLIMIT_DATA)[0], os.getpriority(os.PRIO_PROCESS, 0)]))"
)


def launched(tmp_path: Path, holds: dict[str, object]) -> tuple[list[int], str]:
    """Start a program through a launch file; the limits that it sees, and what was said."""
    spec = tmp_path / "one.json"
    spec.write_text(json.dumps({"command": [sys.executable, "-c", SEEN], "environment": {}, **holds}))
    done = subprocess.run([sys.executable, "-I", "-S", launch.__file__, str(spec)], capture_output=True, text=True)
    return json.loads(done.stdout), done.stderr


def test_what_has_no_limit_is_started_as_ever() -> None:
    assert plan_holds(Limits(), groups=None, unit="u") == {}


def test_without_control_groups_each_process_has_a_limit_of_data_and_a_lower_priority(tmp_path: Path) -> None:
    holds = plan_holds(WANTED, groups=None, unit="u")
    assert holds == {"data_bytes": 200_000_000, "niceness": 10}
    (data, niceness), said = launched(tmp_path, holds)
    assert (data, niceness - os.getpriority(os.PRIO_PROCESS, 0), said) == (200_000_000, 10, "")


def test_without_control_groups_it_is_said_that_limits_are_weaker() -> None:
    found, weaker = limits_in_force(os.getpid(), groups=None, unit="u")
    assert isinstance(found, Limits) and weaker == (MEMORY_EACH, CPU_PRIORITY)


@pytest.mark.parametrize(("share", "niceness"), [(4, 0), (1, 0), (0.75, 5), (0.5, 10), (0.25, 15), (0.01, 19)])
def test_a_smaller_share_is_a_lower_priority(share: float, niceness: int) -> None:
    assert niceness_for(share) == niceness


def test_version_2_has_one_group_for_both_with_its_controllers_made_anew(tmp_path: Path) -> None:
    base = tmp_path / "slipway"
    holds = plan_holds(WANTED, groups=Groups(base, base), unit="u")
    assert [folder for folder, _ in holds["cgroups"]] == [str(tmp_path), str(base), str(base / "u")]
    assert holds["cgroups"][-1][1] == {"memory.max": "200000000", "cpu.max": "50000 100000", "cgroup.procs": ""}


def test_version_1_has_a_group_for_each_and_none_for_what_has_no_limit(tmp_path: Path) -> None:
    groups = Groups(tmp_path / "memory", tmp_path / "cpu")
    cgroups = plan_holds(WANTED, groups=groups, unit="u")["cgroups"]
    assert cgroups[0][1]["memory.limit_in_bytes"] == "200000000" and cgroups[1][1]["cpu.cfs_quota_us"] == "50000"
    assert len(plan_holds(Limits(cpu_share=2.0), groups=groups, unit="u")["cgroups"]) == 1


@pytest.mark.parametrize("version", [1, 2])
def test_what_was_put_on_is_read_back_and_only_for_who_is_in_it(tmp_path: Path, version: int) -> None:
    """Folders take the place of the kernel's here; `tests/contracts/test_target.py` has the kernel."""
    base = tmp_path / "slipway"
    groups = Groups(base, base) if version == 2 else Groups(tmp_path / "memory", tmp_path / "cpu")
    _, said = launched(tmp_path, plan_holds(WANTED, groups=groups, unit="u"))
    assert said == ""
    pid = int((groups.memory / "u" / "cgroup.procs").read_text())
    assert limits_in_force(pid, groups=groups, unit="u") == (WANTED, ())
    assert limits_in_force(pid + 1, groups=groups, unit="u") == (Limits(), ())
    assert limits_in_force(pid, groups=groups, unit="other") == (Limits(), ())


def test_a_group_without_a_limit_is_no_limit(tmp_path: Path) -> None:
    (tmp_path / "u").mkdir()
    for name, text in {"cgroup.procs": "7", "memory.max": "max", "cpu.max": "max 100000"}.items():
        (tmp_path / "u" / name).write_text(text)
    assert limits_in_force(7, groups=Groups(tmp_path, tmp_path), unit="u")[0] == Limits()


def test_a_limit_that_the_machine_refuses_is_said_and_the_program_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    groups = Groups(tmp_path / "file", tmp_path / "file")
    seen, said = launched(tmp_path, plan_holds(WANTED, groups=groups, unit="u"))
    assert seen and f"limit not in force: {tmp_path / 'file' / 'u'}" in said


def test_ended_instances_leave_no_group(tmp_path: Path) -> None:
    (tmp_path / "u").mkdir()
    groups = Groups(tmp_path, tmp_path)
    for _ in range(2):
        forget_groups("u", groups=groups)
    forget_groups("u", groups=None)
    assert not (tmp_path / "u").exists()


def test_with_the_installation_all_of_its_groups_go(tmp_path: Path) -> None:
    base = tmp_path / "slipway"
    for unit in ("a", "b"):
        (base / unit).mkdir(parents=True)
    for _ in range(2):
        forget_all_groups(groups=Groups(base, base))
    assert not base.exists()


def test_this_machine_is_tried_and_not_guessed(tmp_path: Path) -> None:
    groups = find_groups(tmp_path)
    assert groups is None or all(folder.is_dir() for folder in groups.folders(""))
    forget_all_groups(groups=groups)
