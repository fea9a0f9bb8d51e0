"""What stands in the way is found before anything starts, with its figure and the setting that changes it."""

import os
import re
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.identity import is_root
from deployments.stack.preflight import find_problems
from deployments.stack.settings import Settings, read_settings


@pytest.fixture
def settings(open_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SLIPWAY_STATE", str(open_tmp / "state"))
    return replace(read_settings({"SLIPWAY_SOCKETS": str(open_tmp / "s")}), disk_free_bytes_min=0)


def test_a_machine_with_nothing_in_the_way_has_no_problems(settings: Settings) -> None:
    assert find_problems(settings, ports={}, own_pids=()) == []


def test_a_taken_port_names_port_part_holder_and_setting(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (problem,) = find_problems(settings, ports={"postgres": port}, own_pids=())
        assert f"Port {port}" in problem and "(postgres)" in problem and f"pid {os.getpid()}" in problem
        assert "SLIPWAY_PORT_BASE" in problem
        assert find_problems(settings, ports={"postgres": port}, own_pids=(os.getpid(),)) == []


def test_a_port_taken_on_every_address_is_taken(settings: Settings) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        assert find_problems(settings, ports={"s3": taken.getsockname()[1]}, own_pids=())


def test_a_connection_that_lingers_does_not_take_a_port(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()  # the server's side closes first, and keeps the address for a minute
    assert find_problems(settings, ports={"door": port}, own_pids=()) == []


def test_a_full_disk_names_both_figures_and_the_setting(settings: Settings) -> None:
    free = shutil.disk_usage("/tmp").free
    (problem,) = find_problems(replace(settings, disk_free_bytes_min=free + 10**12), ports={}, own_pids=())
    have, need = re.findall(r"([\d.]+) GB", problem)
    assert float(need) - float(have) == pytest.approx(1000, abs=5)
    assert "SLIPWAY_DISK_FREE_MIN" in problem and "SLIPWAY_STATE" in problem


def test_a_path_too_long_for_a_socket_names_length_limit_and_setting(settings: Settings, open_tmp: Path) -> None:
    sockets = open_tmp / ("x" * (90 - len(str(open_tmp))))
    (problem,) = find_problems(replace(settings, sockets=sockets), ports={}, own_pids=())
    length = len(f"{sockets}/postgres/.s.PGSQL.65535.lock")
    assert f"{length} bytes" in problem and "107" in problem and "SLIPWAY_SOCKETS" in problem
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError, match="too long"):
        probe.bind(f"{sockets}/postgres/.s.PGSQL.65535.lock")  # the system really refuses it


def test_a_long_state_path_is_no_problem_since_sockets_are_elsewhere(settings: Settings, open_tmp: Path) -> None:
    assert find_problems(replace(settings, state=open_tmp / ("y" * 200)), ports={}, own_pids=()) == []


def test_a_file_in_place_of_the_state_folder_is_named(settings: Settings, open_tmp: Path) -> None:
    (open_tmp / "file").write_text("")
    (problem,) = find_problems(replace(settings, state=open_tmp / "file"), ports={}, own_pids=())
    assert "is not a folder" in problem and "SLIPWAY_STATE" in problem


def test_a_folder_with_other_files_is_not_taken_over(settings: Settings, open_tmp: Path) -> None:
    (open_tmp / "home").mkdir()
    (open_tmp / "home" / "thesis.txt").write_text("")
    (problem,) = find_problems(replace(settings, state=open_tmp / "home"), ports={}, own_pids=())
    assert "holds other files" in problem


@pytest.mark.skipif(not is_root(), reason="root's state must be reachable for other users; an ordinary user has none")
def test_a_closed_folder_on_the_way_is_named_with_its_mode(settings: Settings, open_tmp: Path) -> None:
    (open_tmp / "closed").mkdir(mode=0o700)
    (problem,) = find_problems(replace(settings, state=open_tmp / "closed" / "state"), ports={}, own_pids=())
    assert str(open_tmp / "closed") in problem and "0700" in problem and "/var/lib/slipway" in problem


@pytest.mark.skipif(is_root(), reason="root may write everywhere")
def test_a_state_folder_that_is_not_writable_is_named(settings: Settings) -> None:
    (problem,) = find_problems(replace(settings, state=Path("/usr/slipway")), ports={}, own_pids=())
    assert "/usr is not writable" in problem and "SLIPWAY_STATE" in problem


@pytest.mark.skipif(not is_root(), reason="only root can make a folder that is somebody else's")
def test_somebody_elses_installation_is_refused(settings: Settings, open_tmp: Path) -> None:
    (open_tmp / "theirs").mkdir()
    os.chown(open_tmp / "theirs", 65534, 65534)
    problems = find_problems(replace(settings, state=open_tmp / "theirs"), ports={}, own_pids=())
    assert any("belongs to uid 65534" in problem for problem in problems)


def test_sockets_where_everybody_may_write_are_refused(settings: Settings) -> None:
    (problem,) = find_problems(replace(settings, sockets=Path("/tmp")), ports={}, own_pids=())
    assert "SLIPWAY_SOCKETS" in problem
