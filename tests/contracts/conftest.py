"""Real parts that several contract suites need."""

from collections.abc import Generator

import psycopg
import pytest
from fixtures_backup import archiving_server, barman_bench, debian_server, pgbackrest_bench  # noqa: F401 - fixtures of the backup engines' suite
from fixtures_recorded import recorded  # noqa: F401 - fixture of the suite of usage sources
from fixtures_rows import rows_stage  # noqa: F401 - fixture of the suites of clean-up
from fixtures_s3 import s3  # noqa: F401 - fixture of the suites of store and anchors
from fixtures_target import target_session, target_site  # noqa: F401 - fixtures of the target's suite
from fixtures_traefik import traefik_process, traefik_site  # noqa: F401 - fixtures of the balancer's suites
from psycopg import sql

from blocks.ledger_schema import install_schema
from blocks.postgres_session import PostgresSession


def _url_of_database(url: str, database: str) -> str:
    return psycopg.conninfo.make_conninfo(url, dbname=database)


@pytest.fixture(scope="session")
def ledger_url(postgres: str) -> str:
    """A superuser's URL of a database with ledger and desk installed."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE slipway_ledger")
    url = _url_of_database(postgres, "slipway_ledger")
    install_schema(url)
    install_schema(url)  # a second `up` changes nothing
    return url


@pytest.fixture
def ledger_session(ledger_url: str, postgres: str) -> Generator[PostgresSession]:
    """A session with the role that Slipway uses, on empty tables."""
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE slipway PASSWORD 'for-tests'"))
        connection.execute("ALTER TABLE ledger.event DISABLE TRIGGER ALL")
        connection.execute("DELETE FROM ledger.event")
        connection.execute("ALTER TABLE ledger.event ENABLE TRIGGER ALL")
        connection.execute(
            "TRUNCATE desk.delivery, desk.application, desk.approver, desk.used_code, desk.lease, desk.forge_access"
        )
    session = PostgresSession(psycopg.conninfo.make_conninfo(ledger_url, user="slipway", password="for-tests"))
    yield session
    session.close()
