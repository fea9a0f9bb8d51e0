"""What an installation gives clean-up to work on: every kind, on a real S3 server, with what must stay protected."""

import fcntl
import stat

import pytest
from fixtures_s3 import s3_account

from blocks.bucket import ensure_uploads_end
from blocks.embedded_cleaning import EmbeddedCleaning
from blocks.installation import Installation
from blocks.memory_databases import MemoryDatabases
from blocks.memory_images import MemoryImages
from blocks.memory_ledger import MemoryLedger
from blocks.memory_packages import MemoryPackages
from domain.cleanup_policy import parse_policies
from domain.errors import ConfigError
from domain.ledger import Event
from domain.release import Image


@pytest.fixture
def cleaning(s3: Installation, monkeypatch: pytest.MonkeyPatch) -> EmbeddedCleaning:
    monkeypatch.setenv("SLIPWAY_STATE", str(s3.state))
    ledger = MemoryLedger()
    for letter in "abc":
        image = {"repository": "registry/desk", "digest": f"sha256:{letter * 64}"}
        manifest = {"bundle": {"sha256": letter * 64}, "image": image}
        ledger.append(Event("release.pinned", application="desk", release=letter * 64, data={"manifest": manifest}))
        client = s3_account(s3, "s3").client()
        client.put_object(Bucket="releases", Key=f"bundles/desk/{letter * 64}.tar", Body=b"x")
    ledger.append(Event("rollout.completed", application="desk", environment="production", release="a" * 64))
    for letter in "abc":
        (s3.state / "releases" / (letter * 64)).mkdir(parents=True, exist_ok=True)
        (s3.state / "releases" / (letter * 64) / "bundle.tar").write_text("x" * 100)
        (s3.state / "releases" / f"{letter * 64}.json").write_text("{}")
    ledger.append(Event("image.built", application="desk", data={"image": f"registry/desk@sha256:{'d' * 64}"}))
    ledger.append(Event("approval.requested", application="desk", environment="production", release="e" * 64, run="r9"))
    running = {"b" * 64: "staging/main"}
    images = MemoryImages(available=True)
    images.built += [Image("registry/desk", f"sha256:{letter * 64}") for letter in "abcd"]
    return EmbeddedCleaning(s3, MemoryDatabases(), MemoryPackages(s3.state), ledger, lambda: running, lambda: images)


def test_every_kind_of_the_shipped_policies_is_there_and_can_be_read(cleaning: EmbeddedCleaning):
    policies = parse_policies(cleaning.own_policies, file="cleanup.yaml")
    kinds = cleaning.expirables()
    assert {one.kind for one in policies.things} == set(kinds)
    for name in ("uploads", "releases", "images", "installed", "logs", "caches"):
        kinds[name].read()


def test_a_bundle_that_runs_or_could_be_rolled_back_to_stays_also_when_it_is_named(cleaning: EmbeddedCleaning):
    releases = cleaning.expirables()["releases"]
    told = {one.key[len("bundles/desk/")]: one.protected for one in releases.read()}
    assert "rollback" in told["a"] and told["b"] == "it runs in staging/main" and told["c"] == ""
    removed = releases.remove([f"bundles/desk/{letter * 64}.tar" for letter in "abc"])
    assert removed.count == 1 and len(removed.failed) == 2
    assert sorted(one.key[len("bundles/desk/")] for one in releases.read()) == ["a", "b"]


def test_an_image_that_runs_or_could_be_rolled_back_to_stays_and_others_go(cleaning: EmbeddedCleaning):
    images = cleaning.expirables()["images"]
    told = {one.key[-1]: one.protected for one in images.read()}
    assert "rollback" in told["a"] and told["b"] == "it runs in staging/main" and told["c"] == told["d"] == ""
    removed = images.remove([f"registry/desk@sha256:{letter * 64}" for letter in "abcde"])
    assert removed.count == 2 and len(removed.failed) == 2
    assert [one.key[-1] for one in images.read()] == ["a", "b"]


def test_an_installed_release_goes_with_all_that_is_its_own_and_needed_ones_stay(
    cleaning: EmbeddedCleaning, s3: Installation
):
    folder, extra = s3.state / "releases", "c" * 64 + ".venv-acceptance.txt"
    (folder / extra).mkdir()
    (folder / f"{extra}.json").write_text("{}")
    (folder / "verified.py").write_text("not a release")
    (folder / ("e" * 64)).mkdir()  # half installed: it has no record
    releases = cleaning.expirables()["installed"]
    told = {one.key[0]: one.protected for one in releases.read()}
    assert "rollback" in told["a"] and told["b"] == "it runs in staging/main" and told["c"] == ""
    assert "under way" in told["e"]
    with (folder / f".{'c' * 64}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        assert releases.remove(["c" * 64]).failed == (("c" * 64, "it is being installed"),)
    removed = releases.remove([letter * 64 for letter in "abce"])
    assert removed.count == 1 and removed.size_bytes > 100 and len(removed.failed) == 3
    left = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert [name[0] for name in left] == ["a", "a", "b", "b", "e", "v"]


def test_objects_under_a_prefix_expire_and_backups_archives_and_needed_bundles_never(
    cleaning: EmbeddedCleaning, s3: Installation
):
    s3_account(s3, "s3").client().put_object(Bucket="releases", Key="exports/1", Body=b"xyz")
    things = cleaning.objects("releases", "exports/")
    assert [(one.key, one.size_bytes, one.protected) for one in things.read()] == [("exports/1", 3, "")]
    assert things.remove(["exports/1"]).size_bytes == 3
    assert cleaning.objects("releases", "bundles/").remove([f"bundles/desk/{'a' * 64}.tar"]).count == 0
    for bucket, prefix in (("archives", "x/"), ("backups", "x/"), ("releases", "backup/"), ("anchors", "x/")):
        with pytest.raises(ConfigError, match="never touches"):
            cleaning.objects(bucket, prefix)
    with pytest.raises(ConfigError, match="no keys for the bucket 'other'"):
        cleaning.objects("other", "x/")


def test_the_store_ends_unfinished_uploads_itself_and_never_lets_an_object_expire(s3: Installation):
    account = s3_account(s3, "s3_admin")
    other = {"ID": "other", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 9}}
    client = account.client()
    client.put_bucket_lifecycle_configuration(Bucket="releases", LifecycleConfiguration={"Rules": [other]})
    assert ensure_uploads_end(account, "releases") and ensure_uploads_end(account, "releases", days=3)
    rules = {one["ID"]: one for one in client.get_bucket_lifecycle_configuration(Bucket="releases")["Rules"]}
    ours = rules.pop("slipway-unfinished-uploads")
    assert ours["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 3} and "Expiration" not in ours
    assert list(rules) == ["other"] and rules["other"]["Expiration"]["Days"] == 9


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
