"""What rests sealed gets another key in one transaction: all of it, or nothing."""

import json

import psycopg
import pytest
from cryptography.fernet import Fernet

from blocks.ledger_schema import install_schema
from blocks.postgres_roles import ensure_database
from blocks.resealing import ENVIRONMENTS_SECRETS, SEALED, reseal_blocks, reseal_desk
from blocks.seal import Seal
from domain.errors import ConfigError

NAME = "resealing_test"


@pytest.fixture
def url(postgres: str) -> str:
    ensure_database(postgres, NAME)
    url = postgres.rpartition("/")[0] + f"/{NAME}"
    install_schema(url)
    _rows(url, "TRUNCATE desk.application, desk.approver, desk.secret")
    return url


def _rows(url: str, statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return cursor.fetchall() if cursor.description else []


def _key() -> str:
    return Fernet.generate_key().decode()


def _register(url: str, name: str, key: str) -> None:
    _rows(
        url,
        "INSERT INTO desk.application (name, forge, repository, url, branch, webhook_secret)"
        " VALUES (%s, 'g', %s, 'u', 'm', %s)",
        (name, name, Seal(key).close(f"secret of {name}")),
    )


def _secret(url: str, name: str, key: str) -> str:
    (row,) = _rows(url, "SELECT webhook_secret FROM desk.application WHERE name = %s", (name,))
    return Seal(key).open(bytes(row[0]))  # pyright: ignore[reportArgumentType]


def test_every_row_opens_with_the_new_key_only_also_after_a_second_time(url: str) -> None:
    old, new = _key(), _key()
    _register(url, "desk", old)
    _register(url, "shop", new)  # written by somebody who had the new key already
    for _ in range(2):
        assert reseal_desk(url, old=old, new=new) == 2
        assert [_secret(url, name, new) for name in ("desk", "shop")] == ["secret of desk", "secret of shop"]
    with pytest.raises(ConfigError, match="another key"):
        _secret(url, "desk", old)


def test_a_row_of_a_lost_key_changes_nothing_at_all(url: str) -> None:
    old, new = _key(), _key()
    _register(url, "desk", old)
    _register(url, "lost", _key())
    with pytest.raises(ConfigError, match="lost"):
        reseal_desk(url, old=old, new=new)
    assert _secret(url, "desk", old) == "secret of desk"


def test_secrets_of_applications_are_sealed_anew_for_their_environment_alone(url: str) -> None:
    keys = {"test": _key(), "production": _key()}
    for environment, key in keys.items():
        statement = (
            "INSERT INTO desk.secret (application, environment, name, version, at, actor, sealed)"
            " VALUES ('desk', %s, 'TOKEN', 1, now(), 'ann', %s)"
        )
        _rows(url, statement, (environment, Seal(key).close(environment)))
    new = _key()
    assert reseal_desk(url, old=keys["test"], new=new, environment="test") == 1
    found = dict(_rows(url, "SELECT environment, sealed FROM desk.secret"))  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert (
        Seal(new).open(found["test"]) == "test" and Seal(keys["production"]).open(found["production"]) == "production"
    )


def test_nothing_sealed_is_forgotten(url: str) -> None:
    """Every column of bytes on the desk is sealed, but for the bodies of deliveries."""
    columns = _rows(
        url,
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'desk'"
        " AND data_type = 'bytea'",
    )
    assert set(columns) - {("delivery", "body")} == {*SEALED, ENVIRONMENTS_SECRETS}


def test_prefects_block_documents_open_with_the_new_key(url: str) -> None:
    old, new = _key(), _key()
    _rows(url, "CREATE TABLE IF NOT EXISTS block_document (id int, name text, data json)")
    _rows(url, "TRUNCATE block_document")
    token = Fernet(old.encode()).encrypt(b'{"site": "alpha"}').decode()
    _rows(url, "INSERT INTO block_document VALUES (1, 'main', %s)", (json.dumps(token),))
    assert reseal_blocks(url, old=old, new=new) == 1
    ((data,),) = _rows(url, "SELECT data FROM block_document")
    assert Fernet(new.encode()).decrypt(str(data).encode()) == b'{"site": "alpha"}'
