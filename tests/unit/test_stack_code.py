"""The copy of the code: found by content, complete, remembered by each run, removed when nobody needs it."""

import os
from pathlib import Path

import pytest
import yaml

from deployments.stack import slipway_code
from deployments.stack.code import RENDERED_FILE, ROOMS, code_hash, copy_code, prune_code, steps_folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for room in ROOMS:
        (tmp_path / "home" / room).mkdir(parents=True)
        (tmp_path / "home" / room / "__init__.py").write_text(f"NAME = '{room}'\n")
    pull = "pull:\n  - slipway_code.enter: {codes: '{{ $SLIPWAY_CODES }}', current: '{{ $SLIPWAY_CODE }}'}\n"
    (tmp_path / "home" / "prefect.yaml").write_text(pull)
    return tmp_path / "home"


@pytest.fixture
def codes(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    return tmp_path / "code"


def test_the_same_content_is_the_same_copy(home: Path, codes: Path) -> None:
    place = copy_code(codes, home)
    (home / "flows" / "__pycache__").mkdir()
    (home / "flows" / "__pycache__" / "x.pyc").write_bytes(b"")
    assert copy_code(codes, home) == place and len(list(codes.iterdir())) == 1
    assert code_hash(place) == place.name, "a copy of the copy is the copy"


def test_any_change_is_another_copy_and_leaves_the_first(home: Path, codes: Path) -> None:
    first = copy_code(codes, home)
    (home / "tasks" / "new.py").write_text("")
    second = copy_code(codes, home)
    (home / "tasks" / "new.py").rename(home / "tasks" / "renamed.py")
    assert len({first, second, copy_code(codes, home)}) == 3 and not (first / "tasks" / "new.py").exists()


def test_the_place_is_filled_into_the_pull_step(home: Path, codes: Path) -> None:
    place = copy_code(codes, home)
    (step,) = yaml.safe_load((place / RENDERED_FILE).read_text())["pull"]
    assert step == {"slipway_code.enter": {"codes": str(codes), "current": place.name}}


def test_a_run_goes_on_with_the_code_it_began_with(codes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps_folder(codes)
    for name in ("old", "new"):
        (codes / name).mkdir()
    monkeypatch.chdir(codes)
    monkeypatch.setenv(slipway_code.RUN_VARIABLE, "run-1")
    assert slipway_code.enter(str(codes), "old")["directory"] == str(codes / "old")
    assert slipway_code.enter(str(codes), "new")["directory"] == str(codes / "old") == str(Path.cwd())
    monkeypatch.setenv(slipway_code.RUN_VARIABLE, "run-2")
    assert slipway_code.enter(str(codes), "new")["directory"] == str(codes / "new")
    monkeypatch.delenv(slipway_code.RUN_VARIABLE)
    assert slipway_code.enter(str(codes), "new")["directory"] == str(codes / "new")


def test_code_that_is_gone_is_said_and_nothing_else_is_run(codes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps_folder(codes)
    (codes / "new").mkdir()
    monkeypatch.setenv(slipway_code.RUN_VARIABLE, "run-1")
    (codes / "runs" / "run-1").write_text("pruned")
    before = os.getcwd()  # noqa: PTH109
    with pytest.raises(FileNotFoundError, match="pruned, the code that this run began with, is gone"):
        slipway_code.enter(str(codes), "new")
    assert os.getcwd() == before  # noqa: PTH109


def test_copies_stay_while_they_are_current_or_an_unfinished_run_began_with_them(home: Path, codes: Path) -> None:
    current = copy_code(codes, home)
    steps_folder(codes)
    for name in ("waited-for", "forgotten"):
        (codes / name).mkdir()
    (codes / "runs" / "waiting").write_text("waited-for")
    (codes / "runs" / "ended").write_text("forgotten")
    assert prune_code(codes, current=current, unfinished_runs={"waiting"}) == ["forgotten"]
    assert current.exists() and (codes / "waited-for").exists() and (codes / "steps" / "slipway_code.py").exists()
    assert [note.name for note in (codes / "runs").iterdir()] == ["waiting"]
