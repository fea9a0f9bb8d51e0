"""A rotation that is killed at any line goes on with the same values when it is run again."""

import json
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from blocks.seal import read_seal
from deployments.rotation import note as notes
from deployments.rotation.rotate import NOT_ROTATED, ROTATIONS
from deployments.stack.credentials import RECIPES, ensure_credentials
from domain.errors import RefusedError

NAMES = ("s3_access_key", "s3_secret_key")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    ensure_credentials(tmp_path)
    return tmp_path


def test_new_values_stand_beside_the_old_ones_until_they_take_their_place_together(state: Path) -> None:
    before = notes.read_values(state)
    notes.begin(state, "s3", NAMES)
    new = {name: notes.next_value(state, name) for name in NAMES}
    assert {name: notes.read_values(state)[name] for name in NAMES} == {name: before[name] for name in NAMES}
    for _ in range(2):
        notes.promote(state, NAMES)
        after = notes.read_values(state)
        assert {name: after[name] for name in NAMES} == new and all(new[name] != before[name] for name in NAMES)
    assert set(after) == set(before), "nothing is left over"
    assert (state / "credentials.json").stat().st_mode & 0o777 == 0o600


def test_begun_again_it_is_the_same_one(state: Path) -> None:
    first = notes.begin(state, "s3", NAMES)
    value = notes.next_value(state, "s3_secret_key")
    (state / notes.FILE).unlink()  # killed between the values and the note
    second = notes.begin(state, "s3", NAMES)
    assert notes.next_value(state, "s3_secret_key") == value and first.id != second.id
    assert notes.begin(state, "s3", NAMES) == second
    notes.promote(state, NAMES)
    assert notes.begin(state, "s3", NAMES) == second and notes.next_value(state, "s3_secret_key") is None


def test_another_one_waits_for_the_one_that_was_interrupted(state: Path) -> None:
    notes.begin(state, "s3", NAMES)
    with pytest.raises(RefusedError, match="slipway rotate credential s3"):
        notes.begin(state, "seal-key", ("seal_key",))
    notes.end(state)
    notes.begin(state, "seal-key", ("seal_key",))


def test_every_credential_can_be_rotated() -> None:
    assert set(ROTATIONS["all"].names) == set(RECIPES) - set(NOT_ROTATED)


def test_while_a_key_is_rotated_both_open_and_the_new_one_closes(state: Path) -> None:
    seal = read_seal("seal_key", state=state)
    old = seal.close("before")
    notes.begin(state, "seal-key", ("seal_key",))
    assert seal.open(old) == "before"
    new = seal.close("meanwhile")
    key = json.loads((state / "credentials.json").read_text())["seal_key.next"]
    assert Fernet(key.encode()).decrypt(new) == b"meanwhile"
    notes.promote(state, ("seal_key",))
    assert seal.open(new) == "meanwhile"
