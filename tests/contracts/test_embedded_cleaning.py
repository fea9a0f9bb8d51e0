"""What an installation gives clean-up to work on: every kind, on a real S3 server, with what must stay protected."""

import stat

import pytest
from fixtures_s3 import s3_account

from blocks.embedded_cleaning import EmbeddedCleaning
from blocks.installation import Installation
from blocks.memory_databases import MemoryDatabases
from blocks.memory_ledger import MemoryLedger
from blocks.memory_packages import MemoryPackages
from domain.cleanup_policy import parse_policies
from domain.ledger import Event


@pytest.fixture
def cleaning(s3: Installation, monkeypatch: pytest.MonkeyPatch) -> EmbeddedCleaning:
    monkeypatch.setenv("SLIPWAY_STATE", str(s3.state))
    ledger = MemoryLedger()
    for letter in "abc":
        manifest = {"bundle": {"sha256": letter * 64}}
        ledger.append(Event("release.pinned", application="desk", release=letter * 64, data={"manifest": manifest}))
        client = s3_account(s3, "s3").client()
        client.put_object(Bucket="releases", Key=f"bundles/desk/{letter * 64}.tar", Body=b"x")
    ledger.append(Event("rollout.completed", application="desk", environment="production", release="a" * 64))
    running = {"b" * 64: "staging/main"}
    return EmbeddedCleaning(s3, MemoryDatabases(), MemoryPackages(s3.state), ledger, lambda: running)


def test_every_kind_of_the_shipped_policies_is_there_and_can_be_read(cleaning: EmbeddedCleaning):
    policies = parse_policies(cleaning.own_policies, file="cleanup.yaml")
    kinds = cleaning.expirables()
    assert {one.kind for one in policies.things} == set(kinds)
    for name in ("uploads", "releases", "logs", "caches"):
        kinds[name].read()


def test_a_bundle_that_runs_or_could_be_rolled_back_to_stays_also_when_it_is_named(cleaning: EmbeddedCleaning):
    releases = cleaning.expirables()["releases"]
    told = {one.key[len("bundles/desk/")]: one.protected for one in releases.read()}
    assert "rollback" in told["a"] and told["b"] == "it runs in staging/main" and told["c"] == ""
    removed = releases.remove([f"bundles/desk/{letter * 64}.tar" for letter in "abc"])
    assert removed.count == 1 and len(removed.failed) == 2
    assert sorted(one.key[len("bundles/desk/")] for one in releases.read()) == ["a", "b"]


def test_a_team_s_own_policies_take_the_place_of_the_shipped_ones(cleaning: EmbeddedCleaning, s3: Installation):
    own = s3.state / "cleanup.yaml"
    own.write_text("cleanup: []")
    try:
        assert parse_policies(cleaning.own_policies, file="cleanup.yaml").things == ()
    finally:
        own.unlink()


def test_files_on_their_way_are_nobody_else_s_and_gone_afterwards(cleaning: EmbeddedCleaning):
    with cleaning.folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0
    assert not folder.exists()
