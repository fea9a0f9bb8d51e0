"""Ports of instances are given once, kept over restarts, and rest for a while when they are given back."""

import multiprocessing
import socket
from pathlib import Path

import pytest

from blocks.instance_register import PORTS, InstanceGroup, InstanceRegister
from domain.canonical import sha256_hex
from domain.errors import TransientError

FIRST = 23_000


def _group(name: str) -> InstanceGroup:
    return InstanceGroup("test-main", "desk", sha256_hex(name), (), 30)


def _claim(folder: Path, name: str, count: int = 2) -> tuple[int, ...]:
    return InstanceRegister(folder, FIRST).claim(_group(name), indexes=range(count), alive=()).ports


def test_ports_stay_until_they_are_given_back_and_then_rest(tmp_path: Path) -> None:
    register = InstanceRegister(tmp_path, FIRST)
    old, new = _claim(tmp_path, "old"), _claim(tmp_path, "new")
    assert not set(old) & set(new)
    assert _claim(tmp_path, "old") == old
    register.release(_group("old").name)
    assert not set(_claim(tmp_path, "next")) & {*old, *new}
    assert {group.name for group in register.groups()} == {_group("new").name, _group("next").name}


def test_a_port_that_somebody_took_meanwhile_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    first, second = _claim(tmp_path, "old")
    with socket.create_server(("127.0.0.1", first)):
        third, still = _claim(tmp_path, "old")
        assert (third, still) == (third, second)
        assert third != first
    with socket.create_server(("127.0.0.1", third)):
        again = InstanceRegister(tmp_path, FIRST).claim(_group("old"), indexes=[0, 1], alive=[0])
        assert again.ports == (third, second)


def test_all_ports_are_given_before_one_comes_again_and_then_the_range_is_named(tmp_path: Path) -> None:
    ports = _claim(tmp_path, "many", PORTS - 20)  # some may be somebody's on this machine
    assert len(set(ports)) == PORTS - 20
    with pytest.raises(TransientError, match=f"{FIRST}\\.\\.{FIRST + PORTS - 1}"):
        _claim(tmp_path, "more", 21)
    InstanceRegister(tmp_path, FIRST).release(_group("many").name)
    assert len(_claim(tmp_path, "more", 21)) == 21


def test_many_processes_at_once_never_get_one_port_twice(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        claimed = pool.starmap(_claim, [(tmp_path, f"release {number}") for number in range(16)])
    ports = [port for pair in claimed for port in pair]
    assert len(set(ports)) == 32
