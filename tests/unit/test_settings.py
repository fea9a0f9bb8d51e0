"""Which settings may be set, and what a version becomes when they are."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from domain.errors import ConfigError
from domain.settings import (
    SettingsChange,
    SettingsVersion,
    compare_settings,
    explain_missing,
    next_settings,
    refuse_name,
    refuse_value,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EMPTY = SettingsVersion("desk", "test")


def after(before: SettingsVersion, change: SettingsChange, known: Mapping[str, int] | None = None) -> SettingsVersion:
    made = next_settings(before, change, at=NOON, actor="ann", secret_versions=known or {})
    assert made is not None
    return made


@pytest.mark.parametrize(
    "name",
    [
        "PORT",
        "DATABASE_URL",
        "PATH",
        "LD_PRELOAD",
        "LD_AUDIT",
        "SLIPWAY_RELEASE",
        "PYTHONPATH",
        "PGOPTIONS",
        "BASH_ENV",
    ],
)
def test_reserved_names_are_refused_with_the_reason(name: str):
    with pytest.raises(ConfigError, match=f"'{name}' is reserved: .+ Choose another name"):
        refuse_name(name)


@pytest.mark.parametrize("name", ["title", "1TITLE", "TITLE-X", "", "A B", "Ä", "T" * 101, "TITLE\n"])
def test_what_is_no_name_of_a_variable_is_refused(name: str):
    with pytest.raises(ConfigError, match="Use capitals"):
        refuse_name(name)


def test_ordinary_names_may_be_set():
    for name in ("TITLE", "PAGE_SIZE_2", "SIGNING_KEY", "LDAP_URL", "PAGER_URL", "PORTAL", "PATHS"):
        refuse_name(name)


def test_a_value_that_no_process_could_take_is_refused_without_being_told():
    for value in ("a\0hidden", "hidden" * 10_000, "\x1b[2Jhidden"):
        with pytest.raises(ConfigError) as refused:
            refuse_value("KEY", value)
        assert "hidden" not in str(refused.value)
    refuse_value("KEY", "-----BEGIN KEY-----\nabc\n\ttab ü\n")


def test_versions_count_up_and_keep_what_was_not_changed():
    first = after(EMPTY, SettingsChange(config={"TITLE": "Desk", "SIZE": "20"}))
    second = after(first, SettingsChange(config={"SIZE": "50"}))
    assert (first.version, second.version) == (1, 2)
    assert second.config == {"TITLE": "Desk", "SIZE": "50"}
    third = after(second, SettingsChange(unset=frozenset({"TITLE"})))
    assert third.config == {"SIZE": "50"}


def test_setting_what_is_set_already_makes_no_version():
    first = after(EMPTY, SettingsChange(config={"TITLE": "Desk"}))
    again = next_settings(first, SettingsChange(config={"TITLE": "Desk"}), at=NOON, actor="bob", secret_versions={})
    assert again is None


def test_a_secret_set_again_after_it_was_taken_away_never_gets_an_old_version():
    first = after(EMPTY, SettingsChange(secrets=frozenset({"KEY"})))
    second = after(first, SettingsChange(unset=frozenset({"KEY"})), {"KEY": 1})
    third = after(second, SettingsChange(secrets=frozenset({"KEY"})), {"KEY": 1})
    assert (first.references, second.references, third.references) == (("KEY@1",), (), ("KEY@2",))


def test_a_name_is_a_value_or_a_secret_never_both():
    with_value = after(EMPTY, SettingsChange(config={"KEY": "x"}))
    with pytest.raises(ConfigError, match="'KEY' is a configuration value in test"):
        after(with_value, SettingsChange(secrets=frozenset({"KEY"})))
    with_secret = after(EMPTY, SettingsChange(secrets=frozenset({"KEY"})))
    with pytest.raises(ConfigError, match="'KEY' is a secret in test"):
        after(with_secret, SettingsChange(config={"KEY": "x"}))
    with pytest.raises(ConfigError, match="'KEY'"):
        after(EMPTY, SettingsChange(config={"KEY": "x"}, secrets=frozenset({"KEY"})))


def test_taking_away_what_is_not_there_names_what_is():
    with pytest.raises(ConfigError, match=r"'SIZE' is not set in test\. Set there: TITLE"):
        after(after(EMPTY, SettingsChange(config={"TITLE": "x"})), SettingsChange(unset=frozenset({"SIZE"})))


def test_what_is_missing_is_named_with_the_command_that_sets_it():
    settings = after(EMPTY, SettingsChange(config={"TITLE": "Desk"}))
    said = explain_missing(settings, config=["TITLE", "SIZE"], secrets=["KEY"])
    assert "slipway config set desk test SIZE=" in said and "slipway secret set desk test KEY" in said
    assert "TITLE" not in said
    assert explain_missing(settings, config=["TITLE"], secrets=[]) == ""


def test_differences_show_values_and_only_the_versions_of_secrets():
    old = after(EMPTY, SettingsChange(config={"TITLE": "A"}, secrets=frozenset({"KEY"})))
    new = after(old, SettingsChange(config={"TITLE": "B"}, secrets=frozenset({"KEY"})), {"KEY": 1})
    assert compare_settings(old, new) == {
        "KEY": ("secret, version 1", "secret, version 2"),
        "TITLE": ("A", "B"),
    }
