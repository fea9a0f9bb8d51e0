"""The operator's settings: read, remembered, refused with the variable's name."""

from pathlib import Path

import pytest

from deployments.stack.settings import VARIABLES, read_settings
from domain.errors import ConfigError


@pytest.fixture
def state(open_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLIPWAY_STATE", str(open_tmp))
    return open_tmp.resolve()


def test_defaults_need_no_environment(state: Path) -> None:
    settings = read_settings({})
    assert (settings.state, settings.port_base, settings.language) == (state, 4200, "en")
    assert "PIP_*" in settings.build_variables and settings.disk_free_bytes_min == 2_000_000_000


def test_what_was_set_once_is_remembered_and_may_change(state: Path) -> None:
    read_settings({"SLIPWAY_PORT_BASE": "5000", "SLIPWAY_LANGUAGE": "zh"}).save()
    again = read_settings({"SLIPWAY_LANGUAGE": "en"})
    assert (again.port_base, again.language) == (5000, "en")
    assert (state / "settings.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("1000", 1000), ("500M", 500_000_000), ("1.5g", 1_500_000_000), ("2GB", 2_000_000_000)]
)
def test_sizes_are_bytes_or_have_a_unit(state: Path, text: str, size: int) -> None:
    assert read_settings({"SLIPWAY_DISK_FREE_MIN": text}).disk_free_bytes_min == size


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("SLIPWAY_PORT_BASE", "80", "from 1024 to 65035"),
        ("SLIPWAY_PORT_BASE", "65535", "from 1024 to 65035"),
        ("SLIPWAY_PORT_BASE", "four", "whole number"),
        ("SLIPWAY_PORT_BASE", "٤٢٠٠", "whole number"),
        ("SLIPWAY_DISK_FREE_MIN", "lots", "not a size"),
        ("SLIPWAY_DISK_FREE_MIN", "-1", "not a size"),
        ("SLIPWAY_LANGUAGE", "de", "one of: en, zh"),
        ("SLIPWAY_BUILD_VARIABLES", "PIP_*,A B", "no variable"),
        ("SLIPWAY_RUN_RETENTION_DAYS", "0", "from 1 to 3650"),
        ("SLIPWAY_RUNS_AT_ONCE_MAX", "999", "from 1 to 200"),
        ("SLIPWAY_BACKUP_KEEP", "hourly=3", "names no rule"),
        ("SLIPWAY_BACKUP_KEEP", "count=0", "at least 1 full backup"),
        ("SLIPWAY_BACKUP_ENGINE", "wal-g", "one of: auto, barman-cloud, pgbackrest"),
        ("SLIPWAY_BACKUP_COPY", "mnt/backups", "neither an absolute path nor a bucket"),
        ("SLIPWAY_BACKUP_COPY", "s3://", "names no bucket"),
        ("SLIPWAY_BACKUP_COPY_REGION", "Paris!", "no region"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_and_value(state: Path, name: str, text: str, says: str) -> None:
    assert name in VARIABLES
    with pytest.raises(ConfigError, match=says) as refusal:
        read_settings({name: text})
    assert name in str(refusal.value)


def test_a_second_place_is_a_folder_or_a_bucket_with_its_endpoint(state: Path) -> None:
    assert read_settings({"SLIPWAY_BACKUP_COPY": "/mnt/far"}).backup_copy == "/mnt/far"
    with pytest.raises(ConfigError, match="SLIPWAY_BACKUP_COPY_ENDPOINT='' is no S3 endpoint"):
        read_settings({"SLIPWAY_BACKUP_COPY": "s3://far/slipway"})
    given = {"SLIPWAY_BACKUP_COPY": "s3://far/slipway/", "SLIPWAY_BACKUP_COPY_ENDPOINT": "https://s3.example:9000/"}
    settings = read_settings(given)
    assert (settings.backup_copy, settings.backup_copy_endpoint) == ("s3://far/slipway", "https://s3.example:9000")
    settings.save()
    assert read_settings({"SLIPWAY_BACKUP_COPY": "none"}).backup_copy == ""


def test_two_states_never_share_a_socket_folder(open_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: set[Path] = set()
    for name in ("one", "two", "a" * 200):
        monkeypatch.setenv("SLIPWAY_STATE", str(open_tmp / name))
        found.add(read_settings({}).sockets)
    assert len(found) == 3 and all(len(str(folder)) < 40 for folder in found)
