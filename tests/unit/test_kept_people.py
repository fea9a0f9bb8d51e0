"""Who may decide while PostgreSQL is away: the sealed copy, codes that are good once, locks that hold both ways."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pyotp
import pytest
from cryptography.fernet import Fernet

from blocks.kept_people import KeptPeople
from blocks.one_time_code import new_seed, provisioning_uri
from blocks.seal import Seal
from domain.errors import ConfigError
from domain.lockout import CodeUse
from domain.ports import Approver

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Clock:
    now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seal() -> Seal:
    return Seal(Fernet.generate_key().decode())


@pytest.fixture
def people(tmp_path: Path, seal: Seal, clock: Clock) -> KeptPeople:
    return KeptPeople(tmp_path, seal, clock)


def enrol(people: KeptPeople, seal: Seal, name: str = "ann") -> pyotp.TOTP:
    seed = new_seed()
    people.keep([(Approver(name, ("administrator",), ("ann@example.org",)), seal.close(seed))])
    return pyotp.TOTP(parse_qs(urlparse(provisioning_uri(seed, name)).query)["secret"][0])


def test_the_copy_is_private_sealed_and_read_back(people: KeptPeople, seal: Seal, tmp_path: Path):
    device = enrol(people, seal)
    assert people.get("ann") == Approver("ann", ("administrator",), ("ann@example.org",))
    assert people.get("eve") is None
    (file,) = tmp_path.glob("*.json")
    assert file.stat().st_mode & 0o077 == 0
    assert device.secret not in file.read_text()


def test_a_code_is_good_once_also_for_whoever_opens_the_files_next(
    people: KeptPeople, seal: Seal, clock: Clock, tmp_path: Path
):
    code = enrol(people, seal).at(NOON)
    assert people.use_code("ann", code).is_ok
    assert KeptPeople(tmp_path, seal, clock).use_code("ann", code).status == "used"
    assert people.use_code("nobody", code).status == "unknown"


def test_a_code_that_the_database_used_is_used_here(people: KeptPeople, seal: Seal):
    code = enrol(people, seal).at(NOON)
    step = people.step_of("ann", code)
    assert step is not None and people.note_used("ann", step)
    assert people.use_code("ann", code).status == "used"


def test_a_lock_of_the_database_holds_here(people: KeptPeople, seal: Seal, clock: Clock):
    device = enrol(people, seal)
    until = NOON + timedelta(minutes=15)
    people.note_use("ann", CodeUse("wrong", until, 0))
    assert people.use_code("ann", device.at(NOON)).status == "locked"
    assert people.locked_until("ann") == until
    clock.now = until
    assert people.locked_until("ann") is None
    assert people.use_code("ann", device.at(until)).is_ok


def test_five_wrong_codes_given_here_lock_here(people: KeptPeople, seal: Seal):
    device = enrol(people, seal)
    right = {device.at(NOON + timedelta(seconds=30 * step)) for step in (-1, 0, 1)}
    wrong = next(code for code in ("000000", "111111", "222222", "333333") if code not in right)
    assert [people.use_code("ann", wrong).left for _ in range(5)] == [4, 3, 2, 1, 0]
    assert people.use_code("ann", device.at(NOON)).status == "locked"


def test_without_a_copy_it_says_what_to_do(people: KeptPeople):
    with pytest.raises(ConfigError, match="Run `slipway up`"):
        people.use_code("ann", "123456")
    with pytest.raises(ConfigError, match="while PostgreSQL is away"):
        people.revoke("ann")
