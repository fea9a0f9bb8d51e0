"""S3 or PostgreSQL away means wait and say so; a full disk means a refusal with the figure; never half a release."""

from pathlib import Path

import pytest
from stage import APPLICATION, Stage

from blocks.disk import LocalDisk
from blocks.memory_store import MemoryObjectStore
from blocks.memory_target import MemoryTarget
from domain.errors import RefusedError, TransientError
from domain.release import Manifest
from tasks.instances import prepare_release
from tasks.readiness import await_parts, refuse_full_disk
from tasks.recording import without_engine
from tasks.waiting import WAIT_LIMIT_S, patiently


class AwayStore(MemoryObjectStore):
    """A store that is away for some askings."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def exists(self, key: str) -> bool:
        self.times -= 1
        if self.times >= 0:
            raise TransientError("S3 did not look for it. Look at `slipway status`.")
        return super().exists(key)


class _NoBytes:
    """A target whose bytes do not come for some askings."""

    def __init__(self, target: MemoryTarget, times: int) -> None:
        self._target, self.times = target, times

    def prepare(self, manifest: Manifest) -> None:
        self.times -= 1
        if self.times >= 0:
            raise TransientError("S3 did not fetch bundles/desk/x.tar.")
        self._target.prepare(manifest)


def test_a_part_that_comes_back_is_waited_for_and_said_with_the_time(stage: Stage, caplog: pytest.LogCaptureFixture):
    stage.world.store = AwayStore(times=30)
    begun = stage.world.clock.now()
    with caplog.at_level("INFO", logger="prefect.slipway"):
        await_parts.fn("ci")
    waited_s = (stage.world.clock.now() - begun).total_seconds()
    assert 100 < waited_s < WAIT_LIMIT_S
    said = [record.getMessage() for record in caplog.records]
    assert any(f"ci, for S3, waits since {begun:%H:%M:%S} UTC" in line for line in said)
    assert any("goes on after" in line for line in said) and len(said) < 10, "said now and then, not at every asking"


def test_what_stays_away_ends_it_with_the_reason_and_nothing_half_done(stage: Stage):
    stage.world.store = AwayStore(times=10_000)
    with pytest.raises(RefusedError, match=r"gave up: S3 did not look.*Nothing was left half done"):
        await_parts.fn("cd")


def test_bytes_that_come_late_are_waited_for_before_a_rollout_begins(stage: Stage):
    release = stage.pin("a")
    target = stage.world.target
    away = _NoBytes(target("staging", "main"), times=20)
    stage.world.target = lambda environment, site: away
    prepare_release.fn("run-1", APPLICATION, "staging", "main", release)
    assert away.times < 0 and stage.kinds(run="run-1") == ["preparation.begun", "preparation.completed"]


def test_by_hand_nobody_waits_long(stage: Stage):
    def never() -> None:
        raise TransientError("S3 did not answer.")

    begun = stage.world.clock.now()
    with without_engine(), pytest.raises(RefusedError, match="waited 15 s"):
        patiently("alpha", never)
    assert (stage.world.clock.now() - begun).total_seconds() < 30


def test_a_full_disk_is_refused_with_the_figures_and_the_setting(stage: Stage):
    stage.world.disk.free = 1_500_000_000
    with without_engine():
        with pytest.raises(RefusedError, match=r"1\.50 GB free .* needs 2\.00 GB.*SLIPWAY_DISK_FREE_MIN"):
            refuse_full_disk("ci")
        stage.world.disk.free_bytes_min = 1_000_000_000
        refuse_full_disk("ci")
        refuse_full_disk("the release", APPLICATION, stage.pin("a"))


def test_the_real_disk_is_measured_where_the_state_is(tmp_path: Path):
    disk = LocalDisk(tmp_path, free_bytes_min=10**18)
    assert 0 < disk.free_bytes() < 10**18
    with pytest.raises(TransientError, match="can't be asked"):
        LocalDisk(tmp_path / "none", free_bytes_min=1).free_bytes()
