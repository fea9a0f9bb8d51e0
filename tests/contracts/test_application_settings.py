"""What settings of applications promise, in memory and in PostgreSQL."""

import json
import threading

import psycopg
import pytest
from cryptography.fernet import Fernet

from blocks.application_settings_postgres import PostgresApplicationSettings
from blocks.ledger_postgres import PostgresLedger
from blocks.memory_application_settings import MemoryApplicationSettings
from blocks.postgres_session import PostgresSession
from blocks.seal import Seal
from domain.errors import ConfigError, InvariantError
from domain.ledger import Event
from domain.ports import ApplicationSettings

SECRET = "correct horse battery staple"


@pytest.fixture
def seals() -> dict[str, Seal]:
    return {name: Seal(Fernet.generate_key().decode()) for name in ("test", "production")}


@pytest.fixture
def real(ledger_session: PostgresSession, ledger_url: str, seals: dict[str, Seal]) -> PostgresApplicationSettings:
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("TRUNCATE desk.settings, desk.secret")
    return PostgresApplicationSettings(ledger_session, lambda environment: seals[environment])


@pytest.fixture(params=["memory", "postgres"])
def settings(request: pytest.FixtureRequest) -> ApplicationSettings:
    return MemoryApplicationSettings() if request.param == "memory" else request.getfixturevalue("real")


def test_nothing_set_is_version_0_and_has_no_values(settings: ApplicationSettings):
    assert settings.latest("desk", "test").version == 0
    assert settings.get("desk", "test", 0) == settings.latest("desk", "test")
    assert settings.values("desk", "test", 0) == {}
    assert settings.history("desk", "test") == []


def test_each_change_is_a_version_that_stays_readable_with_who_and_when(settings: ApplicationSettings):
    settings.change("desk", "test", actor="ann", config={"TITLE": "Desk"}, secrets={"KEY": SECRET})
    second = settings.change("desk", "test", actor="bob", config={"SIZE": "5"}, secrets={"KEY": "other"})
    assert (second.version, second.actor, second.references) == (2, "bob", ("KEY@2",))
    assert second.at is not None and second.at.tzinfo is not None
    assert settings.values("desk", "test", 1) == {"TITLE": "Desk", "KEY": SECRET}
    assert settings.values("desk", "test", 2) == {"TITLE": "Desk", "SIZE": "5", "KEY": "other"}
    assert [version.actor for version in settings.history("desk", "test")] == ["bob", "ann"]
    assert settings.latest("desk", "test") == second == settings.get("desk", "test", 2)


def test_the_same_value_makes_no_version_and_the_same_secret_does(settings: ApplicationSettings):
    settings.change("desk", "test", actor="ann", config={"TITLE": "Desk"})
    assert settings.change("desk", "test", actor="bob", config={"TITLE": "Desk"}).version == 1
    settings.change("desk", "test", actor="ann", secrets={"KEY": SECRET})
    assert settings.change("desk", "test", actor="ann", secrets={"KEY": SECRET}).references == ("KEY@2",)


def test_applications_and_environments_have_settings_of_their_own(settings: ApplicationSettings):
    settings.change("desk", "test", actor="ann", config={"TITLE": "Desk"})
    settings.change("desk", "production", actor="ann", config={"TITLE": "Real"})
    assert settings.latest("shop", "test").version == 0
    assert settings.values("desk", "production", 1) == {"TITLE": "Real"}
    assert settings.values("desk", "test", 1) == {"TITLE": "Desk"}


def test_what_was_taken_away_is_gone_from_the_next_version_only(settings: ApplicationSettings):
    settings.change("desk", "test", actor="ann", config={"TITLE": "Desk"}, secrets={"KEY": SECRET})
    settings.change("desk", "test", actor="ann", unset=frozenset({"TITLE", "KEY"}))
    assert settings.values("desk", "test", 2) == {}
    assert settings.values("desk", "test", 1) == {"TITLE": "Desk", "KEY": SECRET}
    assert settings.change("desk", "test", actor="ann", secrets={"KEY": "new"}).references == ("KEY@2",)


