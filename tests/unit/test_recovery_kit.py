"""The recovery kit is whole, private, never written over, and told apart from anything else."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.backup_keys import read_identity, recipient_of
from blocks.installation import Installation, Users
from deployments.recovery_kit import make_kit, read_kit, write_kit
from deployments.stack.credentials import ensure_credentials
from domain.errors import ConfigError

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    ensure_credentials(tmp_path)
    return Installation(tmp_path, tmp_path, {"s3": 4203}, Users(), Path(sys.executable), tmp_path, backup_copy="/far")


def test_it_holds_all_that_opens_backups_and_is_read_as_it_was_written(installation: Installation, tmp_path: Path):
    kit = make_kit(installation, system_id="7", now=NOW)
    write_kit(tmp_path / "kit", kit)
    assert read_kit(tmp_path / "kit") == kit and (tmp_path / "kit").stat().st_mode & 0o077 == 0
    secrets = kit["secrets"]
    assert {"s3_encryption_key", "backup_identity", "s3_backup_read_secret_key", "seal_key"} <= set(secrets)
    assert recipient_of(secrets["backup_identity"]) == secrets["backup_recipient"]
    assert kit["store"]["second_place"] == "/far"


def test_one_that_is_there_is_never_written_over(installation: Installation, tmp_path: Path):
    (tmp_path / "kit").write_text("other")
    with pytest.raises(ConfigError, match="never written over"):
        write_kit(tmp_path / "kit", make_kit(installation, system_id="7", now=NOW))
    with pytest.raises(ConfigError, match="can't be written"):
        write_kit(tmp_path / "nowhere" / "kit", {})
    assert (tmp_path / "kit").read_text() == "other"


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"format": 2, "secrets": {}}), json.dumps({"format": 1})])
def test_what_is_no_kit_is_said_to_be_none(tmp_path: Path, text: str):
    (tmp_path / "kit").write_text(text)
    with pytest.raises(ConfigError, match="no recovery kit"):
        read_kit(tmp_path / "kit")


def test_flows_of_production_find_the_identity_only_in_the_drills_own_file(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SLIPWAY_ROLE", "production")
    production = json.loads((tmp_path / "credentials.production.json").read_text())
    assert "backup_identity" not in production and "s3_encryption_key" not in production
    assert recipient_of(read_identity(tmp_path)) == production["backup_recipient"]
    (tmp_path / "credentials.drill.json").unlink()
    with pytest.raises(ConfigError, match=r"credentials\.drill\.json"):
        read_identity(tmp_path)
