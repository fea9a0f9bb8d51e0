import pytest
from helpdesk.settings import SettingError, read_settings

URL = "postgresql://desk:hidden@127.0.0.1/desk"


def test_without_a_database_the_variable_is_named():
    with pytest.raises(SettingError, match="DATABASE_URL is not set"):
        read_settings({})


def test_a_number_that_is_none_names_its_variable():
    with pytest.raises(SettingError, match="HELPDESK_DRAIN_S is 'soon'"):
        read_settings({"DATABASE_URL": URL, "HELPDESK_DRAIN_S": "soon"})


def test_release_and_commit_come_from_slipway():
    settings = read_settings({"DATABASE_URL": URL, "SLIPWAY_RELEASE": "ab" * 32, "SLIPWAY_COMMIT": "cd" * 20})
    assert (settings.release, settings.commit) == ("ab" * 32, "cd" * 20)


def test_no_secret_is_printed():
    assert "hidden" not in repr(read_settings({"DATABASE_URL": URL, "HELPDESK_SIGNING_KEY": "hidden too"}))


def test_without_settings_of_its_own_the_desk_has_its_name_and_signs_nothing():
    settings = read_settings({"DATABASE_URL": URL})
    assert (settings.title, settings.signing_key, settings.settings_version) == ("Helpdesk", "", "")
    assert read_settings({"DATABASE_URL": URL, "HELPDESK_TITLE": "Acme support"}).title == "Acme support"