def test_a_version_that_is_not_there_is_refused_with_where_to_look(settings: ApplicationSettings):
    with pytest.raises(ConfigError, match="slipway config history desk test"):
        settings.get("desk", "test", 7)


def test_a_refused_change_leaves_no_version(settings: ApplicationSettings):
    for wrong in ({"config": {"PATH": "x"}}, {"secrets": {"LD_PRELOAD": "x"}}, {"unset": frozenset({"NOPE"})}):
        with pytest.raises(ConfigError):
            settings.change("desk", "test", actor="ann", **wrong)
    assert settings.latest("desk", "test").version == 0


def test_no_secret_is_in_what_is_printed(settings: ApplicationSettings):
    made = settings.change("desk", "test", actor="ann", secrets={"KEY": SECRET})
    assert SECRET not in repr(made) + repr(settings.history("desk", "test"))


def test_secrets_rest_sealed_and_production_s_key_opens_no_other(
    real: PostgresApplicationSettings, ledger_url: str, seals: dict[str, Seal]
):
    real.change("desk", "production", actor="ann", secrets={"KEY": SECRET})
    with psycopg.connect(ledger_url) as connection:
        rows = connection.execute("SELECT * FROM desk.settings").fetchall()
        sealed = connection.execute("SELECT sealed FROM desk.secret").fetchone()
    assert sealed is not None and SECRET not in json.dumps(rows, default=str) and SECRET.encode() not in sealed[0]
    with pytest.raises(ConfigError, match="sealed with another key"):
        seals["test"].open(sealed[0])


def test_names_and_versions_are_read_without_any_key(
    ledger_session: PostgresSession, real: PostgresApplicationSettings
):
    real.change("desk", "production", actor="ann", config={"TITLE": "Desk"}, secrets={"KEY": SECRET})

    def refuse(environment: str) -> Seal:
        raise ConfigError(f"no key for {environment}")

    keyless = PostgresApplicationSettings(ledger_session, refuse)
    assert keyless.latest("desk", "production").references == ("KEY@1",)
    with pytest.raises(ConfigError, match="no key"):
        keyless.values("desk", "production", 1)


@pytest.mark.parametrize("statement", ["UPDATE desk.settings SET actor = 'eve'", "DELETE FROM desk.secret"])
def test_versions_can_t_be_changed_with_slipway_s_own_role(
    real: PostgresApplicationSettings, ledger_session: PostgresSession, statement: str
):
    real.change("desk", "test", actor="ann", secrets={"KEY": SECRET})
    with pytest.raises(InvariantError, match="permission denied"):
        ledger_session.rows(statement)


def test_two_at_once_make_two_versions(real: PostgresApplicationSettings):
    both = [
        threading.Thread(target=lambda n=n: real.change("desk", "test", actor="ann", config={f"N{n}": "1"}))
        for n in range(6)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(real.latest("desk", "test").config) == 6
    assert [version.version for version in real.history("desk", "test")] == [6, 5, 4, 3, 2, 1]


def test_the_views_tell_settings_apart_and_block_no_release_for_them(ledger_session: PostgresSession, ledger_url: str):
    ledger = PostgresLedger(ledger_session)
    place = {"application": "desk", "environment": "production", "release": "a" * 64}
    ledger.append(Event("site.switched", site="alpha", data={"settings": 3}, **place))
    ledger.append(Event("digest.blocked", data={"settings": 4, "reason": "slow"}, **place))
    with psycopg.connect(ledger_url) as connection:
        assert connection.execute("SELECT release, settings FROM ledger.live").fetchall() == [("a" * 64, "3")]
        blocked = "SELECT release FROM ledger.blocked WHERE settings IS NULL"
        assert connection.execute(blocked).fetchall() == []
        assert connection.execute("SELECT settings, reason FROM ledger.blocked").fetchall() == [("4", "slow")]
