"""What anchors promise, in memory and on a real SeaweedFS under Object Lock."""

from datetime import UTC, datetime, timedelta

import pytest
from fixtures_door import free_port
from fixtures_s3 import s3_account, s3_admin

from blocks.anchors_s3 import S3Anchors, open_anchors
from blocks.bucket import Account
from blocks.installation import Installation
from blocks.memory_anchors import MemoryAnchors
from domain.anchor import Anchor
from domain.canonical import sha256_hex
from domain.errors import ConfigError, TransientError
from domain.ports import Anchors

T = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
_first = 0


def some(count: int) -> list[Anchor]:
    """Anchors that no test wrote before: nothing can be removed from the bucket between tests."""
    global _first
    _first += count
    return [
        Anchor(_first - count + n, sha256_hex(f"{_first}:{n}"), T + timedelta(hours=n)) for n in range(1, count + 1)
    ]


@pytest.fixture(params=["memory", "s3"])
def kept(request: pytest.FixtureRequest) -> Anchors:
    if request.param == "memory":
        return MemoryAnchors()
    return open_anchors(request.getfixturevalue("s3"))


def test_what_was_written_is_read_oldest_first(kept: Anchors):
    written = some(3)
    for anchor in reversed(written):
        kept.write(anchor)
    assert [anchor for anchor in kept.read() if anchor in written] == written


def test_the_same_anchor_again_is_no_error_and_no_second_one(kept: Anchors):
    (anchor,) = some(1)
    kept.write(anchor)
    kept.write(anchor)
    assert list(kept.read()).count(anchor) == 1


def test_more_than_a_page_of_them_comes_back(s3: Installation):
    written = some(1001)
    client = s3_account(s3, "s3_anchor").client()
    for anchor in written:
        client.put_object(Bucket="anchors", Key=anchor.name, Body=b"")
    assert set(written) <= set(open_anchors(s3).read())


def test_one_that_was_hidden_or_written_over_is_still_read(s3: Installation):
    anchors, (hidden, over) = open_anchors(s3), some(2)
    anchors.write(hidden)
    anchors.write(over)
    for keys in ("s3_anchor", "s3_admin"):
        s3_account(s3, keys).client().delete_object(Bucket="anchors", Key=hidden.name)
    s3_admin(s3).client().put_object(Bucket="anchors", Key=over.name, Body=b"another")
    assert {hidden, over} <= set(anchors.read())


def test_what_else_lies_there_is_no_anchor(s3: Installation):
    s3_account(s3, "s3_anchor").client().put_object(Bucket="anchors", Key="heads/rubbish", Body=b"")
    assert all(anchor.seq for anchor in open_anchors(s3).read())


def test_a_server_that_is_away_is_worth_asking_again_and_wrong_keys_are_a_setting(s3: Installation):
    (anchor,) = some(1)
    away = S3Anchors(Account(f"http://127.0.0.1:{free_port()}", "a", "b"))
    wrong = S3Anchors(s3_account(s3, "s3"))
    for ask in (away.read, lambda: away.write(anchor)):
        with pytest.raises(TransientError, match="slipway status"):
            ask()
    for ask in (wrong.read, lambda: wrong.write(anchor)):
        with pytest.raises(ConfigError, match="s3_anchor_access_key"):
            ask()
    nowhere = S3Anchors(s3_admin(s3), "nowhere")
    with pytest.raises(ConfigError, match="slipway up"):
        nowhere.read()
