"""A copy of a database, put back in the place of the present one: whole, or the present one stays."""

from pathlib import Path
from urllib.parse import urlparse

import psycopg
import pytest

from blocks.postgres_copy import database_bytes, dump_database, list_databases, restore_database
from blocks.postgres_roles import ensure_database, ensure_role
from blocks.postgres_server import PostgresServer
from domain.errors import ConfigError

NAME, OWNER = "copy_test", "copy_owner"


@pytest.fixture
def server(postgres: str, postgres_bin: Path) -> PostgresServer:
    return PostgresServer(bin=postgres_bin, data=Path("/nowhere"), port=urlparse(postgres).port or 0)


@pytest.fixture
def password(postgres: str) -> str:
    return str(urlparse(postgres).password)


@pytest.fixture
def url(postgres: str) -> str:
    ensure_role(postgres, OWNER, password="p")
    ensure_database(postgres, NAME, owner=OWNER)
    url = postgres.rpartition("/")[0] + f"/{NAME}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS thing")
        connection.execute("CREATE TABLE thing AS SELECT 'before' AS word")
    return url


def _word(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT word FROM thing").fetchone()
    assert row is not None
    return str(row[0])


def test_what_was_changed_since_is_gone_and_an_open_session_does_not_hinder(
    server: PostgresServer, password: str, url: str, tmp_path: Path
) -> None:
    file = tmp_path / "copy.dump"
    assert dump_database(server, password, NAME, file) == file.stat().st_size > 0
    assert file.stat().st_mode & 0o777 == 0o600 and list(tmp_path.iterdir()) == [file]
    with psycopg.connect(url, autocommit=True) as open_session:
        open_session.execute("UPDATE thing SET word = 'after'")
        for _ in range(2):
            restore_database(server, password, NAME, file, owner=OWNER)
            assert _word(url) == "before"
    names = list_databases(server.url(password))
    assert NAME in names and not {f"{NAME}_copy", f"{NAME}_former"} & set(names)
    assert database_bytes(server.url(password), NAME) > 0 == database_bytes(server.url(password), "nobody's")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        ensure_role(server.url(password), "copy_stranger", password="p")
        psycopg.connect(f"postgresql://copy_stranger:p@127.0.0.1:{server.port}/{NAME}")


def test_a_copy_that_is_not_whole_leaves_the_present_database_alone(
    server: PostgresServer, password: str, url: str, tmp_path: Path
) -> None:
    file = tmp_path / "copy.dump"
    dump_database(server, password, NAME, file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ConfigError, match="stays as it is"):
        restore_database(server, password, NAME, file, owner=OWNER)
    assert _word(url) == "before"
