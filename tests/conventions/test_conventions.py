"""The rules of the house that a machine can hold."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROOMS = ("domain", "blocks", "tasks", "flows", "deployments")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
SUBFLOWS = {"rollout_direct", "rollout_canary"}
"""Flows that only `cd` starts, inside its own run."""


def flow_functions() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in (ROOT / "flows").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and any("flow" in ast.dump(d) for d in node.decorator_list):
                found[node.name] = path
    return found


FLOWS = flow_functions()


def test_every_flow_has_the_name_of_its_file():
    assert {name: path.stem for name, path in FLOWS.items()} == {name: name for name in FLOWS}


def test_every_flow_that_a_person_starts_has_a_deployment_of_its_name():
    deployed = {item["entrypoint"]: item["name"] for item in DEPLOYMENTS}
    assert deployed == {f"flows/{name}.py:{name}": name for name in FLOWS if name not in SUBFLOWS}


@pytest.mark.parametrize("name", sorted(set(FLOWS) - SUBFLOWS))
def test_every_flow_has_a_runbook(name: str):
    runbook = ROOT / "docs" / "runbooks" / f"{name}.md"
    assert runbook.is_file(), f"write docs/runbooks/{name}.md: what it does, when it stops, what to do then"
    assert len(runbook.read_text()) > 400


@pytest.mark.parametrize("name", sorted(set(FLOWS) - SUBFLOWS))
def test_every_parameter_of_a_flow_is_described(name: str):
    """Prefect drops `Field(description=...)` of flow parameters; the docstring's `Args:` is what the form shows."""
    tree = ast.parse(FLOWS[name].read_text())
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    doc = ast.get_docstring(function) or ""
    for argument in function.args.args + function.args.kwonlyargs:
        assert re.search(rf"^\s+{argument.arg}: \S", doc, re.MULTILINE), f"{name}: describe {argument.arg}"


def test_no_flow_that_may_suspend_retries_as_a_flow():
    for path in (ROOT / "flows").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert not any(
                    isinstance(d, ast.Call)
                    and any(k.arg == "retries" for k in d.keywords)
                    and "flow" in ast.dump(d.func)
                    for d in node.decorator_list
                ), f"{path.name}: a flow with retries= that suspends is stuck for ever (Prefect 3.8.8)"


@pytest.mark.parametrize("path", sorted((ROOT / "flows").glob("*.py")), ids=lambda p: p.stem)
def test_no_file_in_flows_hides_an_installed_module(path: Path):
    """`flows/` goes to the front of sys.path when Prefect loads an entrypoint."""
    if path.stem == "__init__":
        return
    assert path.stem not in sys.stdlib_module_names
    found = importlib.util.find_spec(path.stem)
    assert found is None or Path(str(found.origin)).is_relative_to(ROOT), f"{path.stem} is a module of {found}"


@pytest.mark.parametrize("path", sorted(FLOWS.values()), ids=lambda p: p.stem)
def test_entrypoint_files_define_no_public_classes(path: Path):
    """Loaded by path, a class of theirs would have two identities."""
    classes = [n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef)]
    assert all(name.startswith("_") for name in classes)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_says_why_it_exists(path: Path):
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} opens without a sign on its door"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_are_absolute(path: Path):
    assert not [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.level]


def test_no_block_has_a_logo_that_breaks_its_import():
    for path in (ROOT / "blocks").glob("*.py"):
        assert "data:" not in "".join(re.findall(r"_logo_url\s*=\s*(.+)", path.read_text()))


def test_the_rooms_import_to_the_right_only():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda p: p.name)
def test_a_lock_holds_hashes_and_no_address(path: Path):
    text = path.read_text()
    assert "://" not in text and "index-url" not in text and "find-links" not in text
    requirements = [line for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)]
    assert requirements and all("==" in line and line.endswith("\\") for line in requirements)


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_is_large():
    large = [path for path in tracked_files() if path.stat().st_size > 1_000_000]
    assert not large


def test_test_modules_have_names_of_their_own():
    """Tests are no packages: of two modules of one name pytest collects neither."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if "tiny" not in path.parts]
    assert sorted(name for name in set(names) if names.count(name) > 1 and name != "conftest.py") == []
