"""The real room for drills of the whole: what a process left is ended and removed, and a live one is left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from blocks import recovery_room
from blocks.recovery_room import OWNERS, ProcessRoom, free_base
from domain.errors import ConfigError


def test_where_there_is_nothing_to_recover_the_first_check_says_so(tmp_path: Path):
    room = ProcessRoom(tmp_path / "no-installation", tmp_path / "room")
    found = room.rehearse("recovery-1", limit_s=120, on_progress=lambda line: None)
    (check,) = found.checks
    assert check.name == "kit.written" and "No Slipway installation" in check.values["error"]
    room.destroy("recovery-1")
    room.destroy("recovery-1")
    assert room.leftovers() == [] and list((tmp_path / "room").iterdir()) == []


def test_what_a_killed_drill_left_is_ended_and_removed(tmp_path: Path):
    room = ProcessRoom(tmp_path, tmp_path / "room")
    place = tmp_path / "room" / "recovery-2"
    (place / "state").mkdir(parents=True)
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(command, start_new_session=True)
    gone = [2**22 - 1, 1.0]
    at_work = [child.pid, psutil.Process(child.pid).create_time()]
    (place / OWNERS).write_text(json.dumps({"drill": gone, "child": at_work}))
    assert room.leftovers() == ["recovery-2"]
    room.destroy("recovery-2")
    assert child.wait(timeout=10) != 0 and not place.exists()


def test_one_that_is_at_work_is_no_leftover(tmp_path: Path):
    room = ProcessRoom(tmp_path, tmp_path / "room")
    place = tmp_path / "room" / "recovery-3"
    place.mkdir(parents=True)
    recovery_room._sign(place / OWNERS, os.getpid())  # pyright: ignore[reportPrivateUsage]
    assert room.leftovers() == []


def test_a_number_that_was_given_again_is_never_hit(tmp_path: Path):
    room = ProcessRoom(tmp_path, tmp_path / "room")
    place = tmp_path / "room" / "recovery-4"
    place.mkdir(parents=True)
    (place / OWNERS).write_text(json.dumps({"drill": [os.getpid(), 1.0], "child": [os.getpid(), 1.0]}))
    assert room.leftovers() == ["recovery-4"]
    room.destroy("recovery-4")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "."])
def test_a_name_is_never_a_path(tmp_path: Path, name: str):
    with pytest.raises(ConfigError):
        ProcessRoom(tmp_path, tmp_path / "room").destroy(name)


def test_a_base_is_free_and_below_what_the_system_gives_away():
    assert 10_000 <= free_base() < 31_000
