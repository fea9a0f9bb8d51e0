"""What an object store promises, in memory and on a real SeaweedFS."""

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from fixtures_door import free_port

from blocks.bucket import ensure_bucket
from blocks.installation import Installation, Users, write_private
from blocks.memory_store import MemoryObjectStore
from blocks.store_s3 import S3ObjectStore
from domain.canonical import sha256_hex
from domain.errors import ConfigError, InvariantError, TransientError
from domain.ports import ObjectStore


@pytest.fixture(scope="module")
def s3(open_tmp_root: Path) -> Generator[Installation]:
    """A real SeaweedFS with one bucket; everything of it is gone afterwards."""
    state = open_tmp_root / "s3"
    (state / "data").mkdir(parents=True)
    port, access, secret = free_port(), secrets.token_hex(10), secrets.token_urlsafe(24)
    installation = Installation(
        state=state, sockets=state, ports={"s3": port}, users=Users(), python=Path(sys.executable), postgres_bin=state
    )
    installation.save()
    write_private(state / "credentials.json", json.dumps({"s3_access_key": access, "s3_secret_key": secret}))
    identity = {"name": "x", "credentials": [{"accessKey": access, "secretKey": secret}], "actions": ["Admin"]}
    (state / "identities.json").write_text(json.dumps({"identities": [identity]}))
    flags = {"dir": state / "data", "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "s3": "true", "s3.port": port}
    flags |= {"s3.config": state / "identities.json", "s3.port.iceberg": 0, "s3.port.lance": 0}
    flags |= {"master.telemetry": "false", "master.volumeSizeLimitMB": 100, "volume.max": 0, "filer": "true"}
    flags |= {"volume.preStopSeconds": 0, "filer.localSocket": state / "f.sock", "s3.localSocket": state / "s.sock"}
    for name in ("master.port", "volume.port", "filer.port", "s3.port", "master.port", "volume.port", "filer.port"):
        flags.setdefault(name, free_port())
        flags.setdefault(f"{name}.grpc", free_port())
    with (state / "weed.log").open("wb") as log:
        weed = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "weed"),
                "server",
                *(f"-{name}={value}" for name, value in flags.items()),
            ],
            stdout=log,
            stderr=log,
            cwd=state,
        )
    try:
        ensure_bucket(f"http://127.0.0.1:{port}", access_key=access, secret_key=secret, bucket="releases", limit_s=90)
        yield installation
    finally:
        weed.kill()
        weed.wait()
        shutil.rmtree(state, ignore_errors=True)


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
