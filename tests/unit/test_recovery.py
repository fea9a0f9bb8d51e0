"""Recovering everything: which point is taken, what is refused, and that nothing in a folder is ever written over."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.backup_keys import lock_away, make_identity, recipient_of
from blocks.backup_place import INDEX
from blocks.bundle import sha256_of
from blocks.second_place import open_folder
from blocks.state_files import StateFiles, is_state_file
from deployments.recovery.recover import DONE, MARK, Recovered, claim, find_laid_out, finish
from deployments.recovery.source import open_source
from domain.backup import Backup, BackupKind, BackupState, WalState
from domain.errors import ConfigError, InvariantError
from domain.recovery import choose_point, read_point, refuse_other_installation
from domain.wal import WalGap

NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)


def backup(id: str, at: datetime, *, lsn: str = "0/3000100", system_id: str = "7") -> Backup:
    return Backup(
        id,
        BackupKind.FULL,
        BackupState.DONE,
        "barman-cloud",
        "",
        at,
        ended_at=at + timedelta(minutes=1),
        target_lsn=lsn,
        system_id=system_id,
    )


def wal(newest: str, *gaps: WalGap) -> WalState:
    return WalState(segments=3, newest=newest, gaps=gaps)


BACKUPS = [backup("a", NOON), backup("b", NOON + timedelta(days=1))]


def test_the_latest_point_is_the_begin_of_the_newest_segment_and_is_named():
    point = choose_point(BACKUPS, wal("00000001000000000000000D"), "latest", {})
    assert point.backup.id == "b" and (point.target.kind, point.target.value) == ("lsn", "0/D000000")


def test_where_nothing_was_archived_since_or_the_log_has_a_gap_the_backups_own_point_is_taken():
    gap = WalGap("000000010000000000000005", "000000010000000000000006", 2)
    for log in (wal("000000010000000000000003"), wal("00000001000000000000000D", gap), wal("")):
        assert choose_point(BACKUPS, log, "latest", {}).target.value == "0/3000100"
    assert choose_point(BACKUPS, wal("00000001000000000000000D"), "backup", {}).target.value == "0/3000100"


def test_a_time_is_reached_from_the_last_backup_before_it():
    to = NOON + timedelta(hours=5)
    point = choose_point(BACKUPS, wal("00000001000000000000000D"), to, {})
    assert point.backup.id == "a" and point.target.time == to


def test_a_time_before_every_backup_names_the_oldest():
    with pytest.raises(ConfigError, match="the oldest ended 2026-06-30T12:01"):
        choose_point(BACKUPS, wal(""), NOON - timedelta(days=1), {})
    with pytest.raises(ConfigError, match="no finished backup"):
        choose_point([], wal(""), "latest", {})


@pytest.mark.parametrize(("text", "words"), [("yesterday", "no time"), ("2026-06-30T12:00", "no time zone")])
def test_what_is_no_point_is_said(text: str, words: str):
    with pytest.raises(ConfigError, match=words):
        read_point(text)


def test_the_kit_of_another_installation_is_refused():
    refuse_other_installation(BACKUPS, "7")
    with pytest.raises(ConfigError, match="another installation"):
        refuse_other_installation(BACKUPS, "8")


def test_a_folder_with_anything_in_it_is_refused_and_stays(tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        claim(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_an_interrupted_recovery_left_is_begun_anew_or_gone_on_with(tmp_path: Path):
    claim(tmp_path, {"made_at": "now"})
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "half").write_text("half")
    assert find_laid_out(tmp_path) is None
    claim(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == [MARK]
    (tmp_path / DONE).write_text(json.dumps({"backup": "a", "objects": {"releases": 2}}))
    assert find_laid_out(tmp_path) == Recovered(backup="a", objects={"releases": 2})
    finish(tmp_path)
    assert find_laid_out(tmp_path) is None
    with pytest.raises(ConfigError, match="is not empty"):
        claim(tmp_path, {})


def place(folder: Path, identity: str, objects: dict[str, bytes]) -> None:
    index: dict[str, Any] = {}
    for number, (key, body) in enumerate(objects.items()):
        plain, locked = folder.parent / f"plain-{number}", folder / f"{key}.age"
        plain.write_bytes(body)
        locked.parent.mkdir(parents=True, exist_ok=True)
        lock_away(plain, locked, recipient_of(identity))
        index[key] = {"size_bytes": len(body), "at": NOON.isoformat(), "sha256": sha256_of(plain)}
    (folder / INDEX).write_text(json.dumps({"format": 1, "objects": index}))


def test_the_second_place_is_read_as_the_bucket_would_be_and_with_its_own_identity_only(tmp_path: Path):
    identity, folder = make_identity(), tmp_path / "place"
    folder.mkdir()
    place(folder, identity, {"objects/a/data/x": b"content", "objects/b/data/y": b"other"})
    opened = open_folder(folder, identity)
    assert [one.key for one in opened.objects("objects/a/")] == ["objects/a/data/x"]
    assert opened.get("objects/a/data/x") == (b"content", {}) and opened.get("nothing") is None
    with pytest.raises(InvariantError, match="can't be opened"):
        open_folder(folder, make_identity()).get("objects/a/data/x")
    locked = folder / "objects/a/data/x.age"
    locked.write_bytes((folder / "objects/b/data/y.age").read_bytes())
    with pytest.raises(InvariantError, match="not what was copied"):
        opened.get("objects/a/data/x")
    locked.unlink()
    with pytest.raises(InvariantError, match="is missing"):
        opened.get("objects/a/data/x")


def test_what_can_not_be_read_says_what_to_do(tmp_path: Path):
    secrets = {"s3_backup_read_access_key": "a", "s3_backup_read_secret_key": "b", "backup_identity": make_identity()}
    kit = {"store": {"endpoint_url": "http://127.0.0.1:9", "bucket": "backups"}, "secrets": secrets}
    with pytest.raises(ConfigError, match=r"does not answer.*--from.*--copy"):
        open_source(kit, url="", folder="")
    with pytest.raises(ConfigError, match="no second place"):
        open_source(kit, url="", folder=str(tmp_path))
    with pytest.raises(ConfigError, match="newer kit"):
        open_source({**kit, "secrets": {}}, url="", folder=str(tmp_path))


def test_the_state_folders_own_files_are_copied_and_no_secret_is_among_them(tmp_path: Path):
    for name in ("settings.json", "credentials.json", "environments/production.yaml", "workers/accepted-blocks.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = StateFiles(tmp_path)
    assert [one.key for one in found.objects("")] == [
        "environments/production.yaml",
        "settings.json",
        "workers/accepted-blocks.json",
    ]
    assert found.fetch("settings.json", tmp_path / "copy") == sha256_of(tmp_path / "settings.json")


@pytest.mark.parametrize("key", ["credentials.json", "../settings.json", "/settings.json", "environments/../x.yaml"])
def test_what_a_copy_names_otherwise_is_never_laid_out(key: str):
    assert not is_state_file(key)
    assert is_state_file("settings.json") and is_state_file("environments/.shipped/test.yaml")
