"""What our SeaweedFS refuses: other doors than S3, other people's buckets, and every attack on what is locked."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from fixtures_s3 import s3_account, s3_admin

from blocks.bucket import ensure_locked_bucket
from blocks.installation import Installation
from domain.errors import ConfigError

SOON = datetime.now(UTC) + timedelta(days=2)
Attack = Callable[[Any, str, str], Any]


def remove_version(client: Any, key: str, version: str) -> Any:
    return client.delete_object(Bucket="anchors", Key=key, VersionId=version)


def remove_version_bypassing(client: Any, key: str, version: str) -> Any:
    return client.delete_object(Bucket="anchors", Key=key, VersionId=version, BypassGovernanceRetention=True)


def shorten_retention(client: Any, key: str, version: str) -> Any:
    retention = {"Mode": "COMPLIANCE", "RetainUntilDate": SOON}
    return client.put_object_retention(Bucket="anchors", Key=key, VersionId=version, Retention=retention)


def weaken_to_governance(client: Any, key: str, version: str) -> Any:
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": SOON}
    return client.put_object_retention(
        Bucket="anchors", Key=key, VersionId=version, Retention=retention, BypassGovernanceRetention=True
    )


def remove_bucket(client: Any, key: str, version: str) -> Any:
    return client.delete_bucket(Bucket="anchors")


def stop_versioning(client: Any, key: str, version: str) -> Any:
    return client.put_bucket_versioning(Bucket="anchors", VersioningConfiguration={"Status": "Suspended"})


ATTACKS = [
    remove_version,
    remove_version_bypassing,
    shorten_retention,
    weaken_to_governance,
    remove_bucket,
    stop_versioning,
]


@pytest.fixture
def locked(s3: Installation) -> tuple[str, str]:
    """An object under lock: its key and version."""
    put = s3_account(s3, "s3_anchor").client().put_object(Bucket="anchors", Key="attacked", Body=b"first")
    return "attacked", put["VersionId"]


@pytest.mark.parametrize("keys", ["s3_anchor", "s3_admin"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_what_is_locked_stays_even_for_who_wrote_it_and_for_who_made_the_bucket(
    s3: Installation, locked: tuple[str, str], attack: Attack, keys: str
):
    key, version = locked
    with pytest.raises(ClientError):
        attack(s3_account(s3, keys).client(), key, version)
    assert _read(s3, key, version) == b"first"


@pytest.mark.parametrize("keys", ["s3_anchor", "s3_admin"])
def test_overwriting_and_deleting_only_add_versions(s3: Installation, locked: tuple[str, str], keys: str):
    key, version = locked
    client = s3_account(s3, keys).client()
    client.put_object(Bucket="anchors", Key=key, Body=b"second")
    client.delete_object(Bucket="anchors", Key=key)
    client.delete_objects(Bucket="anchors", Delete={"Objects": [{"Key": key, "VersionId": version}]})
    assert _read(s3, key, version) == b"first"
    until = s3_admin(s3).client().head_object(Bucket="anchors", Key=key, VersionId=version)
    assert until["ObjectLockMode"] == "COMPLIANCE"
    assert until["ObjectLockRetainUntilDate"] > datetime.now(UTC) + timedelta(days=399)


def test_who_keeps_releases_can_do_nothing_to_anchors_and_the_other_way_round(s3: Installation):
    releases, anchors = (s3_account(s3, name).client() for name in ("s3", "s3_anchor"))
    for ask in (
        lambda: releases.put_object(Bucket="anchors", Key="x", Body=b""),
        lambda: releases.list_object_versions(Bucket="anchors"),
        lambda: anchors.put_object(Bucket="releases", Key="x", Body=b""),
        lambda: anchors.get_object(Bucket="anchors", Key="attacked"),
        lambda: anchors.create_bucket(Bucket="other"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            ask()


@pytest.mark.parametrize("part", ["s3-master", "s3-volume", "s3-filer"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/buckets/anchors/"), ("DELETE", "/buckets/anchors/attacked"), ("GET", "/col/delete?collection=anchors")],
)
def test_no_other_http_door_is_open(s3: Installation, locked: tuple[str, str], part: str, method: str, path: str):
    answer = httpx.request(method, f"http://127.0.0.1:{s3.ports[part]}{path}", trust_env=False)
    assert answer.status_code in (400, 401, 404), answer.text
    assert "attacked" not in answer.text and _read(s3, *locked) == b"first"


@pytest.mark.timeout(60)
def test_its_own_shell_gets_nowhere_without_the_certificate(s3: Installation, tmp_path: Path):
    def addresses(part: str) -> str:
        return f"127.0.0.1:{s3.ports[part]}.{s3.ports[f'{part}-grpc']}"

    shell = [str(Path(sys.executable).parent / "weed"), "shell", "-master", addresses("s3-master")]
    command = [*shell, "-filer", addresses("s3-filer")]

    def ask(directory: Path) -> str:
        try:
            done = subprocess.run(
                command, input="s3.bucket.list\n", cwd=directory, env={"HOME": str(directory)}, text=True, timeout=5,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as exc:
            return (exc.stdout or b"").decode()
        return done.stdout

    assert "anchors" not in ask(tmp_path)
    assert "anchors" in ask(s3.state), "with the server's own certificate it does"


def test_a_bucket_without_lock_is_refused_with_what_to_do(s3: Installation):
    s3_admin(s3).client().create_bucket(Bucket="unlocked")
    with pytest.raises(ConfigError, match="not under Object Lock"):
        ensure_locked_bucket(s3_admin(s3), "unlocked", retention_days=1, limit_s=5)


def _read(s3: Installation, key: str, version: str) -> bytes:
    return s3_admin(s3).client().get_object(Bucket="anchors", Key=key, VersionId=version)["Body"].read()
