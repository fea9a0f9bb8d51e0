"""How a release was started last: sealed, private, and nothing where it can't be opened."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from blocks.installation import Installation, Users
from blocks.kept_specs import KeptSpecs
from domain.service import ServiceSpec

SPEC = ServiceSpec("desk", "a" * 64 + "@3", ("serve", "{port}"), 2, {"DATABASE_URL": "postgresql://x:hidden@h/d"}, 7, 9)


@pytest.fixture
def specs(tmp_path: Path) -> KeptSpecs:
    (tmp_path / "credentials.json").write_text(json.dumps({"seal_key": Fernet.generate_key().decode()}))
    return KeptSpecs(Installation(tmp_path, tmp_path, {}, Users(), Path("python"), Path("bin")))


def test_a_spec_comes_back_as_it_was_and_rests_sealed_and_private(specs: KeptSpecs, tmp_path: Path):
    specs.keep("production-alpha", SPEC)
    assert specs.read("production-alpha", "desk", SPEC.release) == SPEC
    (file,) = (tmp_path / "break-glass" / "specs").iterdir()
    assert b"hidden" not in file.read_bytes() and file.stat().st_mode & 0o077 == 0


def test_another_place_other_settings_and_another_key_have_none(specs: KeptSpecs, tmp_path: Path):
    specs.keep("production-alpha", SPEC)
    assert specs.read("production-beta", "desk", SPEC.release) is None
    assert specs.read("production-alpha", "desk", "a" * 64) is None
    (tmp_path / "credentials.json").write_text(json.dumps({"seal_key": Fernet.generate_key().decode()}))
    assert specs.read("production-alpha", "desk", SPEC.release) is None


def test_the_last_start_counts_and_what_can_not_be_kept_fails_nothing(specs: KeptSpecs, tmp_path: Path):
    specs.keep("production-alpha", SPEC)
    specs.keep("production-alpha", replace(SPEC, instances=4))
    found = specs.read("production-alpha", "desk", SPEC.release)
    assert found is not None and found.instances == 4
    (tmp_path / "credentials.json").unlink()
    specs.keep("production-beta", SPEC)
    assert not list((tmp_path / "break-glass" / "specs").glob("production-beta*"))
