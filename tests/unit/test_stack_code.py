"""The copy of the code: found by content, complete, remembered by each run, removed when nobody needs it."""

from pathlib import Path

import pytest
import yaml

from deployments.stack.code import RENDERED_FILE, ROOMS, code_hash, copy_code, prune_code, steps_folder
from deployments.stack.slipway_worker import place_of


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for room in ROOMS:
        (tmp_path / "home" / room).mkdir(parents=True)
        (tmp_path / "home" / room / "__init__.py").write_text(f"NAME = '{room}'\n")
    pull = "pull:\n  - step: {directory: '{{ $SLIPWAY_CODES }}/{{ $SLIPWAY_CODE }}'}\n"
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
    assert step == {"step": {"directory": str(place)}}


def test_a_run_goes_on_with_the_code_it_began_with(codes: Path) -> None:
    steps_folder(codes)
    for name in ("old", "new"):
        (codes / name).mkdir()
    assert place_of("run-1", codes=codes, current="old") == codes / "old"
    assert place_of("run-1", codes=codes, current="new") == codes / "old"
    assert place_of("run-2", codes=codes, current="new") == codes / "new"


def test_code_that_is_gone_is_said_and_nothing_else_is_run(codes: Path) -> None:
    steps_folder(codes)
    (codes / "new").mkdir()
    (codes / "runs" / "run-1").write_text("pruned")
    with pytest.raises(FileNotFoundError, match="pruned, the code that this run began with, is gone"):
        place_of("run-1", codes=codes, current="new")


def test_copies_stay_while_they_are_current_or_an_unfinished_run_began_with_them(home: Path, codes: Path) -> None:
    current = copy_code(codes, home)
    steps_folder(codes)
    for name in ("waited-for", "forgotten"):
        (codes / name).mkdir()
    (codes / "runs" / "waiting").write_text("waited-for")
    (codes / "runs" / "ended").write_text("forgotten")
    assert prune_code(codes, current=current, unfinished_runs={"waiting"}) == ["forgotten"]
    assert current.exists() and (codes / "waited-for").exists() and (codes / "steps" / "slipway_worker.py").exists()
    assert [note.name for note in (codes / "runs").iterdir()] == ["waiting"]
