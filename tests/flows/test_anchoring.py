"""The ledger's head is anchored by the hour and at the end of each rollout, and never at the cost of one."""

import pytest
from stage import APPLICATION, Stage
from test_rollouts import go_live
from test_settling import Person, back, two_releases

from domain.anchor import verify_anchored
from domain.errors import TransientError
from flows.anchor import anchor
from tasks.anchor import anchor_release, write_anchor


def test_the_flow_keeps_the_head_and_says_so_in_the_ledger(stage: Stage):
    go_live(stage)
    ended = anchor()
    (kept,) = stage.world.anchors.read()
    (written,) = stage.world.ledger.entries(kinds=["anchor.written"])
    assert ended["anchored"] == kept.seq == written.data["anchored"] == written.seq - 1
    assert verify_anchored(stage.world.ledger.links(), [kept]).newest == kept


def test_while_s3_is_away_the_hourly_run_fails_and_says_so(stage: Stage):
    go_live(stage)
    stage.world.anchors.is_away = True
    with pytest.raises(TransientError):
        write_anchor.fn("run-x")
    assert stage.world.ledger.entries(kinds=["anchor.failed"])[0].data["error"].startswith("S3 does not answer")


def test_a_rollback_is_anchored_and_does_not_wait_for_s3(stage: Stage):
    two_releases(stage)
    ann = Person(stage, "ann", "administrator")
    back(ann)
    (done,) = stage.world.ledger.entries(kinds=["rollback.completed"])
    assert [kept.seq > done.seq for kept in stage.world.anchors.read()] == [True]


def test_a_rollout_that_ends_while_s3_is_away_ends_well(stage: Stage):
    go_live(stage)
    stage.world.anchors.is_away = True
    ended = anchor_release.fn("run-y", "completed")
    assert ended["anchored"] == 0 and "S3 does not answer" in ended["error"]
    stage.world.anchors.is_away = False
    assert anchor_release.fn("run-y", "completed")["anchored"] > 0
    assert stage.kinds(application=APPLICATION)
