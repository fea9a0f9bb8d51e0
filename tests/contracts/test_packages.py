"""What locked packages promise, in memory and by pip; wheels are made here, no registry is asked."""

import base64
import hashlib
import os
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.identity import as_user, find_python
from blocks.installation import Users
from blocks.memory_packages import MemoryPackages
from blocks.packages_pip import PipPackages
from domain.canonical import sha256_hex
from domain.errors import ConfigError
from domain.lock import Lock, parse_lock
from domain.ports import Packages


def make_wheel(folder: Path, name: str, version: str) -> bytes:
    """Write a wheel with one module into a folder that stands for a registry."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{path},{_record(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in files.items():
            archive.writestr(zipfile.ZipInfo(inner, (2020, 1, 1, 0, 0, 0)), text)
    return path.read_bytes()


def _record(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


@pytest.fixture
def registry(open_tmp: Path) -> Path:
    folder = open_tmp / "registry"
    folder.mkdir()
    return folder


@pytest.fixture
def lock(registry: Path) -> Lock:
    lines = [
        f"{name}=={version} --hash=sha256:{sha256_hex(make_wheel(registry, name, version))}"
        for name, version in (("alpha", "1.0"), ("beta", "2.0"))
    ]
    return parse_lock("\n".join(lines), file="test.lock")


@pytest.fixture
def pip(open_tmp: Path, open_tmp_root: Path, registry: Path, users: Users) -> PipPackages:
    python = find_python(users.build, copy_to=open_tmp_root / "binaries" / "python")
    (open_tmp / "cache").mkdir()
    variables = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(registry),
        "PIP_TARGET": "/nowhere",
        "PIP_NO_BINARY": ":all:",
    }
    return PipPackages(folder=open_tmp / "cache", python=python, variables=variables)


@pytest.fixture(params=["memory", "pip"])
def packages(request: pytest.FixtureRequest, lock: Lock, registry: Path, tmp_path: Path) -> Packages:
    if request.param == "pip":
        return request.getfixturevalue("pip")
    wheels = {path.name.split("-")[0]: (path.name, path.read_bytes()) for path in registry.iterdir()}
    return MemoryPackages(tmp_path, {package.requirement: wheels[package.name] for package in lock.packages})


def test_the_wheels_of_a_lock_are_fetched(packages: Packages, lock: Lock, registry: Path):
    wheels = packages.wheels(lock)
    assert [wheel.name for wheel in wheels] == ["alpha-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"]
    assert all(wheel.read_bytes() == (registry / wheel.name).read_bytes() for wheel in wheels)


def test_an_empty_lock_has_no_wheels_and_an_environment(packages: Packages):
    assert packages.wheels(Lock()) == []
    assert (packages.environment(Lock()) / "bin/python").exists()


def test_other_bytes_than_the_locked_ones_are_refused(packages: Packages, lock: Lock):
    changed = Lock(tuple(replace(package, hashes=(f"sha256:{'0' * 64}",)) for package in lock.packages))
    with pytest.raises(ConfigError, match=r"(?i)do not match"):
        packages.wheels(changed)


def test_a_package_that_is_not_there_is_named(packages: Packages):
    lock = parse_lock(f"no-such-package==9 --hash=sha256:{'0' * 64}", file="x")
    with pytest.raises(ConfigError, match="no-such-package"):
        packages.wheels(lock)


def test_an_environment_is_the_same_folder_next_time(packages: Packages, lock: Lock):
    assert packages.environment(lock) == packages.environment(lock)
    assert packages.environment(lock) != packages.environment(Lock())


def test_an_environment_has_exactly_the_locked_packages(pip: PipPackages, lock: Lock):
    python = pip.environment(lock) / "bin/python"
    program = (
        "import alpha, beta, importlib.metadata as m; print(alpha.version, sorted(d.name for d in m.distributions()))"
    )
    done = subprocess.run([str(python), "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1.0 ['alpha', 'beta']"


def test_what_was_fetched_once_needs_no_registry(pip: PipPackages, lock: Lock, registry: Path):
    pip.environment(lock)
    for wheel in registry.iterdir():
        wheel.unlink()
    assert len(pip.wheels(lock)) == 2 and pip.environment(lock)


def test_what_an_interrupted_run_left_is_made_anew(pip: PipPackages, lock: Lock):
    folder = pip.environment(lock)
    (folder / ".complete").unlink()
    (folder / "bin/python").unlink()
    assert (pip.environment(lock) / "bin/python").exists()
    wheels = pip.wheels(lock)
    (wheels[0].parent / ".complete").unlink()
    wheels[0].unlink()
    assert pip.wheels(lock) == wheels and wheels[0].exists()


def test_a_source_distribution_is_refused_and_does_not_run(pip: PipPackages, registry: Path, open_tmp: Path):
    project = open_tmp / "gamma-1.0"
    project.mkdir()
    (project / "setup.py").write_text(
        f"open({str(open_tmp / 'ran')!r}, 'w')\nfrom setuptools import setup\nsetup(name='gamma')"
    )
    subprocess.run(["tar", "czf", str(registry / "gamma-1.0.tar.gz"), "gamma-1.0"], cwd=open_tmp, check=True)
    sha256 = sha256_hex((registry / "gamma-1.0.tar.gz").read_bytes())
    with pytest.raises(ConfigError, match="needs a wheel"):
        pip.wheels(parse_lock(f"gamma==1.0 --hash=sha256:{sha256}", file="x"))
    assert not (open_tmp / "ran").exists()


def test_builds_can_use_what_is_kept_and_not_change_it(pip: PipPackages, lock: Lock, users: Users):
    before = os.umask(0o077)
    try:
        environment = pip.environment(lock)
    finally:
        os.umask(before)
    for path in [environment, *environment.rglob("*"), *pip.wheels(lock)]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            assert mode & stat.S_IROTH and not mode & stat.S_IWOTH, path
    if users.build is not None:
        python = str(environment / "bin/python")
        done = subprocess.run([python, "-c", "import alpha"], check=False, env={}, **as_user(users.build))
        assert done.returncode == 0
        target = str(environment / "bin/evil")
        done = subprocess.run(["/usr/bin/touch", target], check=False, capture_output=True, **as_user(users.build))
        assert done.returncode != 0


def test_an_interpreter_that_does_not_run_is_a_setting(pip: PipPackages, lock: Lock):
    with pytest.raises(ConfigError, match="does not run"):
        replace(pip, python=Path(sys.prefix) / "bin/false").wheels(lock)
