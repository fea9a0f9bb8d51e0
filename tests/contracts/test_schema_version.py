"""The ledger's database says which version it has; missing steps are applied in order, and newer ones refused."""

import psycopg
import pytest

from blocks.ledger_schema import install_schema
from blocks.postgres_roles import ensure_database
from blocks.schema_version import KNOWN, STEPS, find_obstacle, read_version
from domain.errors import ConfigError

NAME = "schema_version_test"


@pytest.fixture(scope="module")
def url(postgres: str) -> str:
    ensure_database(postgres, NAME)
    return postgres.rpartition("/")[0] + f"/{NAME}"


def _tell(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_a_new_database_an_old_one_and_one_that_is_right_all_end_at_the_known_version(url: str) -> None:
    assert read_version(url) == 0
    install_schema(url)
    assert read_version(url) == KNOWN
    # as installations were before versions were written down
    _tell(url, "DROP TABLE desk.schema_version", "ALTER TABLE desk.application DROP COLUMN webhook_secret_before")
    assert read_version(url) == 1
    for _ in range(2):
        install_schema(url)
        assert read_version(url) == KNOWN
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(webhook_secret_before) FROM desk.application").fetchone() == (0,)


def test_a_newer_database_is_left_alone(url: str) -> None:
    install_schema(url)
    _tell(url, f"INSERT INTO desk.schema_version (version, name) VALUES ({KNOWN + 1}, 'of tomorrow')")
    with pytest.raises(ConfigError, match=f"schema {KNOWN + 1}"):
        install_schema(url)
    _tell(url, f"DELETE FROM desk.schema_version WHERE version = {KNOWN + 1}")


def test_only_a_step_that_stops_things_wants_an_upgrade() -> None:
    assert find_obstacle(0, upgrading=False) == find_obstacle(KNOWN, upgrading=False) == ""
    stopping = any(step.wants_upgrade for step in STEPS)
    assert ("slipway upgrade" in find_obstacle(1, upgrading=False)) == stopping
    assert find_obstacle(1, upgrading=True) == "" and "newer" in find_obstacle(KNOWN + 1, upgrading=True)


def test_steps_are_numbered_without_gaps() -> None:
    assert [step.to for step in STEPS] == list(range(2, KNOWN + 1))


def test_the_ledgers_role_cannot_say_which_version_it_is(url: str) -> None:
    install_schema(url)
    install_schema(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET ROLE slipway")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO desk.schema_version (version, name) VALUES (99, 'x')")
