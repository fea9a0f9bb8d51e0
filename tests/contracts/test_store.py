"""What an object store promises, in memory and on a real SeaweedFS."""

import secrets
from pathlib import Path

import pytest
from fixtures_door import free_port

from blocks.installation import Installation
from blocks.memory_store import MemoryObjectStore
from blocks.store_s3 import S3ObjectStore
from domain.canonical import sha256_hex
from domain.errors import ConfigError, InvariantError, TransientError
from domain.ports import ObjectStore


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "memory":
        return MemoryObjectStore()
    return S3ObjectStore(state=str(request.getfixturevalue("s3").state))


@pytest.fixture
def key() -> str:
    return f"bundles/desk/{secrets.token_hex(8)}.tar"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(secrets.token_bytes(3_000_000))
    return path


def test_what_was_put_comes_back_unchanged(store: ObjectStore, key: str, file: Path, tmp_path: Path):
    sha256 = sha256_hex(file.read_bytes())
    assert not store.exists(key)
    store.put(key, file, sha256=sha256)
    assert store.exists(key)
    store.get(key, tmp_path / "back", sha256=sha256)
    assert (tmp_path / "back").read_bytes() == file.read_bytes()


def test_the_same_bytes_again_are_no_error_and_others_are_refused(
    store: ObjectStore, key: str, file: Path, tmp_path: Path
):
    sha256 = sha256_hex(file.read_bytes())
    store.put(key, file, sha256=sha256)
    store.put(key, file, sha256=sha256)
    other = tmp_path / "other"
    other.write_bytes(b"other")
    with pytest.raises(InvariantError, match="other bytes"):
        store.put(key, other, sha256=sha256_hex(b"other"))
    store.get(key, tmp_path / "back", sha256=sha256)


def test_a_wrong_digest_is_refused_on_the_way_in(store: ObjectStore, key: str, file: Path):
    with pytest.raises(InvariantError, match="nothing was stored"):
        store.put(key, file, sha256="0" * 64)
    assert not store.exists(key)


def test_other_bytes_are_refused_on_the_way_out_and_leave_no_file(
    store: ObjectStore, key: str, file: Path, tmp_path: Path
):
    store.put(key, file, sha256=sha256_hex(file.read_bytes()))
    with pytest.raises(InvariantError, match="expected"):
        store.get(key, tmp_path / "back", sha256="0" * 64)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_object_that_is_not_there_is_named(store: ObjectStore, key: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=key):
        store.get(key, tmp_path / "back", sha256="0" * 64)
    assert not list(tmp_path.iterdir())


def test_wrong_credentials_are_a_setting_and_a_server_that_is_away_is_worth_asking_again(
    s3: Installation, key: str, file: Path, tmp_path: Path
):
    sha256 = sha256_hex(file.read_bytes())
    wrong = S3ObjectStore(state=str(s3.state), secret_key_secret="s3_access_key")
    with pytest.raises(ConfigError, match="credentials"):
        wrong.put(key, file, sha256=sha256)
    away = S3ObjectStore(state=str(s3.state), endpoint_url=f"http://127.0.0.1:{free_port()}")
    for ask in (lambda: away.put(key, file, sha256=sha256), lambda: away.get(key, tmp_path / "x", sha256=sha256)):
        with pytest.raises(TransientError):
            ask()
